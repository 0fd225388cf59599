"""Features from columns: names or numbers, vocabulary or hash, buckets, and columns that tell a
label."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .column_statistics import (
    ID_NAME,
    ITEM_NAME,
    NUMBER_NAME,
    TIME_NAME,
    TIME_TEXT,
    USER_NAME,
    Column,
    embedding_dim,
    find_separator,
    nice,
    quantile_boundaries,
    value_auc,
    words_of,
)
from .suggest_draft import Draft, plural

VOCABULARY_WORDS = 100  # up to so many words a column has a vocabulary, beyond it is hashed
WORD_ROWS = 5  # a word that fewer rows have on average is not worth a place in a vocabulary
FEW_VALUES = 20  # numbers with so few values are read as names
_AS_FLOATS = (
    "as floating-point numbers, as pandas has them beside missing cells, and the program reads "
    "ids from whole numbers or texts: write the column as Int64"
)
LEAK_AUC, SUSPICIOUS_AUC = 0.995, 0.95
_TIMES = (
    "times do not come again: make columns such as the hour or the weekday of it, and split by it"
)


def _in_time_range(values: np.ndarray) -> bool:
    """Are these seconds (milliseconds, ...) since 1970 of our years, or days such as 20260131?"""
    low, high = values.min(), values.max()
    return (
        any(1e8 * unit <= low and high <= 5e9 * unit for unit in (1, 1e3, 1e6, 1e9))
        or 19e6 < low <= high < 21e6
    )


class Question(ValueError):
    """Two readings of a column are possible; the user must say which."""


class FeatureMaker:
    """Adds the feature of each column to the draft's builder, or leaves the column out with a
    reason."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft

    def add(self, name: str) -> bool:
        """Is the column a feature? Raises Question where the user must say what it is."""
        kind, values = self.draft.types[name], self.draft.table[name]
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        present = values.drop_null()
        asked = self.draft.is_asked_for(name)
        if len(present) == 0:
            return self.draft.leave_out(name, "every cell is empty")
        if pa.types.is_temporal(kind):
            return self.draft.leave_out(name, _TIMES)
        column = Column(name, values, kind, self.draft.rows)
        if (
            pa.types.is_list(kind)
            or pa.types.is_large_list(kind)
            or pa.types.is_fixed_size_list(kind)
        ):
            return self._list(column)
        if not (
            pa.types.is_integer(kind)
            or pa.types.is_floating(kind)
            or pa.types.is_boolean(kind)
            or pa.types.is_decimal(kind)
            or pa.types.is_string(kind)
            or pa.types.is_large_string(kind)
            or pa.types.is_string_view(kind)
        ):
            return self.draft.leave_out(name, f"its type, {kind}, is not read here")
        encoded = pc.dictionary_encode(present).combine_chunks()
        encoded = encoded.chunk(0) if isinstance(encoded, pa.ChunkedArray) else encoded
        distinct = len(encoded.dictionary)
        if distinct == 1 and column.missing == 0 and not asked:
            return self.draft.leave_out(name, f"it is {present[0].as_py()!r} in every row")
        text = not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type))
        if text:
            return self._text(column, encoded, asked)
        return self._number(column, encoded, asked)

    def _text(self, column: Column, encoded: pa.DictionaryArray, asked: bool) -> bool:
        words = encoded.dictionary.to_pylist()
        counts = np.bincount(encoded.indices.to_numpy(), minlength=len(words))
        filled = [word for word in words if word]
        sample = filled[:1000]
        if sample and all(TIME_TEXT.match(word) for word in sample) and not asked:
            return self.draft.leave_out(column.name, _TIMES)
        separator, tokens = find_separator(words, counts)
        weighted = len(words_of(tokens)) < len(tokens)
        if column.name in self.draft.numbers:
            raise ValueError(
                f"column {column.name!r} is named as a number, but holds texts such as {filled[:1]}"
            )
        if separator is None:
            average = sum(map(len, sample)) / max(len(sample), 1)
            if not asked and average > 40 and sum(" " in word for word in sample) > len(sample) / 2:
                return self.draft.leave_out(
                    column.name,
                    "it looks like sentences; a feature is made of words that come again",
                )
            if (
                not asked
                and self.draft.rows >= 200
                and len(filled) > 0.9 * (self.draft.rows - column.missing)
            ):
                return self.draft.leave_out(
                    column.name,
                    f"nearly every row has a value of its own ({len(filled):,} in "
                    f"{self.draft.rows:,} rows); name it in ids to take it all the same",
                )
        codes = np.full(self.draft.rows, len(words))
        codes[column.present] = encoded.indices.to_numpy()
        if self._leaks(column.name, codes, asked):
            return False
        self._ids(
            column.name,
            words_of(tokens) if weighted else tokens,
            separator,
            weighted,
            column.missing + sum(int(count) for word, count in zip(words, counts) if not word),
        )
        return True

    def _list(self, column: Column) -> bool:
        flat = pc.list_flatten(column.values)
        element = flat.type
        lengths = pc.list_value_length(column.values)
        if pa.types.is_floating(element):
            widths = pc.unique(lengths.drop_null()).to_pylist()
            if len(widths) == 1 and column.missing == 0 and widths[0] > 0:
                self.draft.builder.raw_feature(
                    column.name,
                    value_dim=int(widths[0]),
                    comment=f"Vectors of {plural(int(widths[0]), 'number')}, "
                    "straight into the network.",
                )
                return True
            return self.draft.leave_out(
                column.name, "its lists of numbers have several lengths, or are missing in places"
            )
        if not (
            pa.types.is_integer(element)
            or pa.types.is_string(element)
            or pa.types.is_large_string(element)
            or pa.types.is_string_view(element)
        ):
            return self.draft.leave_out(
                column.name, f"its type, {column.original}, is not read here"
            )
        counted = pc.value_counts(flat.drop_null())
        tokens = {
            str(value): int(count)
            for value, count in zip(
                counted.field("values").to_pylist(), counted.field("counts").to_pylist()
            )
        }
        if not tokens:
            return self.draft.leave_out(column.name, "every cell is empty")
        empty = column.missing + int(pc.sum(pc.equal(lengths, 0)).as_py() or 0)
        self._ids(column.name, tokens, "list", False, empty)
        return True

    def _ids(
        self, name: str, tokens: dict[str, int], separator: str | None, weighted: bool, missing: int
    ) -> None:
        """Adds an id feature whose column has these tokens, each in so many rows."""
        several = separator is not None
        fields: dict[str, Any] = {
            "expression": f"{self._side(name)}:{name}",
            "embedding_dim": embedding_dim(len(tokens)),
        }
        known = len(tokens) <= VOCABULARY_WORDS and sum(tokens.values()) >= WORD_ROWS * len(tokens)
        comment = f"{plural(len(tokens), 'word')}" + (", several in a cell" if several else "")
        comment += f", {missing / self.draft.rows:.0%} of the cells empty" if missing else ""
        if known:
            fields["vocab_list"] = sorted(tokens, key=lambda token: (-tokens[token], token))
            comment += "; any other word reads one row for all unknown ones."
        else:
            self.draft.rows_per_word[name] = sum(tokens.values()) / len(tokens)
            fields["hash_bucket_size"] = nice(
                max(10 * len(tokens), 1000) if len(tokens) < 200_000 else 4 * len(tokens)
            )
            comment += (
                "; hashed, so that new ones need nothing "
                f"({self._collisions(len(tokens), fields)})."
            )
        if several and separator != "list":
            fields["separator"] = separator
        if several:
            fields["pooling"] = "mean"
        if weighted:
            fields["weighted"] = True
            comment += " Tokens are word:weight."
        self.draft.builder.id_feature(name, comment=comment, **fields)

    @staticmethod
    def _collisions(words: int, fields: dict[str, Any]) -> str:
        share = 1 - math.exp(-words / fields["hash_bucket_size"])
        return f"about {share:.0%} share a row with another"

    def _side(self, name: str) -> str:
        lower = name.lower()
        if USER_NAME.match(lower) or lower.startswith(("user", "u_")):
            return "user"
        if ITEM_NAME.match(lower) or lower.startswith(
            ("item", "i_", "product", "ad_", "movie", "film")
        ):
            return "item"
        return "context"

    def _number(self, column: Column, encoded: pa.DictionaryArray, asked: bool) -> bool:
        name, lower = column.name, column.name.lower()
        cells = encoded.dictionary.to_pylist()  # whole numbers beyond 2^53 are no floats
        values = np.array(cells, np.float64)
        distinct = len(values)
        codes = np.full(self.draft.rows, distinct)
        codes[column.present] = encoded.indices.to_numpy()
        if not asked and TIME_NAME.search(lower) and _in_time_range(values):
            return self.draft.leave_out(name, _TIMES)
        if self._holds_names(column, values):
            if (
                not asked
                and self.draft.rows >= 200
                and distinct > 0.9 * (self.draft.rows - column.missing)
            ):
                return self.draft.leave_out(
                    name,
                    f"nearly every row has a value of its own ({distinct:,} in "
                    f"{self.draft.rows:,} rows); name it in ids to take it all the same",
                )
            if self._leaks(name, codes, asked):
                return False
            counts = np.bincount(encoded.indices.to_numpy(), minlength=distinct)
            self._ids(
                name,
                {str(int(cell)): int(count) for cell, count in zip(cells, counts)},
                None,
                False,
                column.missing,
            )
            return True
        boundaries = quantile_boundaries(column)
        if distinct > self.draft.rows // 20:
            positions = np.searchsorted(boundaries, values, side="right")
            codes = np.full(self.draft.rows, len(boundaries) + 1)
            codes[column.present] = positions[encoded.indices.to_numpy()]
        if self._leaks(name, codes, asked):
            return False
        if not boundaries:
            return self.draft.leave_out(
                name, "its values are the same, or too close together for single precision"
            )
        numbers = column.values.drop_null().to_numpy().astype(np.float64)
        comment = (
            f"Numbers from {numbers.min():.6g} to {numbers.max():.6g}, "
            f"half of them below {np.median(numbers):.6g}; "
            f"buckets with about as many rows each"
            + (
                f", {column.missing / self.draft.rows:.0%} of the cells empty"
                if column.missing
                else ""
            )
            + "."
        )
        self.draft.builder.raw_feature(
            name,
            comment=comment,
            expression=f"{self._side(name)}:{name}",
            embedding_dim=8,
            boundaries=boundaries,
            default_value="",
        )
        return True

    def _holds_names(self, column: Column, values: np.ndarray) -> bool:
        """Are the distinct `values` of a column of numbers names (ids), rather than amounts?"""
        name, lower = column.name, column.name.lower()
        group = name == self.draft.domain or name in (self.draft.uia or [])
        asked = name in self.draft.ids or group
        if name in self.draft.numbers:
            return False
        floating = pa.types.is_floating(column.values.type)
        broken = (
            values[(values != np.floor(values)) | (np.abs(values) >= 2**53)]
            if floating
            else values[:0]
        )
        if len(broken):
            if asked:
                raise ValueError(
                    f"column {name!r} is to hold ids, but holds {broken[0]}: "
                    "make it whole numbers or texts"
                )
            return False
        # The program reads ids from whole numbers. Rows in memory become such on their way; files
        # stay as they are.
        stays_floating = floating and self.draft.builder.train_path is not None
        few = len(values) <= FEW_VALUES
        if few and stays_floating and not group:
            return False  # a bucket for each value is as good as a row for each name
        if asked and stays_floating:
            raise ValueError(f"column {name!r} holds ids {_AS_FLOATS}")
        if asked:
            return True
        named_id, named_number = bool(ID_NAME.search(lower)), bool(NUMBER_NAME.search(lower))
        if (few and (named_id or not named_number or len(values) <= 2)) or pa.types.is_boolean(
            column.original
        ):
            return True
        if named_id != named_number:
            if named_id and stays_floating:
                raise ValueError(f"column {name!r} seems to hold ids, {_AS_FLOATS}, or ignore it")
            return named_id
        if not floating and np.abs(values).max() >= 2**53:
            return True  # no amount is so large: a hash, or a number made to be unique
        if values.min() < 0 or pa.types.is_decimal(column.original):
            return False
        raise Question(f"{len(values):,} whole numbers, {values.min():.0f} to {values.max():.0f}")

    def _leaks(self, name: str, codes: np.ndarray, asked: bool) -> bool:
        """Warns of a column that tells a label; one that settles it is left out unless it was asked
        for."""
        distinct = int(codes.max(initial=0)) + 1
        if distinct > max(self.draft.rows // 20, 2):
            return False  # too few rows of each value to tell
        for label, values in self.draft.label_values.items():
            if min(values.sum(), len(values) - values.sum()) < 10:
                continue
            score = value_auc(codes, values)
            if score < SUSPICIOUS_AUC:
                continue
            settles = score >= LEAK_AUC
            tells = (
                f"tells {label!r} {'with certainty' if settles else 'almost'} "
                f"(AUC {score:.3f} alone): is it known "
            )
            note = f"column {name!r} {tells}before the label is?"
            if settles and not asked:
                self.draft.builder.notes.append(
                    f"{note} It is left out; name it in ids or numbers to take it all the same."
                )
                return not self.draft.leave_out(name, f"it {tells}before the label is?")
            self.draft.builder.notes.append(note)
        return False
