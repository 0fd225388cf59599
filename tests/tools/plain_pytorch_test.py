"""model.safetensors in a PEPNet of plain PyTorch: the same probabilities as `pepnet predict`."""

import json
import os
import pathlib
import sys
import tempfile
import unittest

import movielens_like
import numpy as np
import pyarrow.parquet as pq
import torch
from small_job import pepnet

SOURCE = pathlib.Path(os.environ["PEPNET_SOURCE_DIR"])
sys.path.insert(0, str(SOURCE / "scripts/bench"))
import plain_pytorch  # noqa: E402


class PlainPyTorchTest(unittest.TestCase):
    def test_exported_weights_fill_its_state_dict(self):
        with tempfile.TemporaryDirectory() as name:
            scratch = pathlib.Path(name)
            data = scratch / "rows.parquet"
            cells = movielens_like.columns(200)
            cells["release_year"] = [1950 if year is None else year
                                     for year in cells["release_year"]]
            movielens_like.write(data, cells)
            edits = ["--model_dir", scratch / "model", "--edit_config_json",
                     json.dumps({"train_config.num_epochs": 1, "train_input_path": str(data),
                                 "eval_input_path": str(data)})]
            config = ["--pipeline_config_path", SOURCE / "configs/pepnet_movielens.config", *edits]
            pepnet("train", *config)
            pepnet("export", *config, "--export_dir", scratch / "export")
            pepnet("predict", *config, "--predict_input_path", data,
                   "--predict_output_path", scratch / "predict", "--overwrite")
            tables = plain_pytorch.make_tables()
            widths = [plain_pytorch.DIM * len(plain_pytorch.GROUPS[group])
                      for group in ("all", "domain", "uia")]
            net = plain_pytorch.PEPNet(*widths, 2, 0.1).eval()
            plain_pytorch.load_weights(scratch / "export/model.safetensors", tables, net)
            rows = plain_pytorch.Data(data)
            features, _ = rows.batch(torch.arange(rows.rows))
            expected = pq.read_table(scratch / "predict").to_pydict()
            with torch.no_grad():
                for task, logits in zip(plain_pytorch.TASKS,
                                        plain_pytorch.forward(tables, net, features)):
                    np.testing.assert_allclose(logits.numpy(), expected[f"logits_{task}"],
                                               rtol=1e-5, atol=1e-5)


if __name__ == "__main__":
    unittest.main()
