"""load_torch() of sequences against `pepnet predict`, beyond the golden cases: every kind of cell
and of encoder."""

import unittest

import numpy as np
import pyarrow as pa
import torch
from torch_export import ExportTest

import pepnet_trainer as pt

CONFIG = """
train_config {
  sparse_optimizer { adagrad_optimizer { lr: 0.05 } constant_learning_rate {} }
  dense_optimizer { adam_optimizer { lr: 0.01 } constant_learning_rate {} }
  num_epochs: 3
}
data_config {
  batch_size: 32 dataset_type: ParquetDataset fg_mode: FG_DAG label_fields: "click" num_workers: 1
}
feature_configs { id_feature { feature_name: "user" expression: "user:user" hash_bucket_size: 50
  embedding_dim: 6 } }
feature_configs { id_feature { feature_name: "item" expression: "item:item" num_buckets: 30
  embedding_dim: 4 embedding_name: "item_emb" } }
feature_configs { raw_feature { feature_name: "price" expression: "item:price" value_dim: 2 } }
feature_configs { raw_feature { feature_name: "age" expression: "user:age"
  embedding_dim: 1 mlp {} } }
feature_configs { sequence_feature {
  sequence_name: "click" sequence_length: 5 sequence_delim: ";"
  features { id_feature { feature_name: "item" expression: "item:item" num_buckets: 30
    embedding_dim: 4 embedding_name: "item_emb" } }
  features { id_feature { feature_name: "tags" expression: "item:tags" vocab_list: ["a", "b", "c"]
    value_dim: 0 pooling: "mean" separator: "|" embedding_dim: 2 default_value: "b" } }
  features { raw_feature { feature_name: "price" expression: "item:price" boundaries: [0.5, 1.5]
    embedding_dim: 3 normalizer: "method=zscore,mean=1,standard_deviation=2" default_value: "7" } }
  features { raw_feature { feature_name: "pair" expression: "item:pair" value_dim: 2 separator: "|"
    embedding_dim: 3 mlp {}
    normalizer: "method=minmax,min=0,max=4" } }
} }
feature_configs { sequence_id_feature { feature_name: "words" expression: "user:words"
  hash_bucket_size: 20 embedding_dim: 4 embedding_name: "word_emb" pooling: "mean" value_dim: 0 } }
model_config {
  feature_groups {
    group_name: "all" feature_names: ["user", "price", "words", "age"]
    sequence_groups { group_name: "clicks"
      feature_names: ["item", "age", "click__item", "click__tags", "click__pair"] }
    sequence_groups { group_name: "prices" feature_names: ["item", "click__price", "click__item"]
      embedding_name_suffix: "own" }
    sequence_groups { group_name: "same" feature_names: ["item", "words"] }
    sequence_encoders { pooling_encoder { input: "clicks" pooling_type: "sum" max_seq_length: 2 } }
    sequence_encoders { self_attention_encoder { input: "clicks" multihead_attn_dim: 6 num_heads: 3
      dropout: 0.1 max_seq_length: 3 } }
    sequence_encoders { din_encoder { input: "prices" max_seq_length: 3
      attn_mlp { hidden_units: [8, 4] activation: "Dice" dropout_ratio: 0.1 } } }
    sequence_encoders { multi_window_din_encoder { input: "prices" windows_len: [1, 2, 9]
      attn_mlp { hidden_units: [5] use_bn: true activation: "nn.PReLU(num_parameters=5)" } } }
    sequence_encoders { simple_attention { input: "same" max_seq_length: 4 } }
  }
  feature_groups {
    group_name: "uia" feature_names: ["user", "item"] embedding_name_suffix: "gate"
    sequence_groups { feature_names: ["words"] }
    sequence_encoders { pooling_encoder {} }
  }
  feature_groups { group_name: "domain" feature_names: "item" }
  feature_groups { group_name: "unread" feature_names: "price"
    sequence_groups { group_name: "more" feature_names: "click__tags"
      embedding_name_suffix: "more" }
    sequence_encoders { pooling_encoder {} } }
  variational_dropout { regularization_lambda: 0.01 }
  pepnet {
    ppnet_hidden_units: [8]
    task_towers { tower_name: "click" label_name: "click" mlp { hidden_units: [4] }
      losses { binary_cross_entropy {} } }
  }
}
"""


