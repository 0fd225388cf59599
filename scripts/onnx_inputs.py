#!/usr/bin/env python3
"""Usage: scripts/onnx_inputs.py EXPORT_DIR INPUT.csv OUTPUT.csv

Scores the rows of a CSV file (with a header line) with EXPORT_DIR/model.onnx through onnxruntime,
and writes the outputs. Needs numpy and onnxruntime. The code is that of the Python package
(python/pepnet_trainer/onnx_inputs.py): `feeds(export, columns)` there makes the inputs for other
programs, and `pepnet_trainer.Scorer` scores DataFrames.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "python"))
from pepnet_trainer.onnx_inputs import feeds, main, std_hash, tokens_of  # noqa: E402

__all__ = ["feeds", "std_hash", "tokens_of"]

if __name__ == "__main__":
    main(__doc__)
