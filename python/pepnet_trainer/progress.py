"""Shows how far a training is: a line that is written over in terminals and notebooks, lines
elsewhere."""

from __future__ import annotations

import json
import pathlib
import re
import sys
from typing import Any, Callable, Iterator, Sequence, TextIO

# Called with a record of metrics.jsonl, or of train_eval_result.txt, in which "global_step" stands
# for "step".
Callback = Callable[[dict[str, Any]], None]


class StopTraining(Exception):
    """Raised in a callback it ends the training after the next step, with a checkpoint."""


class Tail:
    """The lines that are added to a file of JSON records from now on."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._at = path.stat().st_size if path.exists() else 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        try:
            size = self._path.stat().st_size
        except FileNotFoundError:
            return
        # A run that goes on cuts back what a killed one wrote after its checkpoint.
        self._at = min(self._at, size)
        with open(self._path, "rb") as file:
            file.seek(self._at)
            content = file.read(size - self._at)
        whole = content[: content.rfind(b"\n") + 1]
        self._at += len(whole)
        for line in whole.splitlines():
            yield json.loads(line)


def in_notebook() -> bool:
    """Does this run in a Jupyter kernel?"""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


class Printer:
    """Prints the records: steps on one line that is written over, if the place can do that;
    evaluations on lines of their own.

    Passes are counted from 1, as the screen of the program counts them. `log` gives the lines of
    the program so far. Where the step is not among them yet, `epochs` gives how many passes there
    will be, or 0 where that is not known; it is asked at the first such step, when the training has
    written its effective config.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        epochs: Callable[[], int] = lambda: 0,
        log: Callable[[], Sequence[str]] = lambda: (),
    ) -> None:
        self._stream = stream or sys.stdout
        self._log = log
        self._ask_epochs = epochs
        self._epochs: int | None = None
        self._overwrites = in_notebook() or self._stream.isatty()
        self._width = 0

    def __call__(self, record: dict[str, Any]) -> None:
        if "global_step" in record:
            values = "  ".join(
                f"{name} {value:.4f}"
                for name, value in record.items()
                if isinstance(value, float) and not name.startswith("binary_cross_entropy")
            )
            self._line(f"evaluated at step {record['global_step']}: {values}", keep=True)
            return
        text = f"step {record['step']}  epoch {self._pass(record)}  loss {record['total_loss']:.4f}"
        if record.get("samples_per_second"):
            text += f"  {record['samples_per_second']:,.0f} rows/s"
        self._line(text, keep=not self._overwrites)

    def _pass(self, record: dict[str, Any]) -> str:
        """The pass that is under way, or that has just ended; a record only has the number of
        finished ones."""
        line = re.compile(rf"\bstep {record['step']}(/\d+)?  .*\bepoch (?P<pass>\d+(/\d+)?)")
        for said in reversed(self._log()[-100:]):
            if match := line.search(said):
                return match["pass"]
        finished: int = record["epoch"]
        if self._epochs is None:
            self._epochs = self._ask_epochs()
        if self._epochs == 0:
            return str(finished + 1)
        return f"{min(finished + 1, self._epochs)}/{self._epochs}"

    def _line(self, text: str, keep: bool) -> None:
        if self._overwrites:
            self._stream.write("\r" + text.ljust(self._width) + ("\n" if keep else ""))
            self._width = 0 if keep else len(text)
        else:
            self._stream.write(text + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Ends the line that is written over."""
        if self._width:
            self._stream.write("\n")
            self._width = 0
