"""The state that the parts of suggest.py share: the rows, and the findings so far."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from .config import ConfigBuilder


def plural(count: int, what: str) -> str:
    """As "1 row", "2,000 rows"."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")


@dataclass
class Draft:
    """A config in the making: the rows, what the user said of them, and what has been decided."""

    table: pa.Table
    types: dict[str, pa.DataType]  # of the columns as they came
    labels: list[str]
    domain: str | None
    uia: list[str] | None  # None: to be chosen by the names
    ids: set[str]
    numbers: set[str]
    ignore: set[str]
    builder: ConfigBuilder
    complete: bool  # are these all rows there are?
    label_values: dict[str, np.ndarray] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)  # "column: reason"
    rows_per_word: dict[str, float] = field(default_factory=dict)  # of hashed features

    @property
    def rows(self) -> int:
        """The number of rows that were looked at."""
        return len(self.table)

    def is_asked_for(self, name: str) -> bool:
        """Did the user name the column as a feature?"""
        return (
            name in self.ids
            or name in self.numbers
            or name == self.domain
            or name in (self.uia or [])
        )

    def leave_out(self, name: str, reason: str) -> bool:
        """False, as "it is no feature"."""
        self.left_out.append(f"{name}: {reason}")
        return False