def rows(count, seed=3):
    """Cells of every kind: texts, lists, lists of lists, empty and missing ones, empty elements."""
    draw = np.random.default_rng(seed)

    def cells(element, join):
        made = []
        for row in range(count):
            found = [element() for _ in range(draw.integers(0, 8))]
            made.append(None if row % 11 == 3 else join(found))
        return made

    def tags():
        return "|".join(draw.choice(["a", "b", "c", "other"], draw.integers(0, 3)))

    user = draw.integers(0, 40, count)
    return pa.table(
        {
            "click": (draw.random(count) < 0.4).astype(np.int64),
            "user": [f"user-{one}" for one in user],
            "age": draw.random(count).round(3),
            "item": draw.integers(0, 30, count),
            "price": pa.array([draw.random(2).tolist() for _ in range(count)]),
            "click__item": pa.array(
                cells(lambda: int(draw.integers(0, 30)), list), pa.list_(pa.int64())
            ),
            "click__tags": cells(tags, ";".join),
            "click__price": pa.array(
                cells(lambda: float(draw.normal(2, 3)), list), pa.list_(pa.float64())
            ),
            "click__pair": cells(lambda: draw.choice(["1.5|2", "0.25|3", ""]), ";".join),
            "words": pa.array(
                cells(
                    lambda: draw.choice(["x", "y", "z", "w"], draw.integers(0, 3)).tolist(), list
                ),
                pa.list_(pa.list_(pa.string())),
            ),
        }
    )


class TorchSequencesTest(ExportTest):
    def test_every_encoder_and_kind_of_cell(self):
        table = rows(300)
        run = pt.train(pt.Config(CONFIG), table, model_dir=self.scratch / "run", progress=False)
        model = self.compare(run.export(formats=["safetensors"]), run.predict(table), table)
        self.assertEqual(model.embedding_group.widths["all"], [6, 2, 4, 1, 8, 6, 7, 28, 4])

        # It learns, with gradients that are numbers: there are rows without positions, and padded
        # ones.
        model.train()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        encoded = model.encode(table)
        labels = torch.tensor(table["click"].to_pylist(), dtype=torch.float32)
        losses = []
        for _ in range(40):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                model(encoded)["logits_click"], labels
            )
            optimizer.zero_grad()
            loss.backward()
            for name, parameter in model.named_parameters():
                self.assertTrue(bool(torch.isfinite(parameter.grad).all()), name)
            optimizer.step()
            losses.append(float(loss.detach()))
        self.assertLess(losses[-1], losses[0] - 0.05)

    def test_finished_cells(self):
        """FG_NONE: cells are read whole, and an empty one has no element."""
        text = CONFIG.replace("FG_DAG", "FG_NONE").replace(
            'feature_names: ["user", "price", "words", "age"]',
            'feature_names: ["user", "words", "age"]',
        )
        draw = np.random.default_rng(4)
        ids, lengths = pa.list_(pa.int64()), draw.integers(0, 7, 100)

        def sequence(most, empty=True):
            return [
                draw.integers(0, most, draw.integers(0 if empty else 1, 9)).tolist()
                for _ in range(100)
            ]

        table = pa.table(
            {
                "click": draw.integers(0, 2, 100),
                "user": draw.integers(0, 50, 100),
                "age": draw.random(100),
                "item": draw.integers(0, 30, 100),
                "price": pa.array([[1.0, 2.0]] * 100),
                "click__item": pa.array([None, *sequence(30)[1:]], ids),
                "click__tags": pa.array(
                    [sequence(5, empty=False)[:k] for k in lengths], pa.list_(ids)
                ),
                "click__price": [";".join(map(str, one)) for one in sequence(3)],
                "click__pair": pa.array([draw.random(2 * k).tolist() for k in lengths]),
                "words": [
                    ";".join("\x03".join(map(str, one)) for one in sequence(20, empty=False)[:k])
                    for k in lengths
                ],
            }
        )
        run = pt.train(pt.Config(text), table, model_dir=self.scratch / "run", progress=False)
        model = self.compare(run.export(formats=["safetensors"]), run.predict(table), table)
        one = table.slice(5, 1)
        for column, cell, said in (
            ("click__item", "3;1_0", "'1_0' is not a whole number; correct the data"),
            ("click__pair", "0.5\x03nan", "'nan' is not a finite decimal number; correct the data"),
            (
                "click__price",
                "1;;2",
                "an element of the cell '1;;2' is empty; sequence 'click__price' needs a value",
            ),
            ("click__item", "1\x032", "holds 2 ids, but sequence 'click__item' has value_dim 1"),
            ("click__pair", "0.5", r"sequence 'click__pair' needs 2 value\(s\) in an element"),
        ):
            at, kind = one.column_names.index(column), pa.string()
            wrong = one.set_column(at, column, pa.array([cell], kind))
            with self.assertRaisesRegex(
                ValueError, f"^row 100 .counted from 0., column '{column}': .*{said}"
            ):
                model.predict(
                    pa.concat_tables(
                        [table.set_column(at, column, pa.array([None] * 100, kind)), wrong]
                    )
                )
            with self.assertRaises(pt.PepnetError):
                run.predict(wrong)

    def test_names_joined_by_one_underscore(self):
        text = CONFIG.replace("click__", "click_")
        table = rows(60)
        table = table.rename_columns(
            [name.replace("click__", "click_") for name in table.column_names]
        )
        run = pt.train(pt.Config(text), table, model_dir=self.scratch / "run", progress=False)
        self.compare(run.export(formats=["safetensors"]), run.predict(table), table)


if __name__ == "__main__":
    unittest.main()
