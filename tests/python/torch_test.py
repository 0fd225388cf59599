"""load_torch() against `pepnet predict`: golden cases, and MovieLens-like rows with every kind of
cell."""

import csv
import importlib.util
import json
import os
import pathlib
import re
import sys
import unittest

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from scene_rows import CONFIG, SCENES, scene_rows
from torch_export import ExportTest

import pepnet_trainer as pt
from pepnet_trainer import torch_model

SOURCE = pathlib.Path(os.environ["PEPNET_SOURCE_DIR"])
sys.path.insert(0, str(SOURCE / "tests/tools"))
import movielens_like  # noqa: E402

GOLDEN_CASES = """
    features losses_metrics mixed multi_domain no_domain no_uia optim pareto raw_embed seed_small
    seq_attention seq_din seq_pooling seq_standalone suffix towers
""".split()

CELLS = """
train_config {
  sparse_optimizer { adagrad_optimizer { lr: 0.1 } constant_learning_rate {} }
  dense_optimizer { adam_optimizer { lr: 0.01 } constant_learning_rate {} }
  num_epochs: 2
}
data_config { batch_size: 8 dataset_type: ParquetDataset fg_mode: FG_DAG label_fields: "click"
  num_workers: 1 }
feature_configs { id_feature { feature_name: "one" expression: "user:one" num_buckets: 20
  embedding_dim: 4 separator: "|" value_dim: 1 } }
feature_configs { id_feature { feature_name: "hash" expression: "user:hash" hash_bucket_size: 20
  embedding_dim: 4 separator: "|" default_value: "a|b" pooling: "mean" } }
feature_configs { id_feature { feature_name: "weighted" expression: "user:weighted"
  hash_bucket_size: 20 separator: "|" embedding_dim: 4 weighted: true pooling: "mean"
  default_value: "a" } }
feature_configs { id_feature { feature_name: "word" expression: "user:word" vocab_list: ["a", "b"]
  embedding_dim: 4 separator: "|" default_value: "none" } }
feature_configs { raw_feature { feature_name: "pair" expression: "user:pair" separator: "|"
  value_dim: 2 default_value: "1|2" } }
feature_configs { raw_feature { feature_name: "bucket" expression: "user:bucket" separator: "|"
  boundaries: [0, 1, 2] embedding_dim: 4 default_value: "" } }
model_config {
  feature_groups { group_name: "all"
    feature_names: ["one", "hash", "weighted", "word", "pair", "bucket"] }
  pepnet { task_towers { tower_name: "click" label_name: "click"
    losses { binary_cross_entropy {} } } }
}
"""


