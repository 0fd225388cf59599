"""From columns and their statistics to a config that trains at once; the reasons stand in its comments.

Nothing is guessed where two readings are possible and the choice matters: that is an error which names the column and
says what to add. All numbers come from the rows given (of files, at most MAX_ROWS of them).
"""

from __future__ import annotations

import fnmatch
import math
from typing import Any, Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from . import frames
from .column_statistics import (
    ID_NAME,
    ITEM_NAME,
    NUMBER_NAME,
    TIME_NAME,
    TIME_TEXT,
    USER_NAME,
    Column,
    embedding_dim,
    entropy_of,
    find_separator,
    nice,
    quantile_boundaries,
    value_auc,
    words_of,
)
from .config import Config, ConfigBuilder

MAX_ROWS = 2_000_000
VOCABULARY_WORDS = 100  # up to so many words a column has a vocabulary, beyond it is hashed
WORD_ROWS = 5  # a word that fewer rows have on average is not worth a place in a vocabulary
FEW_VALUES = 20  # numbers with so few values are read as names
_AS_FLOATS = (
    "as floating-point numbers, as pandas has them beside missing cells, and the program reads ids from whole numbers "
    "or texts: write the column as Int64"
)
LEAK_AUC, SUSPICIOUS_AUC = 0.995, 0.95
_TIMES = "times do not come again: make columns such as the hour or the weekday of it, and split by it"


def _in_time_range(values: np.ndarray) -> bool:
    """Are these seconds (milliseconds, ...) since 1970 of our years, or days such as 20260131?"""
    low, high = values.min(), values.max()
    return any(1e8 * unit <= low and high <= 5e9 * unit for unit in (1, 1e3, 1e6, 1e9)) or 19e6 < low <= high < 21e6


