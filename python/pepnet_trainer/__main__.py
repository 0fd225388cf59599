"""`pepnet init DATA --labels click,buy`: a commented config from data files; and where things
are."""

from __future__ import annotations

import argparse
import pathlib
import sys
from typing import Sequence

from . import frames, program


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description="Helpers around the program pepnet.")
    commands = parser.add_subparsers(dest="command", required=True)
    init = commands.add_parser(
        "init",
        help="write a commented config from data files",
        description="Looks at the columns of Parquet or CSV files and writes a commented config "
        "that trains at once. What it cannot decide is an error that says which flag to add.",
    )
    init.add_argument(
        "data", help="Parquet or CSV files: comma list of paths and globs, or a folder"
    )
    init.add_argument(
        "--labels",
        type=frames.names,
        required=True,
        help="columns of 0 and 1 to predict: click,buy",
    )
    init.add_argument("--domain", help="column of the scene (EPNet's gates)")
    init.add_argument(
        "--uia",
        type=frames.names,
        help='columns of user and item (PPNet\'s gates): user_id,item_id; "" for none',
    )
    init.add_argument(
        "--ids",
        type=frames.names,
        default=[],
        help="columns of whole numbers that are names: brand,feat_*",
    )
    init.add_argument("--numbers", type=frames.names, default=[], help="columns that are amounts")
    init.add_argument("--ignore", type=frames.names, default=[], help="columns to leave out")
    init.add_argument("--eval", dest="eval_path", help="files to evaluate with")
    init.add_argument(
        "--model_dir", default="runs/model", help="where the training is to keep its files"
    )
    init.add_argument("--output", "-o", type=pathlib.Path, help="file to write (default: print it)")
    init.add_argument("--overwrite", action="store_true", help="replace --output")
    commands.add_parser("where", help="print where the program pepnet and mpirun are")
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = "python -m pepnet_trainer") -> int:
    """Runs a command; returns the exit status. The last line on stderr says what is wrong."""
    options = _parser(prog).parse_args(arguments)
    try:
        if options.command == "where":
            print(program.find_program())
            print(program.find_mpirun())
            return 0
        return _init(options)
    except (ValueError, OSError, program.PepnetError, TypeError) as error:
        print(
            error if str(error).startswith("pepnet:") else f"pepnet init: {error}", file=sys.stderr
        )
        return 1


def _init(options: argparse.Namespace) -> int:
    from .config import Config

    if options.output is not None and options.output.exists() and not options.overwrite:
        raise FileExistsError(f"{str(options.output)!r} exists; --overwrite replaces it")
    paths = options.data
    if pathlib.Path(paths).is_dir():
        paths = ",".join(map(str, frames.expand(paths)))
    config = Config.from_dataframe(
        paths,
        options.labels,
        options.domain,
        options.uia,
        ids=options.ids,
        numbers=options.numbers,
        ignore=options.ignore,
        eval_path=options.eval_path,
        model_dir=options.model_dir,
    )
    for note in config.notes:
        print(f"note: {note}", file=sys.stderr)
    try:
        config.check()
    except FileNotFoundError as error:
        print(f"note: the config is not checked: {error}", file=sys.stderr)
    if options.output is None:
        sys.stdout.write(config.text)
    else:
        config.save(options.output)
        print(f"{options.output}: now pepnet train {options.output}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
