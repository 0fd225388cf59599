"""The commands `pepnet` and `pepnet_ps` of the wheel: each becomes the program inside it."""

from __future__ import annotations

import os
import pathlib
import sys


def _become(name: str) -> None:
    # Not find_program(): under mpirun a rank must not depend on what the environment of another host says.
    program = pathlib.Path(__file__).parent / "bin" / name
    try:
        os.execv(program, [name, *sys.argv[1:]])
    except OSError as error:
        sys.exit(f"pepnet: cannot start {str(program)!r}: {error.strerror}; install the wheel of pepnet-trainer again")


def pepnet() -> None:
    """Becomes `pepnet`."""
    _become("pepnet")


def pepnet_ps() -> None:
    """Becomes `pepnet_ps`, the parameter server without torch."""
    _become("pepnet_ps")
