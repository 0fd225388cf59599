"""Vocabularies of features: from words to rows, as training read them (docs/spec.md 3.2)."""

from __future__ import annotations

import os
import pathlib
import re
from typing import NamedTuple

from .config import Config, column_of
from .onnx_inputs import tokens_of
from .text_format import Message


class Vocabulary(NamedTuple):
    """The row of each word, and that of all others."""

    rows: dict[str, int]
    unknown: int


def vocabulary_of(message: Message, directory: pathlib.Path) -> Vocabulary | None:
    """The vocabulary of a feature, None if it has none. A vocab_file is looked for in `directory`
    first."""
    unknown = message.first("default_bucketize_value")
    default = tokens_of(message.first("default_value", ""), message.first("separator", "\x1d"))
    if "vocab_list" in message:
        first = 2 if unknown is None else 0
        rows = {str(word): first + at for at, word in enumerate(message.all("vocab_list"))}
        if unknown is None:  # a listed word stays
            rows = {**{word: 0 for word in default}, **rows}
    elif "vocab_dict" in message:
        rows = {
            entry.first("key"): int(entry.first("value")) for entry in message.all("vocab_dict")
        }
        if unknown is None:
            rows |= {word: 0 for word in default}
    elif "vocab_file" in message:
        name = os.path.join(message.first("asset_dir", ""), message.first("vocab_file"))
        path = directory / name if (directory / name).exists() else pathlib.Path(name)
        rows = _rows_of_file(path)
    else:
        return None
    return Vocabulary(rows, 1 if unknown is None else int(unknown))


def _rows_of_file(path: pathlib.Path) -> dict[str, int]:
    """A word each line, or in each line a word and its row."""
    lines = path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
    lines = [line.removesuffix("\r") for line in lines]
    with_row = re.compile(r"(.*?)[ \t]+(\d+)")
    if not with_row.fullmatch(lines[0]):
        return {line: at for at, line in enumerate(lines)}
    rows = {}
    for line in lines:
        match = with_row.fullmatch(line)
        if not match:
            raise ValueError(f"{str(path)!r}: {line!r} lacks a row number, unlike the first line")
        rows[match[1]] = int(match[2])
    return rows


def domain_words(config: Config, column: str, directory: pathlib.Path) -> list[str]:
    """The words of the domains 0, 1, ...: those of the vocabulary by which an id feature reads the
    column, in the order of their rows; none without such a feature (docs/spec.md 1.8)."""
    if config.encoded():
        return []
    for kind, message in config.features():
        if kind != "id_feature" or column_of(message, encoded=False) != column:
            continue
        vocabulary = vocabulary_of(message, directory)
        if vocabulary is None:
            continue
        default = message.first("default_value", "")
        # Row 0 of a vocabulary without default_bucketize_value is that of empty cells, which read
        # the default value.
        has_own_row = vocabulary.unknown == 1
        rows = sorted(
            (row, word)
            for word, row in vocabulary.rows.items()
            if row or not has_own_row or word != default
        )
        return [word for _, word in rows]
    return []
