"""Labels, feature groups, tasks and sizes: what a config is besides its features."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .column_statistics import entropy_of
from .suggest_draft import Draft, plural

LABEL_WORDS = (("false", "true"), ("no", "yes"), ("f", "t"), ("n", "y"))  # negative, positive


def label_values(table: pa.Table, name: str) -> np.ndarray:
    """The label of each row, 0 or 1. A column that is no label is a ValueError that says what to
    make of it."""
    column = table[name]
    if column.null_count:
        raise ValueError(
            f"the label {name!r} is empty in {plural(column.null_count, 'row')}; "
            "every row needs one: drop these rows, or fill them with 0"
        )
    values = pc.unique(column).to_pylist()
    words = [str(value).lower() for value in values]
    # A bool, or words that the program takes.
    if any(set(words) <= set(pair) for pair in LABEL_WORDS):
        if len(values) == 1:
            raise ValueError(
                f"the label {name!r} is {values[0]} in every row: there is nothing to learn"
            )
        positive = {pair[1] for pair in LABEL_WORDS}
        return np.array(
            [str(value).lower() in positive for value in column.to_pylist()], np.float64
        )
    numeric = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    if not numeric or not set(values) <= {0, 1}:
        shown = ", ".join(map(repr, sorted(values, key=str)[:5])) + (
            ", ..." if len(values) > 5 else ""
        )
        hint = (
            f"make a column of 0 and 1 of it, as `{name} == {max(values, key=str)!r}`"
            if len(values) <= 2
            else (
                "make a column of 0 and 1 of it, as `rating >= 4`, "
                "or write a tower with l2_loss by hand"
            )
        )
        raise ValueError(f"the label {name!r} holds {shown}, and a label is 0 or 1: {hint}")
    result: np.ndarray = column.to_numpy().astype(np.float64)
    if len(values) == 1:
        raise ValueError(
            f"the label {name!r} is {values[0]} in every row: there is nothing to learn"
        )
    return result


class ModelMaker:
    """Adds groups, tasks and sizes to the draft's builder, once its features and labels are
    known."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft

    def add(self, features: list[str]) -> None:
        """Everything but the features, whose names these are."""
        self._groups(features)
        self._tasks()
        self._sizes()
        self._preface()

    def _groups(self, features: list[str]) -> None:
        self.draft.builder.group("all", features, "What the model reads.")
        if self.draft.domain:
            self.draft.builder.group(
                "domain",
                [self.draft.domain],
                f"EPNet scales every input of the model by what {self.draft.domain} says of it.",
            )
            if self._is_id(self.draft.domain):
                self.draft.builder.slice_by = self.draft.domain
        else:
            self.draft.builder.notes.append(
                "no domain is named, so there is no EPNet: "
                "name the column of the scene, the tab or the country to have one"
            )
        if self.draft.uia:
            self.draft.builder.group(
                "uia",
                self.draft.uia,
                f"PPNet scales the hidden layers of each task by {' and '.join(self.draft.uia)}.",
            )
        else:
            self.draft.builder.notes.append(
                "no column looks like a user or an item, so there is no PPNet: name them with uia"
            )

    def _tasks(self) -> None:
        totals = {name: values.sum() for name, values in self.draft.label_values.items()}
        within: dict[str, str | None] = {}
        for name, values in self.draft.label_values.items():
            around = [
                other
                for other, others in self.draft.label_values.items()
                if other != name
                and totals[other] > totals[name]
                and not np.any((values > 0) & (others == 0))
            ]
            # The narrowest of the labels that this one never comes without.
            within[name] = min(around, key=lambda other: totals[other]) if around else None
            same = [
                other
                for other, others in self.draft.label_values.items()
                if other < name and np.array_equal(values, others)
            ]
            if same:
                self.draft.builder.notes.append(
                    f"the labels {same[0]!r} and {name!r} are equal in every row"
                )
        rates = {}
        for name in self.draft.labels:
            around_it = within[name]
            rates[name] = totals[name] / (
                self.draft.rows if around_it is None else totals[around_it]
            )
        entropy = {name: entropy_of(rate) for name, rate in rates.items()}
        largest = max(entropy.values())
        for name in self.draft.labels:
            weight = float(f"{min(5.0, math.sqrt(largest / max(entropy[name], 1e-9))):.2g}")
            comment = f"{name} is 1 in {rates[name]:.2%} of the rows."
            if within[name]:
                comment = (
                    f"{name} comes only with {within[name]}, in {rates[name]:.2%} of its rows, "
                    "and only these count in the loss:\n"
                    f"probs_{name} is the probability given {within[name]}; "
                    f"times probs_{within[name]} it is that of any row."
                )
            if weight > 1:
                comment += (
                    "\nThe weight makes up for a loss that is small because the label is rare: "
                    f"{weight:g} times."
                )
            grouped = (
                self.draft.uia[0] if self.draft.uia and self._is_id(self.draft.uia[0]) else None
            )
            self.draft.builder.task(
                name,
                hidden_units=self._widths()[2],
                weight=weight if weight > 1 else None,
                within=within[name],
                grouped_auc=grouped,
                comment=comment,
            )

    def _is_id(self, name: str) -> bool:
        return name not in self.draft.numbers

    def _sizes(self) -> None:
        rows = self.draft.rows
        self.draft.builder.batch_size = int(
            min(4096, max(64, 2 ** round(math.log2(max(rows, 1) / 200))))
        )
        rarest = min(
            self.draft.rows_per_word, key=lambda name: self.draft.rows_per_word[name], default=None
        )
        if rarest is not None and self.draft.rows_per_word[rarest] < 10:
            self.draft.builder.num_epochs = 1
            self.draft.builder.epochs_comment = (
                f"a word of {rarest} comes {self.draft.rows_per_word[rarest]:.1f} times "
                "on average: more passes would learn rows by heart"
            )
        else:
            self.draft.builder.num_epochs = 3 if rows < 500_000 else 2 if rows < 5_000_000 else 1
        self.draft.builder.epnet_hidden_unit, self.draft.builder.ppnet_hidden_units, _ = (
            self._widths()
        )
        self.draft.builder.data_comments.append(
            "per worker: with W workers use a W-th of it for the same steps"
        )
        if not self.draft.complete:
            self.draft.builder.notes.append(
                f"the first {rows:,} rows were looked at; there are more"
            )
        if self.draft.builder.eval_path is None and self.draft.builder.train_path is not None:
            self.draft.builder.notes.append(
                "eval_input_path is not set: "
                "rows that training does not see tell how good the model is"
            )

    def _widths(self) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
        """Hidden units of EPNet, PPNet and the towers, by the number of rows."""
        if self.draft.rows < 100_000:
            return 64, (64, 32), (32, 16)
        if self.draft.rows < 3_000_000:
            return 128, (256, 128), (128, 64)
        return 128, (512, 256), (256, 128, 64)

    def _preface(self) -> None:
        lines = [
            f"Made from {self.draft.rows:,} rows by pepnet_trainer; "
            "read the comments, then change what you know better."
        ]
        if self.draft.builder.train_path is not None:
            lines.append("Check it with pepnet check-config FILE, then pepnet train FILE.")
        if self.draft.left_out:
            lines += ["", "Left out:"] + [f"  {reason}" for reason in self.draft.left_out]
        if self.draft.builder.notes:
            lines += ["", "To think about:"] + [f"  {note}" for note in self.draft.builder.notes]
        self.draft.builder.preface = lines
