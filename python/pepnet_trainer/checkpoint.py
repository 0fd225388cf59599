"""Checkpoints and exports, read without the program: Arrow tables and safetensors
(docs/formats.md)."""

from __future__ import annotations

import json
import os
import pathlib
import re
import urllib.parse
from typing import Any

import numpy as np
import pyarrow as pa

_TYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "I32": "<i4", "F16": "<f2"}


def checkpoints(model_dir: str | os.PathLike[str]) -> dict[int, pathlib.Path]:
    """The finished checkpoints of a model_dir by their steps, in ascending order."""
    found = {}
    for path in pathlib.Path(model_dir).glob("model.ckpt-*"):
        match = re.fullmatch(r"model\.ckpt-(\d+)", path.name)
        if match and (path / "manifest.json").exists():
            found[int(match[1])] = path
    return dict(sorted(found.items()))


def resolve(checkpoint: Any) -> pathlib.Path:
    """The directory of a checkpoint: a model.ckpt-N, the newest one of a model_dir, or what a Run
    has."""
    path = pathlib.Path(
        getattr(checkpoint, "path", None) or getattr(checkpoint, "model_dir", None) or checkpoint
    )
    if (path / "manifest.json").exists():
        return path
    found = checkpoints(path)
    if not found:
        raise FileNotFoundError(f"{str(path)!r} is no checkpoint and holds no model.ckpt-N")
    return found[max(found)]


def table_names(checkpoint: Any) -> list[str]:
    """The names of the embedding tables of a checkpoint."""
    return sorted(
        urllib.parse.unquote(path.name)
        for path in (resolve(checkpoint) / "tables").iterdir()
        if path.is_dir()
    )


def read_table(checkpoint: Any, name: str, *, as_pandas: bool = False) -> Any:
    """The rows of an embedding table that training has updated, with id, value, state, frequency
    and last_step.

    `checkpoint` is a model.ckpt-N, a model_dir (its newest) or a Run; `name` that of the table
    ("user_id_emb") or of the feature ("user_id"). With `as_pandas` it is a DataFrame with the ids
    as its index.
    """
    directory = resolve(checkpoint)
    names = table_names(directory)
    chosen = name if name in names else f"{name}_emb"
    if chosen not in names:
        raise KeyError(f"{str(directory)!r} has no table {name!r}; it has {', '.join(names)}")
    parts = sorted(
        path
        for path in (directory / "tables").glob("*/part-*.arrow")
        if urllib.parse.unquote(path.parent.name) == chosen
    )
    table = pa.concat_tables(
        [pa.ipc.open_file(pa.memory_map(str(path))).read_all() for path in parts]
    ).combine_chunks()
    return table.to_pandas().set_index("id").sort_index() if as_pandas else table


def read_safetensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file by name, mapped from the file: what is not touched is not
    read."""
    data = np.memmap(path, np.uint8, "r")
    start = 8 + int(data[:8].view("<u8")[0])
    header = json.loads(bytes(data[8:start]))
    result = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = (start + offset for offset in entry["data_offsets"])
        result[name] = data[begin:end].view(_TYPES[entry["dtype"]]).reshape(entry["shape"])
    return result
