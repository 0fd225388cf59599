"""PEPNet from Python: from a DataFrame to a trained model and back to scores.

The package computes nothing a second time: it writes a config and Parquet files, starts the program
`pepnet`, and reads the files that it leaves behind. docs/python.md shows it at work.

    import pepnet_trainer as pt

    config = pt.Config.from_dataframe(frame, labels=["click", "buy"], domain="scene",
                                      uia=["user_id", "item_id"])
    run = pt.train(config, train=frame, eval=later_frame)
    run.evaluations                              # a DataFrame
    scores = run.predict(new_frame)              # probs_click, probs_buy, ...
    model = pt.load_torch(run.export("export"))  # a torch.nn.Module
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

# Named twice: to type checkers only `as` says that a name is meant to be used from here.
if TYPE_CHECKING:
    from .checkpoint import (
        read_safetensors as read_safetensors,
        read_table as read_table,
        table_names as table_names,
    )
    from .config import Config as Config, ConfigBuilder as ConfigBuilder
    from .frames import split as split
    from .program import (
        PepnetError as PepnetError,
        find_program as find_program,
        run_program as run_program,
        version as version,
    )
    from .progress import StopTraining as StopTraining
    from .run import Checkpoint as Checkpoint, Run as Run, train as train
    from .scorer import Scorer as Scorer
    from .torch_model import PEPNet as PEPNet, load_torch as load_torch

# Name -> module. A name's module is imported when it is first used, so that reading a table does
# not import torch.
_HOMES = {
    "Checkpoint": "run",
    "Config": "config",
    "ConfigBuilder": "config",
    "PEPNet": "torch_model",
    "PepnetError": "program",
    "Run": "run",
    "Scorer": "scorer",
    "StopTraining": "progress",
    "find_program": "program",
    "load_torch": "torch_model",
    "read_safetensors": "checkpoint",
    "read_table": "checkpoint",
    "run_program": "program",
    "split": "frames",
    "table_names": "checkpoint",
    "train": "run",
    "version": "program",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
