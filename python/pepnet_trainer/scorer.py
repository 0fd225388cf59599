"""Scores raw rows with an exported model.onnx through onnxruntime."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

import numpy as np
import pyarrow as pa

from . import frames
from .frames import Frame, Rows
from .onnx_inputs import feeds, not_computed


class Scorer:
    """The model of an export with ONNX: raw columns in, probabilities and logits out. Needs
    onnxruntime.

    Threads: score() may be called from several threads.
    """

    def __init__(self, export_dir: str | os.PathLike[str], *, threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise ImportError("Scorer needs onnxruntime: pip install onnxruntime") from None
        directory = pathlib.Path(export_dir)
        if not (directory / "model.onnx").exists():
            raise FileNotFoundError(
                f"{str(directory)!r} holds no model.onnx; export with formats=['onnx']"
            )
        self.export: dict[str, Any] = json.loads((directory / "export.json").read_text())
        options = onnxruntime.SessionOptions()
        if threads is not None:
            options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            str(directory / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self.outputs: list[str] = [output.name for output in self._session.get_outputs()]

    @property
    def columns(self) -> list[str]:
        """The columns that rows must have."""
        own = [self.export["own_domain"]["column"]] if "own_domain" in self.export else []
        return list(dict.fromkeys([*(item["column"] for item in self.export["inputs"]), *own]))

    def score(self, rows: Rows, *, batch_size: int = 4096) -> Frame:
        """Probabilities and logits of every row, as `pepnet predict` gives them, with the index of
        a DataFrame."""
        table = frames.to_arrow(rows)
        missing = [name for name in self.columns if name not in table.column_names]
        for item in self.export["inputs"]:
            if item["column"] in missing and "computed_from" in item:
                raise ValueError(not_computed(item))
        if missing:
            raise ValueError(f"the rows lack the column(s) {', '.join(missing)}")
        ids = {
            item["column"]
            for item in self.export["inputs"]
            if item["bucketizer"] in ("id", "hash", "vocabulary")
        }
        if "own_domain" in self.export:
            ids.add(self.export["own_domain"]["column"])
        table = frames.fit(table.select(self.columns), ids)
        parts: list[list[np.ndarray]] = []
        for start in range(0, max(len(table), 1), batch_size):
            cells = table.slice(start, batch_size).to_pydict()
            parts.append(self._session.run(self.outputs, feeds(self.export, cells)))
        result = {
            name: _column(np.concatenate([part[i] for part in parts]))
            for i, name in enumerate(self.outputs)
        }
        return frames.to_frame(pa.table(result), rows)

    __call__ = score


def _column(values: np.ndarray) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
