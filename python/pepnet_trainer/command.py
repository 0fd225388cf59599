"""The commands `pepnet` and `pepnet_ps` of the wheel: each becomes the program inside it. `pepnet
init` stays here."""

from __future__ import annotations

import os
import pathlib
import sys
from typing import NoReturn, Sequence


def _become(name: str) -> None:
    # Not find_program(): under mpirun a rank must not depend on what the environment of another
    # host says.
    program = pathlib.Path(__file__).parent / "bin" / name
    try:
        os.execv(program, [name, *sys.argv[1:]])
    except OSError as error:
        sys.exit(
            f"pepnet: cannot start {str(program)!r}: {error.strerror}; "
            "install the wheel of pepnet-trainer again"
        )


def pepnet() -> None:
    """Becomes `pepnet`."""
    if sys.argv[1:2] == ["init"]:
        init(sys.argv[2:])
    _become("pepnet")


def init(arguments: Sequence[str] | None = None) -> NoReturn:
    """`pepnet init` with these arguments, sys.argv's by default. The program calls it, too."""
    # pyarrow, which it needs, would slow down every start of the program.
    from .__main__ import main

    words = sys.argv[1:] if arguments is None else arguments
    sys.exit(main(["init", *words], prog="pepnet"))


def pepnet_ps() -> None:
    """Becomes `pepnet_ps`, the parameter server without torch."""
    _become("pepnet_ps")