def _plural(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def suggest(
    data: Any,
    labels: Sequence[str],
    domain: str | None = None,
    uia: Sequence[str] | None = None,
    *,
    ids: Iterable[str] = (),
    numbers: Iterable[str] = (),
    ignore: Iterable[str] = (),
    train_path: str | None = None,
    eval_path: str | None = None,
    model_dir: str = "runs/model",
) -> Config:
    """See Config.from_dataframe()."""
    csv = False
    complete = True
    if frames.is_path(data):
        train_path = train_path or frames.paths_text(data)
        kinds = {path.suffix for path in frames.expand(data)}
        if len(kinds) > 1:
            raise ValueError(f"{frames.paths_text(data)!r} holds files of several kinds: {', '.join(sorted(kinds))}")
        csv = kinds == {".csv"}
        data, complete = frames.read_files(data, MAX_ROWS)
    original = data if isinstance(data, pa.Table) else None
    table = frames.to_arrow(data)
    types = {name: (original or table)[name].type for name in table.column_names}
    if original is None and type(data).__module__.split(".")[0] == "pandas":
        schema = pa.Schema.from_pandas(data, preserve_index=False)
        types = {name: schema.field(name).type for name in table.column_names}
    return _Suggestion(
        table,
        types,
        list(labels),
        domain,
        uia,
        set(ids),
        set(numbers),
        set(ignore),
        ConfigBuilder(train_path, eval_path, model_dir, csv=csv),
        complete,
    ).config()


LABEL_WORDS = (("false", "true"), ("no", "yes"), ("f", "t"), ("n", "y"))  # negative, positive


class _Suggestion:
    def __init__(
        self,
        table: pa.Table,
        types: dict[str, pa.DataType],
        labels: list[str],
        domain: str | None,
        uia: Sequence[str] | None,
        ids: set[str],
        numbers: set[str],
        ignore: set[str],
        builder: ConfigBuilder,
        complete: bool,
    ) -> None:
        self.table, self.types, self.labels, self.domain = table, types, labels, domain
        self.uia = None if uia is None else list(uia)
        self.ids, self.numbers, self.ignore = (self._matching(names) for names in (ids, numbers, ignore))
        self.builder, self.complete = builder, complete
        self.rows = len(table)
        self.label_values: dict[str, np.ndarray] = {}
        self.left_out: list[str] = []
        self.rows_per_word: dict[str, float] = {}  # of hashed features

    def _matching(self, names: set[str]) -> set[str]:
        """The columns that patterns such as "feat_*" name; what matches none stays, to be told."""
        found = {name: fnmatch.filter(self.table.column_names, name) or [name] for name in names}
        return {column for columns in found.values() for column in columns}

    def config(self) -> Config:
        self._check_names()
        for name in self.labels:
            self.label_values[name] = self._label(name)
        if self.uia is None:
            self.uia = []
            for pattern in (USER_NAME, ITEM_NAME):
                self.uia += [
                    name
                    for name in self.table.column_names
                    if pattern.match(name.lower()) and name not in self.labels and name not in self.ignore
                ][:1]
        features: list[str] = []
        questions: dict[str, str] = {}
        for name in self.table.column_names:
            if name in self.labels:
                continue
            if name in self.ignore:
                self.left_out.append(f"{name}: you left it out")
                continue
            try:
                if self._feature(name):
                    features.append(name)
            except _Question as question:
                questions[name] = str(question)
        if questions:
            raise ValueError(
                "names and values do not tell whether these columns hold names (ids) or amounts:\n"
                + "".join(f"  {name}: {question}\n" for name, question in questions.items())
                + f"say it with ids=[...] or numbers=[...], as --ids {','.join(questions)}, or ignore them"
            )
        missing = [name for name in [*([self.domain] if self.domain else []), *self.uia] if name not in features]
        if missing:
            reasons = [reason for reason in self.left_out if reason.split(":")[0] in missing]
            raise ValueError(f"the group(s) name {', '.join(missing)}, which cannot be a feature: {'; '.join(reasons)}")
        if not features:
            raise ValueError("no column is left that could be a feature: " + "; ".join(self.left_out))
        self._groups(features)
        self._tasks()
        self._sizes()
        self._preface()
        return self.builder.build()

    def _check_names(self) -> None:
        if not self.labels:
            raise ValueError("name at least one label: a column of 0 and 1 that is to be predicted")
        if self.rows < 2:
            raise ValueError(f"there is no more than {_plural(self.rows, 'row')} to look at")
        wanted = [
            *self.labels,
            *([self.domain] if self.domain else []),
            *(self.uia or []),
            *sorted(self.ids | self.numbers | self.ignore),
        ]
        unknown = [name for name in wanted if name not in self.table.column_names]
        if unknown:
            raise ValueError(
                f"there is no column {', '.join(map(repr, unknown))}; there are "
                f"{', '.join(self.table.column_names)}"
            )
        for first, second, what in (
            (self.ids, self.numbers, "ids and as numbers"),
            (set(self.labels), {self.domain, *(self.uia or [])}, "a label and as a feature"),
            (self.ignore, {self.domain, *(self.uia or []), *self.labels}, "to be ignored and used"),
        ):
            both = sorted(name for name in first & second if name)
            if both:
                raise ValueError(f"{', '.join(both)} is named as {what}")
        twice = sorted({name for name in self.labels if self.labels.count(name) > 1})
        if twice:
            raise ValueError(f"the label {', '.join(twice)} is named twice")

    # ---- labels ----

    def _label(self, name: str) -> np.ndarray:
        column = self.table[name]
        if column.null_count:
            raise ValueError(
                f"the label {name!r} is empty in {_plural(column.null_count, 'row')}; every row needs one: "
                "drop these rows, or fill them with 0"
            )
        values = pc.unique(column).to_pylist()
        words = [str(value).lower() for value in values]
        if any(set(words) <= set(pair) for pair in LABEL_WORDS):  # a bool, or words that the program takes
            if len(values) == 1:
                raise ValueError(f"the label {name!r} is {values[0]} in every row: there is nothing to learn")
            positive = {pair[1] for pair in LABEL_WORDS}
            return np.array([str(value).lower() in positive for value in column.to_pylist()], np.float64)
        numeric = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
        if not numeric or not set(values) <= {0, 1}:
            shown = ", ".join(map(repr, sorted(values, key=str)[:5])) + (", ..." if len(values) > 5 else "")
            hint = (
                "make a column of 0 and 1 of it"
                if len(values) <= 2
                else "make a column of 0 and 1 of it, as `rating >= 4`, or write a tower with l2_loss by hand"
            )
            raise ValueError(f"the label {name!r} holds {shown}, and a label is 0 or 1: {hint}")
        result = column.to_numpy().astype(np.float64)
        if len(values) == 1:
            raise ValueError(f"the label {name!r} is {values[0]} in every row: there is nothing to learn")
        return result

    # ---- features ----

    def _leave_out(self, name: str, reason: str) -> bool:
        self.left_out.append(f"{name}: {reason}")
        return False

    def _feature(self, name: str) -> bool:
        """Adds the feature of a column, or leaves it out with a reason."""
        kind, values = self.types[name], self.table[name]
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        present = values.drop_null()
        asked = name in self.ids or name in self.numbers or name == self.domain or name in (self.uia or [])
        if len(present) == 0:
            return self._leave_out(name, "every cell is empty")
        if pa.types.is_temporal(kind):
            return self._leave_out(name, _TIMES)
        column = Column(name, values, kind, self.rows)
        if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
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
            return self._leave_out(name, f"its type, {kind}, is not read here")
        encoded = pc.dictionary_encode(present).combine_chunks()
        encoded = encoded.chunk(0) if isinstance(encoded, pa.ChunkedArray) else encoded
        distinct = len(encoded.dictionary)
        if distinct == 1 and column.missing == 0 and not asked:
            return self._leave_out(name, f"it is {present[0].as_py()!r} in every row")
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
            return self._leave_out(column.name, _TIMES)
        separator, tokens = find_separator(words, counts)
        weighted = len(words_of(tokens)) < len(tokens)
        if column.name in self.numbers:
            raise ValueError(f"column {column.name!r} is named as a number, but holds texts such as {filled[:1]}")
        if separator is None:
            average = sum(map(len, sample)) / max(len(sample), 1)
            if not asked and average > 40 and sum(" " in word for word in sample) > len(sample) / 2:
                return self._leave_out(
                    column.name, "it looks like sentences; a feature is made of words that come again"
                )
            if not asked and self.rows >= 200 and len(filled) > 0.9 * (self.rows - column.missing):
                return self._leave_out(
                    column.name,
                    f"nearly every row has a value of its own ({len(filled):,} in "
                    f"{self.rows:,} rows); name it in ids to take it all the same",
                )
        codes = np.full(self.rows, len(words))
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
                self.builder.raw_feature(
                    column.name,
                    value_dim=int(widths[0]),
                    comment=f"Vectors of {_plural(int(widths[0]), 'number')}, straight into the network.",
                )
                return True
            return self._leave_out(column.name, "its lists of numbers have several lengths, or are missing in places")
        if not (
            pa.types.is_integer(element)
            or pa.types.is_string(element)
            or pa.types.is_large_string(element)
            or pa.types.is_string_view(element)
        ):
            return self._leave_out(column.name, f"its type, {column.original}, is not read here")
        counted = pc.value_counts(flat.drop_null())
        tokens = {
            str(value): int(count)
            for value, count in zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist())
        }
        if not tokens:
            return self._leave_out(column.name, "every cell is empty")
        empty = column.missing + int(pc.sum(pc.equal(lengths, 0)).as_py() or 0)
        self._ids(column.name, tokens, "list", False, empty)
        return True

    def _ids(self, name: str, tokens: dict[str, int], separator: str | None, weighted: bool, missing: int) -> None:
        """Adds an id feature whose column has these tokens, each in so many rows."""
        several = separator is not None
        fields: dict[str, Any] = {
            "expression": f"{self._side(name)}:{name}",
            "embedding_dim": embedding_dim(len(tokens)),
        }
        known = len(tokens) <= VOCABULARY_WORDS and sum(tokens.values()) >= WORD_ROWS * len(tokens)
        comment = f"{_plural(len(tokens), 'word')}" + (", several in a cell" if several else "")
        comment += f", {missing / self.rows:.0%} of the cells empty" if missing else ""
        if known:
            fields["vocab_list"] = sorted(tokens, key=lambda token: (-tokens[token], token))
            comment += "; any other word reads one row for all unknown ones."
        else:
            self.rows_per_word[name] = sum(tokens.values()) / len(tokens)
            fields["hash_bucket_size"] = nice(max(10 * len(tokens), 1000) if len(tokens) < 200_000 else 4 * len(tokens))
            comment += f"; hashed, so that new ones need nothing ({self._collisions(len(tokens), fields)})."
        if several and separator != "list":
            fields["separator"] = separator
        if several:
            fields["pooling"] = "mean"
        if weighted:
            fields["weighted"] = True
            comment += " Tokens are word:weight."
        self.builder.id_feature(name, comment=comment, **fields)

    @staticmethod
    def _collisions(words: int, fields: dict[str, Any]) -> str:
        share = 1 - math.exp(-words / fields["hash_bucket_size"])
        return f"about {share:.0%} share a row with another"

    def _side(self, name: str) -> str:
        lower = name.lower()
        if USER_NAME.match(lower) or lower.startswith(("user", "u_")):
            return "user"
        if ITEM_NAME.match(lower) or lower.startswith(("item", "i_", "product", "ad_", "movie", "film")):
            return "item"
        return "context"

    def _number(self, column: Column, encoded: pa.DictionaryArray, asked: bool) -> bool:
        name, lower = column.name, column.name.lower()
        cells = encoded.dictionary.to_pylist()  # whole numbers beyond 2^53 are no floats
        values = np.array(cells, np.float64)
        distinct = len(values)
        codes = np.full(self.rows, distinct)
        codes[column.present] = encoded.indices.to_numpy()
        if not asked and TIME_NAME.search(lower) and _in_time_range(values):
            return self._leave_out(name, _TIMES)
        if self._holds_names(column, values):
            if not asked and self.rows >= 200 and distinct > 0.9 * (self.rows - column.missing):
                return self._leave_out(
                    name,
                    f"nearly every row has a value of its own ({distinct:,} in {self.rows:,} rows); "
                    "name it in ids to take it all the same",
                )
            if self._leaks(name, codes, asked):
                return False
            counts = np.bincount(encoded.indices.to_numpy(), minlength=distinct)
            self._ids(
                name, {str(int(cell)): int(count) for cell, count in zip(cells, counts)}, None, False, column.missing
            )
            return True
        boundaries = quantile_boundaries(column)
        if distinct > self.rows // 20:
            positions = np.searchsorted(boundaries, values, side="right")
            codes = np.full(self.rows, len(boundaries) + 1)
            codes[column.present] = positions[encoded.indices.to_numpy()]
        if self._leaks(name, codes, asked):
            return False
        if not boundaries:
            return self._leave_out(name, "its values are the same, or too close together for single precision")
        numbers = column.values.drop_null().to_numpy().astype(np.float64)
        comment = (
            f"Numbers from {numbers.min():.6g} to {numbers.max():.6g}, half of them below {np.median(numbers):.6g}; "
            f"buckets with about as many rows each"
            + (f", {column.missing / self.rows:.0%} of the cells empty" if column.missing else "")
            + "."
        )
        self.builder.raw_feature(
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
        group = name == self.domain or name in (self.uia or [])
        asked = name in self.ids or group
        if name in self.numbers:
            return False
        floating = pa.types.is_floating(column.values.type)
        broken = values[(values != np.floor(values)) | (np.abs(values) >= 2**53)] if floating else values[:0]
        if len(broken):
            if asked:
                raise ValueError(
                    f"column {name!r} is to hold ids, but holds {broken[0]}: make it whole numbers or texts"
                )
            return False
        # The program reads ids from whole numbers. Rows in memory become such on their way; files stay as they are.
        stays_floating = floating and self.builder.train_path is not None
        few = len(values) <= FEW_VALUES
        if few and stays_floating and not group:
            return False  # a bucket for each value is as good as a row for each name
        if asked and stays_floating:
            raise ValueError(f"column {name!r} holds ids {_AS_FLOATS}")
        if asked:
            return True
        named_id, named_number = bool(ID_NAME.search(lower)), bool(NUMBER_NAME.search(lower))
        if (few and (named_id or not named_number or len(values) <= 2)) or pa.types.is_boolean(column.original):
            return True
        if named_id != named_number:
            if named_id and stays_floating:
                raise ValueError(f"column {name!r} seems to hold ids, {_AS_FLOATS}, or ignore it")
            return named_id
        if not floating and np.abs(values).max() >= 2**53:
            return True  # no amount is so large: a hash, or a number made to be unique
        if values.min() < 0 or pa.types.is_decimal(column.original):
            return False
        raise _Question(f"{len(values):,} whole numbers, {values.min():.0f} to {values.max():.0f}")

    # ---- leaks ----

    def _leaks(self, name: str, codes: np.ndarray, asked: bool) -> bool:
        """Warns of a column that tells a label; one that settles it is left out unless it was asked for."""
        distinct = int(codes.max(initial=0)) + 1
        if distinct > max(self.rows // 20, 2):
            return False  # too few rows of each value to tell
        for label, values in self.label_values.items():
            if min(values.sum(), len(values) - values.sum()) < 10:
                continue
            score = value_auc(codes, values)
            if score < SUSPICIOUS_AUC:
                continue
            settles = score >= LEAK_AUC
            tells = f"tells {label!r} {'with certainty' if settles else 'almost'} (AUC {score:.3f} alone): is it known "
            note = f"column {name!r} {tells}before the label is?"
            if settles and not asked:
                self.builder.notes.append(f"{note} It is left out; name it in ids or numbers to take it all the same.")
                return not self._leave_out(name, f"it {tells}before the label is?")
            self.builder.notes.append(note)
        return False

    # ---- model ----

    def _groups(self, features: list[str]) -> None:
        self.builder.group("all", features, "What the model reads.")
        if self.domain:
            self.builder.group(
                "domain", [self.domain], f"EPNet scales every input of the model by what {self.domain} says of it."
            )
        else:
            self.builder.notes.append(
                "no domain is named, so there is no EPNet: name the column of the scene, the tab or the "
                "country to have one"
            )
        if self.uia:
            self.builder.group(
                "uia", self.uia, f"PPNet scales the hidden layers of each task by {' and '.join(self.uia)}."
            )
        else:
            self.builder.notes.append(
                "no column looks like a user or an item, so there is no PPNet: name them with uia"
            )

    def _tasks(self) -> None:
        totals = {name: values.sum() for name, values in self.label_values.items()}
        within: dict[str, str | None] = {}
        for name, values in self.label_values.items():
            around = [
                other
                for other, others in self.label_values.items()
                if other != name and totals[other] > totals[name] and not np.any((values > 0) & (others == 0))
            ]
            # The narrowest of the labels that this one never comes without.
            within[name] = min(around, key=lambda other: totals[other]) if around else None
            same = [
                other for other, others in self.label_values.items() if other < name and np.array_equal(values, others)
            ]
            if same:
                self.builder.notes.append(f"the labels {same[0]!r} and {name!r} are equal in every row")
        rates = {}
        for name in self.labels:
            around_it = within[name]
            rates[name] = totals[name] / (self.rows if around_it is None else totals[around_it])
        entropy = {name: entropy_of(rate) for name, rate in rates.items()}
        largest = max(entropy.values())
        for name in self.labels:
            weight = float(f"{min(5.0, math.sqrt(largest / max(entropy[name], 1e-9))):.2g}")
            comment = f"{name} is 1 in {rates[name]:.2%} of the rows."
            if within[name]:
                comment = (
                    f"{name} comes only with {within[name]}, in {rates[name]:.2%} of its rows, and only these count in "
                    f"the loss:\nprobs_{name} is the probability given {within[name]}; times probs_{within[name]} "
                    "it is that of any row."
                )
            if weight > 1:
                comment += (
                    f"\nThe weight makes up for a loss that is small because the label is rare: {weight:g} times."
                )
            grouped = self.uia[0] if self.uia and self._is_id(self.uia[0]) else None
            self.builder.task(
                name,
                hidden_units=self._widths()[2],
                weight=weight if weight > 1 else None,
                within=within[name],
                grouped_auc=grouped,
                comment=comment,
            )

    def _is_id(self, name: str) -> bool:
        return name not in self.numbers

    def _sizes(self) -> None:
        rows = self.rows
        self.builder.batch_size = int(min(4096, max(64, 2 ** round(math.log2(max(rows, 1) / 200)))))
        rarest = min(self.rows_per_word, key=lambda name: self.rows_per_word[name], default=None)
        if rarest is not None and self.rows_per_word[rarest] < 10:
            self.builder.num_epochs = 1
            self.builder.epochs_comment = (
                f"a word of {rarest} comes {self.rows_per_word[rarest]:.1f} times on average: more passes would learn "
                "rows by heart"
            )
        else:
            self.builder.num_epochs = 3 if rows < 500_000 else 2 if rows < 5_000_000 else 1
        self.builder.epnet_hidden_unit, self.builder.ppnet_hidden_units, _ = self._widths()
        self.builder.data_comments.append("per worker: with W workers use a W-th of it for the same steps")
        if not self.complete:
            self.builder.notes.append(f"the first {rows:,} rows were looked at; there are more")
        if self.builder.eval_path is None and self.builder.train_path is not None:
            self.builder.notes.append(
                "eval_input_path is not set: rows that training does not see tell how good the model is"
            )

    def _widths(self) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
        """Hidden units of EPNet, PPNet and the towers, by the number of rows."""
        if self.rows < 100_000:
            return 64, (64, 32), (32, 16)
        if self.rows < 3_000_000:
            return 128, (256, 128), (128, 64)
        return 128, (512, 256), (256, 128, 64)

    def _preface(self) -> None:
        lines = [
            f"Made from {self.rows:,} rows by pepnet_trainer; read the comments, then change what you know better."
        ]
        if self.builder.train_path is not None:
            lines.append(
                "Check it with pepnet check-config --pipeline_config_path FILE, then pepnet train with the same flag."
            )
        if self.left_out:
            lines += ["", "Left out:"] + [f"  {reason}" for reason in self.left_out]
        if self.builder.notes:
            lines += ["", "To think about:"] + [f"  {note}" for note in self.builder.notes]
        self.builder.preface = lines


class _Question(ValueError):
    """Two readings of a column are possible; the user must say which."""