class LoadTorchTest(ExportTest):
    def test_golden_cases(self):
        for case in GOLDEN_CASES:
            with self.subTest(case):
                directory, scratch = SOURCE / "tests/golden" / case, self.scratch / case
                config, data = directory / "pipeline.config", directory / "train.csv"
                job = ["--pipeline_config_path", config, "--model_dir", scratch / "model"]
                pt.run_program("import", *job, "--weights", directory / "init.safetensors")
                pt.run_program(
                    "export",
                    *job,
                    "--export_dir",
                    scratch / "export",
                    "--edit_config_json",
                    json.dumps({"eval_input_path": str(data)}),
                )
                pt.run_program(
                    "predict",
                    *job,
                    "--predict_input_path",
                    data,
                    "--predict_output_path",
                    scratch / "predict",
                )
                names = re.findall(r'\binput_name: "(\w+)"', config.read_text())
                with open(data, newline="") as file:
                    rows = list(csv.reader(file))
                names = names or rows.pop(0)
                cells = {name: [row[at] for row in rows] for at, name in enumerate(names)}
                self.compare(
                    scratch / "export", pq.read_table(scratch / "predict"), pa.table(cells)
                )

    def test_movielens_like_rows(self):
        cells = movielens_like.columns(300)
        cells["gender"][7] = None
        rows = pa.table(
            {
                name: pa.array(values, pa.string() if name in movielens_like.TEXTS else pa.int64())
                for name, values in cells.items()
            }
        )
        run = pt.train(
            SOURCE / "configs/pepnet_movielens.config",
            rows,
            rows,
            {"train_config.num_epochs": 2},
            self.scratch / "run",
            progress=False,
        )
        if importlib.util.find_spec("pandas") is None:
            self.assertIsInstance(run.evaluations, pa.Table)
        model = self.compare(run.export(formats=["safetensors"]), run.predict(rows), rows)

        # It is an ordinary module: it learns.
        model.train()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        encoded = model.encode(rows)
        labels = torch.tensor(cells["like"], dtype=torch.float32)
        losses = []
        for _ in range(30):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                model(encoded)["logits_like"], labels
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        self.assertLess(losses[-1], losses[0] - 0.05)

    def test_variational_dropout(self):
        cells = movielens_like.columns(200)
        rows = pa.table(
            {
                name: pa.array(values, pa.string() if name in movielens_like.TEXTS else pa.int64())
                for name, values in cells.items()
            }
        )
        run = pt.train(
            SOURCE / "configs/pepnet_movielens.config",
            rows,
            rows,
            {
                "train_config.num_epochs": 1,
                "model_config.variational_dropout.regularization_lambda": 0.5,
            },
            self.scratch / "run",
            progress=False,
        )
        model = self.compare(run.export(formats=["safetensors"]), run.predict(rows), rows)
        dropout = model.group_variational_dropouts["all"]
        x = torch.ones(500, sum(dropout.widths))
        left = (1 - torch.sigmoid(dropout.feature_p)).detach()
        self.assertAlmostEqual(float(dropout.penalty()), float(left.sum()), places=5)
        torch.testing.assert_close(
            dropout(x)[0], torch.repeat_interleave(left, torch.tensor(dropout.widths))
        )
        # In training each row keeps or drops a feature as a whole, by that share in the mean.
        noisy = dropout.train()(x).detach()
        first = noisy[:, 0]
        self.assertTrue(bool((noisy[:, : dropout.widths[0]] == first.unsqueeze(1)).all()))
        self.assertLess(abs(float(first.mean() - left[0])), 0.1)
        self.assertGreater(float(first.std()), 0.05)

    def test_domains_are_words_of_a_vocabulary(self):
        rows = scene_rows()
        run = pt.train(pt.Config(CONFIG), rows, model_dir=self.scratch / "run", progress=False)
        model = self.compare(run.export(formats=["safetensors"]), run.predict(rows), rows)
        self.assertEqual(model.domain_words, SCENES)
        scores = model.predict(rows)
        own = [
            scores[f"probs_click_{SCENES.index(scene.as_py())}"][row]
            for row, scene in enumerate(rows["scene"])
        ]
        self.assertEqual(scores["probs_click"].to_pylist(), [one.as_py() for one in own])
        self.assertNotEqual(scores["probs_click"], scores["probs_click_0"])
        # A number in range stands for itself, without words of the feature as well.
        numbers = rows.set_column(2, "scene", pa.array(["1", "home", "7"] * 66 + ["0", "2"]))
        with self.assertRaisesRegex(
            ValueError, "'7'; expected a domain, 0 to 2, or one of search, home, cart"
        ):
            model.predict(numbers)
        known = numbers.filter([cell.as_py() != "7" for cell in numbers["scene"]])
        self.compare(run.export(self.scratch / "again", ["safetensors"]), run.predict(known), known)

    def test_odd_cells_are_read_or_refused_as_training_does(self):
        cells = {
            "one": ["", "|", "007", "|3|", None],
            "hash": ["", "|", "a", "a||c", " a"],
            "weighted": ["", "|", "a:2", "a:b:-1|c:.5", "c:1e1"],
            "word": ["", "|", "a", "none|b", "other"],
            "pair": ["", "1|2", "1||2", "-.5|1e1", None],
            "bucket": ["", "|", "1", "-1e9|1.5", "2"],
        }
        draw = np.random.default_rng(7)
        rows = {
            name: pa.array(draw.choice(np.array(some, object), 60), pa.string())
            for name, some in cells.items()
        }
        rows = pa.table({"click": pa.array(draw.integers(0, 2, 60)), **rows})
        run = pt.train(pt.Config(CELLS), rows, model_dir=self.scratch / "run", progress=False)
        model = self.compare(run.export(formats=["safetensors"]), run.predict(rows), rows)
        one = rows.slice(0, 1)
        for name, cell, said in (
            ("one", "1|2", "the cell '1|2' holds 2 ids, but feature 'one' has value_dim 1"),
            ("one", "1.0", "'1.0' is not a whole number"),
            ("hash", [1.5], "1.5 is no id; feature 'hash' takes whole numbers or texts"),
            (
                "weighted",
                "a",
                "the token 'a' of weighted feature 'weighted' is not of the form 'id:weight'",
            ),
            ("weighted", "a:1_0", "'1_0' is not a finite decimal number"),
            ("pair", "|", r"feature 'pair' needs 2 value(s) in a cell, not '|'"),
            ("bucket", "inf", "'inf' is not a finite decimal number"),
        ):
            with self.subTest(name, cell=cell):
                wrong = one.set_column(one.column_names.index(name), name, pa.array([cell]))
                with self.assertRaisesRegex(
                    ValueError, re.escape(f"row 0 (counted from 0), column '{name}': {said}")
                ):
                    model.predict(wrong)
                with self.assertRaises(pt.PepnetError):
                    run.predict(wrong)

    def test_computed_features_are_refused_by_what_to_do(self):
        kinds = "combo lookup match expr overlap bool_mask combine tokenize custom".split()
        for kind in (*(f"{name}_feature" for name in kinds), "kv_dot_product"):
            for text, name in (
                (f'{kind} {{ feature_name: "x" }}', "x"),
                (f'sequence_{kind} {{ feature_name: "x" }}', "x"),
                (
                    (
                        'sequence_feature { sequence_name: "s" '
                        f'features {{ {kind} {{ feature_name: "x" }} }} }}'
                    ),
                    "s__x",
                ),
            ):
                text = f"feature_configs {{ {text} }} model_config {{ feature_groups {{"
                config = pt.Config(text + f' group_name: "all" feature_names: "{name}" }} }}')
                said = (
                    rf"feature '{name}' is computed \({kind}\), which a torch module does not do; "
                    r"score with pepnet predict \(Run.predict\), or with Scorer, "
                    rf"to which you give .* as the column '{name}'"
                )
                with self.assertRaisesRegex(ValueError, said):
                    torch_model.PEPNet(config, {})

    def test_what_is_not_computed_here_is_refused(self):
        text = (
            "feature_configs {{ {} }} "
            'model_config {{ feature_groups {{ group_name: "all" feature_names: "x" }} }}'
        )
        mode = "data_config { fg_mode: FG_DAG }"
        formula = (
            'raw_feature { feature_name: "x" expression: "user:x" '
            'normalizer: "method=expression,expr=log(x)" }'
        )
        hashed = (
            'id_feature { feature_name: "x" expression: "user:x" '
            "hash_bucket_size: 9 embedding_dim: 2 }"
        )
        for feature, said in (
            (
                formula,
                (
                    "feature 'x': the normalizer .* is a formula, "
                    ".* score with Scorer or pepnet predict"
                ),
            ),
            (
                hashed,
                (
                    "feature 'x' was trained with --hash=farm, which is not known here; "
                    "score with pepnet predict"
                ),
            ),
        ):
            with self.assertRaisesRegex(ValueError, said):
                torch_model.PEPNet(pt.Config(mode + text.format(feature)), {}, string_hash="farm")

    def test_errors_say_what_is_missing(self):
        with self.assertRaisesRegex(FileNotFoundError, "no model.safetensors; export with formats"):
            pt.load_torch(self.scratch)


if __name__ == "__main__":
    unittest.main()
