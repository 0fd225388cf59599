"""The inputs of an exported model.onnx from raw cells: what `scripts/onnx_inputs.py` and Scorer
have in common.

Needs numpy alone (onnxruntime for `main()`). An input is described by its entry in the export's
export.json.
"""

from __future__ import annotations

import csv
import json
import math
import pathlib
import re
import sys
from typing import Any, Callable, Iterable, Mapping, Sequence

import numpy as np

MASK = (1 << 64) - 1
INTEGER = re.compile(r"-?[0-9]+")
REAL = re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


def std_hash(text: str) -> int:
    """libstdc++'s std::hash<std::string>: what hash_bucket_size means by default (string_hash "std"
    in export.json)."""
    data, multiplier = text.encode(), 0xC6A4A7935BD1E995

    def mix(v: int) -> int:
        return v ^ (v >> 47)

    h = 0xC70F6907 ^ (len(data) * multiplier & MASK)
    whole = len(data) // 8 * 8
    for at in range(0, whole, 8):
        k = int.from_bytes(data[at : at + 8], "little")
        h = (h ^ mix(k * multiplier & MASK) * multiplier & MASK) * multiplier & MASK
    if whole < len(data):
        h = (h ^ int.from_bytes(data[whole:], "little")) * multiplier & MASK
    return mix(mix(h) * multiplier & MASK)


def tokens_of(cell: Any, separator: str | None) -> list[Any]:
    """A cell of a file: None, a number, a text that the separator splits, or a list of numbers or
    texts.

    Lists may be numpy arrays, as pandas reads list columns; any other type is an error, so that no
    cell becomes a token by its looks.
    """
    if isinstance(cell, np.ndarray) and cell.ndim == 1:
        cell = cell.tolist()
    if isinstance(cell, (list, tuple)):
        return [token for element in cell for token in tokens_of(element, None)]
    if isinstance(cell, (bytes, np.bytes_)):
        cell = bytes(cell).decode()
    if isinstance(cell, str):
        return [token for token in (cell.split(separator) if separator else [cell]) if token]
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):  # pandas' words for missing
        return []
    if isinstance(cell, (float, np.floating)):
        return [] if math.isnan(cell) else [cell]
    if isinstance(cell, (int, np.integer)) and not isinstance(cell, bool):
        return [cell]
    raise TypeError(
        f"a cell of type {type(cell).__name__} ({cell!r}) is neither a number, a text "
        "nor a list of them"
    )


def integer_of(token: Any) -> int:
    """A token as a whole number, by the rules of the program: Python alone would read 1_0, blanks
    and 5.7, too."""
    whole = INTEGER.fullmatch(token) is not None if isinstance(token, str) else token == token // 1
    if not whole:
        raise ValueError(f"{token!r} is not a whole number; correct the data")
    return int(token)


def real_of(token: Any) -> float:
    """A token as a number, by the rules of the program."""
    value = float(token) if not isinstance(token, str) or REAL.fullmatch(token) else math.nan
    if not math.isfinite(value):
        raise ValueError(f"{token!r} is not a finite decimal number; correct the data")
    return value


def elements_of(cell: Any, item: Mapping[str, Any]) -> list[list[Any]]:
    """The elements of a sequence's cell, each a list of tokens; one without tokens reads the
    default value."""
    sequence, separator = item["sequence"], item["separator"]
    if isinstance(cell, np.ndarray):
        cell = cell.tolist()
    if isinstance(cell, (bytes, np.bytes_)):
        cell = bytes(cell).decode()
    if isinstance(cell, str):
        cell = cell.split(sequence["delimiter"]) if cell else []
    if not isinstance(cell, (list, tuple)):  # one number, or a missing cell
        cell = [cell] if tokens_of(cell, None) else []
    width = item.get("values", 1)
    if (
        width > 1
        and sequence["max_elements"] == 0
        and cell
        and not isinstance(cell[0], (str, list, tuple, np.ndarray))
    ):
        # A flat list of finished values.
        cell = [list(cell[at : at + width]) for at in range(0, len(cell), width)]
    elements = [tokens_of(element, separator) for element in cell]
    if sequence["max_elements"] > 0:
        elements = elements[: sequence["max_elements"]]
    return [tokens[:1] for tokens in elements] if sequence["one_id"] else elements


