"""load_torch() of tables that grow against `pepnet predict`, on rows with ids that training has not
seen."""

import copy
import io
import json
import unittest

import numpy as np
import pyarrow as pa
import torch
from torch_export import ExportTest

import pepnet_trainer as pt

CONFIG = """
train_config {
  sparse_optimizer { adagrad_optimizer { lr: 0.1 } constant_learning_rate {} }
  dense_optimizer { adam_optimizer { lr: 0.02 } constant_learning_rate {} }
  num_epochs: 1
}
data_config {
  batch_size: 16 dataset_type: ParquetDataset fg_mode: FG_DAG label_fields: "click" num_workers: 1 }
feature_configs { id_feature { feature_name: "user" expression: "user:user" embedding_dim: 6
  dynamic_table { expected_rows: 100 } init_fn: "nn.init.uniform_,a=-2,b=1" } }
feature_configs { id_feature { feature_name: "item" expression: "item:item" embedding_dim: 5
  data_type: "FP16" zch { zch_size: 20 } } }
feature_configs { id_feature { feature_name: "tags" expression: "item:tags" embedding_dim: 4
  data_type: "INT8" pooling: "mean" separator: "|" default_value: "none|never"
  dynamicemb { max_capacity: 64 initializer_args { mode: "NORMAL" mean: 1 } } } }
feature_configs { id_feature { feature_name: "city" expression: "user:city" embedding_dim: 3
  data_type: "BF16" dynamic_table { max_rows: 2000 admit_after_steps: 100 }
  init_fn: "nn.init.xavier_normal_,gain=20" } }
feature_configs { id_feature { feature_name: "one" expression: "user:one" embedding_dim: 2
  dynamic_table { expected_rows: 9 } init_fn: "nn.init.constant_,val=0.7" } }
feature_configs { sequence_id_feature { feature_name: "seen" expression: "user:seen"
  sequence_length: 4 embedding_dim: 6 embedding_name: "user_emb"
  dynamic_table { expected_rows: 100 } init_fn: "nn.init.uniform_,a=-2,b=1" } }
model_config {
  feature_groups { group_name: "all" feature_names: ["user", "item", "tags", "city", "one"]
    sequence_groups { group_name: "seen" feature_names: ["user", "seen"] }
    sequence_encoders { din_encoder { input: "seen" attn_mlp { hidden_units: 4 } } } }
  feature_groups { group_name: "domain" feature_names: "item" embedding_name_suffix: "gate" }
  pepnet {
    task_towers { tower_name: "click" label_name: "click" mlp { hidden_units: [4] }
      losses { binary_cross_entropy {} } }
  }
}
"""


def rows(count, most, seed):
    draw = np.random.default_rng(seed)

    def texts(name):
        return [f"{name}{one}" for one in draw.integers(0, most, count)]

    return pa.table(
        {
            "click": draw.integers(0, 2, count),
            "user": texts("user-"),
            "item": pa.array(
                [None if one == 0 else int(one) for one in draw.integers(0, most, count)]
            ),
            "tags": [
                "|".join(f"tag{one}" for one in draw.integers(0, most, draw.integers(0, 4)))
                for _ in range(count)
            ],
            "city": texts("city"),
            "one": texts("one"),
            "seen": [
                ";".join(f"user-{one}" for one in draw.integers(0, most, draw.integers(0, 6)))
                for _ in range(count)
            ],
        }
    )


class TorchTablesTest(ExportTest):
    def test_ids_without_a_row_read_their_initial_value(self):
        run = pt.train(
            pt.Config(CONFIG),
            rows(64, 12, 1),
            model_dir=self.scratch / "run",
            seed=77,
            progress=False,
        )
        export = run.export(formats=["safetensors"])
        later = rows(200, 40, 2)
        model = self.compare(export, run.predict(later), later)
        tables = model.embedding_group._tables
        self.assertLessEqual(len(tables["user_emb"].weight), 12)
        self.assertEqual(len(tables["city_emb"].weight), 0)  # none is admitted

        # Those values matter: with another seed they are others.
        described = export / "export.json"
        text = described.read_text()
        facts = json.loads(text)
        self.assertEqual(facts["seed"], 77)
        described.write_text(json.dumps(facts | {"seed": 78}))
        other = pt.load_torch(export).predict(later)["logits_click"].to_numpy()
        differs = np.abs(other - model.predict(later)["logits_click"].to_numpy()) > 1e-3
        self.assertGreater(differs.mean(), 0.5)
        described.unlink()
        with self.assertRaisesRegex(
            ValueError, "has no row in table .* needs the seed of the training"
        ):
            pt.load_torch(export).predict(later)
        described.write_text(text)

        # It is an ordinary module: copied, saved and read, trained on.
        expected = model.predict(later)
        file = io.BytesIO()
        torch.save(model.state_dict(), file)
        file.seek(0)
        again = copy.deepcopy(model)
        with torch.no_grad():
            for value in again.state_dict().values():
                value.zero_()
        self.assertNotEqual(again.predict(later), expected)
        self.assertEqual(again.load_state_dict(torch.load(file)), ([], []))
        self.assertEqual(again.predict(later), expected)
        weights = tables["user_emb"].weight
        model.train()(model.encode(later))["logits_click"].sum().backward()
        self.assertGreater(float(weights.grad.abs().sum()), 0)

    def test_finished_ids(self):
        text = CONFIG.replace("FG_DAG", "FG_NONE")
        draw = np.random.default_rng(5)

        def ids(most):
            return pa.array(draw.integers(-most, most, 64) * 2**55)

        def table(most):
            lists = pa.array(
                [draw.integers(0, most, k % 4).tolist() for k in range(64)], pa.list_(pa.int64())
            )
            one = {name: ids(most) for name in ("user", "item", "city", "one")}
            return pa.table({"click": draw.integers(0, 2, 64), "tags": lists, "seen": lists, **one})

        run = pt.train(pt.Config(text), table(4), model_dir=self.scratch / "run", progress=False)
        later = table(90)
        self.compare(run.export(formats=["safetensors"]), run.predict(later), later)

    def test_values_that_are_not_made_here_are_refused(self):
        text = CONFIG.replace("nn.init.constant_,val=0.7", "nn.init.trunc_normal_")
        run = pt.train(
            pt.Config(text), rows(64, 12, 1), model_dir=self.scratch / "run", progress=False
        )
        with self.assertRaisesRegex(
            ValueError, "feature 'one': .*nn.init.trunc_normal_, which a torch module does not"
        ):
            pt.load_torch(run.export(formats=["safetensors"]))


if __name__ == "__main__":
    unittest.main()
