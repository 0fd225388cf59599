"""The features of an export: raw cells to what the network reads, as training did (docs/spec.md section 3)."""

from __future__ import annotations

import bisect
import math
import os
import pathlib
from typing import Any, Callable, Iterable, Mapping, NamedTuple, Union

import numpy as np
import torch

from .config import column_of
from .onnx_inputs import std_hash, tokens_of
from .text_format import Message


class Ids(NamedTuple):
    """The rows of a table that each cell of a column names: those of cell i are ids[offsets[i]:offsets[i + 1]]."""

    ids: torch.Tensor
    offsets: torch.Tensor  # one more than there are cells
    weights: torch.Tensor | None


Encoded = Mapping[str, Union[Ids, torch.Tensor]]  # by feature


def shortest(value: float) -> float:
    """The shortest decimal of a float32 field, as the program takes it."""
    return float(str(np.float32(value)))


def _normalizer(text: str) -> Callable[[float], float]:
    if not text:
        return lambda x: x
    if text.replace(" ", "").startswith("method=expression"):
        raise ValueError(f"the normalizer {text!r} is a formula, which a torch module does not compute; use Scorer")
    fields = dict(part.strip().split("=", 1) for part in text.split(","))
    method = fields.get("method")
    if method == "log10":
        threshold, default = float(fields["threshold"]), float(fields["default"])
        return lambda x: math.log10(x) if x > threshold else default
    if method == "zscore":
        mean, deviation = float(fields["mean"]), float(fields["standard_deviation"])
        return lambda x: (x - mean) / deviation
    if method == "minmax":
        low, high = float(fields["min"]), float(fields["max"])
        return lambda x: (x - low) / (high - low)
    raise ValueError(f"the normalizer {text!r} is unknown here")


class Feature:
    """Turns the cells of a column into what the network reads, as training did."""

    def __init__(
        self, kind: str, message: Message, encoded: bool, separator: str, string_hash: str, directory: pathlib.Path
    ) -> None:
        self.name: str = message.first("feature_name")
        grows = any(name in message for name in ("dynamic_table", "zch", "dynamicemb"))
        if kind not in ("id_feature", "raw_feature") or grows:
            raise ValueError(
                f"feature {self.name!r} ({kind}) is of a kind that a torch module does not have; score with Scorer or "
                "pepnet predict"
            )
        self.column = column_of(message, encoded)
        self.separator = separator if encoded else message.first("separator", "\x1d")
        self.weighted = bool(message.first("weighted", False))
        self.mean = str(message.first("pooling", "sum")).lower() == "mean"
        self.table = message.first("embedding_name") or f"{self.name}_emb"
        boundaries = [shortest(value) for value in message.all("boundaries")]
        self.ids = kind == "id_feature"
        self.dense = not self.ids and not boundaries
        self.values = int(message.first("value_dim", 1)) if self.dense else 0
        self.autodis: Message | None = message.message("autodis") if "autodis" in message else None
        self.embedded = self.dense and (self.autodis is not None or "mlp" in message)
        self.width = self.values if self.dense and not self.embedded else int(message.first("embedding_dim"))
        self._normalize = _normalizer("" if encoded else message.first("normalizer", ""))
        self._id_of: Callable[[Any], int] = int
        if not encoded and boundaries:
            self._id_of = lambda x: bisect.bisect_right(boundaries, float(x))
        elif not encoded and not self.dense:
            self._id_of = self._bucketizer(message, string_hash, directory)
        if encoded:
            default = message.first("fg_encoded_default_value", "")
        else:
            default = message.first("default_value", "0" if kind == "raw_feature" else "")
        tokens = tokens_of(default, self.separator)
        if self.dense:
            values = [float(token) for token in tokens]
            self._empty: list[Any] | None = (values * self.values if len(values) == 1 else values) or None
        else:
            self._empty = [self._weighted_id(token, self._id_of) for token in tokens]
        # The default value is bucketised and not normalised.
        if boundaries and not encoded:
            find, normalize = self._id_of, self._normalize
            self._id_of = lambda x: find(normalize(float(x)))

    def _bucketizer(self, message: Message, string_hash: str, directory: pathlib.Path) -> Callable[[Any], int]:
        if "num_buckets" in message:
            return int
        if "hash_bucket_size" in message:
            if string_hash == "farm":
                raise ValueError(f"feature {self.name!r} was trained with --hash=farm, which is not known here")
            rows = int(message.first("hash_bucket_size"))
            known: dict[str, int] = {}

            def bucket(token: Any) -> int:
                text = str(token)
                if text not in known:
                    known[text] = std_hash(text) % rows
                return known[text]

            return bucket
        unknown = message.first("default_bucketize_value")
        first = 2 if unknown is None else 0
        if "vocab_list" in message:
            words = {str(word): first + at for at, word in enumerate(message.all("vocab_list"))}
        elif "vocab_dict" in message:
            words = {entry.first("key"): int(entry.first("value")) for entry in message.all("vocab_dict")}
        else:
            words = _vocabulary_file(message, directory)
        default = message.first("default_value", "")
        if unknown is None and default:
            words = {default: 0, **words} if "vocab_list" in message else {**words, default: 0}
        other = 1 if unknown is None else int(unknown)
        return lambda token: words.get(str(token), other)

    def _weighted_id(self, token: Any, id_of: Callable[[Any], int]) -> tuple[int, float]:
        if self.weighted:
            text, colon, weight = str(token).rpartition(":")
            return (id_of(text), float(weight)) if colon else (id_of(token), 1.0)
        return id_of(token), 1.0

    def encode(self, cells: Iterable[Any]) -> Ids | torch.Tensor:
        """The cells of the feature's column: ids of its table, or its values [cells, values]."""
        if self.dense:
            rows = []
            for cell in cells:
                tokens = tokens_of(cell, self.separator)
                values = [self._normalize(float(token)) for token in tokens] if tokens else self._empty
                if values is None or len(values) != self.values:
                    raise ValueError(f"feature {self.name!r} needs {self.values} value(s) in a cell, not {cell!r}")
                rows.append(values)
            return torch.tensor(rows, dtype=torch.float64).reshape(len(rows), self.values).float()
        found: list[tuple[int, float]] = []
        offsets = [0]
        for cell in cells:
            if isinstance(cell, Mapping):
                cell = [f"{key}:{value}" for key, value in cell.items()]
            elif self.weighted and isinstance(cell, (list, tuple)) and cell and isinstance(cell[0], tuple):
                cell = [f"{key}:{value}" for key, value in cell]  # a map column of Arrow
            tokens = tokens_of(cell, self.separator)
            found += [self._weighted_id(token, self._id_of) for token in tokens] if tokens else (self._empty or [])
            offsets.append(len(found))
        weights = torch.tensor([weight for _, weight in found], dtype=torch.float32) if self.weighted else None
        return Ids(torch.tensor([one for one, _ in found], dtype=torch.int64), torch.tensor(offsets), weights)


def _vocabulary_file(message: Message, directory: pathlib.Path) -> dict[str, int]:
    name = os.path.join(message.first("asset_dir", ""), message.first("vocab_file"))
    path = directory / name if (directory / name).exists() else pathlib.Path(name)
    words: dict[str, int] = {}
    for at, line in enumerate(path.read_text().splitlines()):
        word, _, row = line.partition(" ")
        words[word] = int(row) if row else at
    return words