def domains_of(
    cells: Iterable[Any], column: str, count: int, words: Sequence[str] = ()
) -> np.ndarray:
    """The domain of each row, int64; an error where a cell is none. `words` stand for the domains
    0, 1, ..."""
    cells = list(cells)
    domains = [int(str(cell)) if str(cell).isdecimal() else -1 for cell in cells]
    places = {word: place for place, word in enumerate(words)}
    for row, (cell, domain) in enumerate(zip(cells, domains)):
        if not 0 <= domain < count:
            domains[row] = places.get(str(cell), -1)
        if not 0 <= domains[row] < count:
            known = f", or one of {', '.join(list(words)[:10])}" if words else ""
            raise ValueError(
                f"column {column!r} holds {cell!r}; expected a domain, 0 to {count - 1}{known}"
            )
    return np.array(domains, np.int64)


def _read(token: Any, read: Callable[[Any], Any], item: Mapping[str, Any]) -> Any:
    try:
        return read(token)
    except ValueError as error:
        raise ValueError(f"column {item['column']!r}: {error}") from None


def not_computed(item: Mapping[str, Any]) -> str:
    """The remedy if the column of a computed feature is missing."""
    return (
        f"feature {item['feature']!r} is computed from {', '.join(item['computed_from'])}, "
        f"which is not done here; give what it computes as the column {item['column']!r}, "
        "or score with pepnet predict"
    )


def feeds(export: Mapping[str, Any], columns: Mapping[str, Iterable[Any]]) -> dict[str, np.ndarray]:
    """The inputs of model.onnx from raw cells. `export` is the parsed export.json; `columns` has
    one cell per row by column name."""
    result: dict[str, np.ndarray] = {}
    if "own_domain" in export:
        own = export["own_domain"]
        if own["column"] not in columns:
            raise ValueError(
                f"the outputs of each row's own domain need the column {own['column']!r}"
            )
        result[own["input"]] = domains_of(
            columns[own["column"]], own["column"], own["domains"], own.get("words", ())
        )
    for item in export["inputs"]:
        name = item["input"]
        if name in result:
            continue
        if item["bucketizer"] == "hash" and export["string_hash"] == "farm":
            raise ValueError(
                f"{name}: this code hashes as --hash=std does, "
                "the model was trained with --hash=farm"
            )
        if "computed_from" in item and item["column"] not in columns:
            raise ValueError(not_computed(item))
        cells: list[list[Any]] = []
        if "sequence" in item:
            rows = [elements_of(cell, item) for cell in columns[item["column"]]]
            longest = max((len(elements) for elements in rows), default=0)
            for elements in rows:
                cells += elements + [[]] * (longest - len(elements))
        else:
            cells = [tokens_of(cell, item["separator"]) for cell in columns[item["column"]]]
        lengths = np.array([len(tokens) for tokens in cells], np.int64)
        width = item.get("values", max(lengths, default=0))
        kind: Any = {"int64": np.int64, "double": np.float64, "string": object}[item["type"]]
        read: Any = {"int64": integer_of, "double": real_of, "string": str}[item["type"]]
        values = np.full((len(cells), width), "" if kind is object else 0, kind)
        weights = np.zeros((len(cells), width), np.float32)
        buckets: dict[str, int] = {}
        for row, tokens in enumerate(cells):
            for at, token in enumerate(tokens):
                if item["weighted"]:
                    token, weight = token.rsplit(":", 1)
                    weights[row, at] = _read(weight, real_of, item)
                if item["bucketizer"] == "hash":
                    text = str(token)
                    if text not in buckets:
                        buckets[text] = std_hash(text) % item["rows"]
                    token = buckets[text]
                values[row, at] = _read(token, read, item)
        if "sequence" in item:
            result[name] = values.reshape(len(rows), longest, width)
            result[name + ".counts"] = lengths.reshape(len(rows), longest)
            lengths = np.array([len(elements) for elements in rows], np.int64)
        else:
            result[name] = values
        result[name + ".lengths"] = lengths
        if item["weighted"]:
            result[name + ".weights"] = weights
    return result


def main(usage: str) -> None:
    """Scores the CSV file that the command line names; `usage` is what a wrong command line
    prints."""
    if len(sys.argv) != 4:
        sys.exit(usage)
    import onnxruntime

    directory = pathlib.Path(sys.argv[1])
    export = json.loads((directory / "export.json").read_text())
    with open(sys.argv[2], newline="") as file:
        rows = list(csv.DictReader(file))
    columns = {name: [row[name] for row in rows] for name in (rows[0] if rows else {})}
    session = onnxruntime.InferenceSession(directory / "model.onnx")
    names = [output.name for output in session.get_outputs()]
    values = session.run(names, feeds(export, columns))
    with open(sys.argv[3], "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for row in zip(*values):
            writer.writerow([value.tolist() for value in row])
