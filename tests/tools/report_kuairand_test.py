"""The example of docs/report.md: on KuaiRand-Pure a model that is not told the tab ranks far worse
within one tab and predicts several times too much there, and the report says so where one looks
first.

The rows (CC BY-SA 4.0) are not part of the repository: $PEPNET_KUAIRAND names a Parquet file of
impressions of 2022-04-25 to 05-08, joined with user and video features; without it the test skips,
with a message. $PEPNET_KUAIRAND_PAGE names a file that keeps the page, of which
docs/images/report.png is a picture.
"""

import os
import pathlib
import shutil
import sys
import tempfile
import unittest

import pyarrow.compute as pc
import pyarrow.parquet as pq

from report_page import Page
from small_job import pepnet

SKIPPED = 77
LAST_DAY = 20220505  # of the training rows
TASKS = ("is_click", "long_view", "is_like")
# Milliseconds.
BOUNDARIES = [7500, 10500, 15500, 20500, 30500, 45500, 60500, 90500, 120500, 180500, 240500]
VOCABULARIES = {"tag": "item", "user_active_degree": "user", "register_days_range": "user",
                "fans_user_num_range": "user", "video_type": "item", "upload_type": "item"}

TOWER = """    task_towers {{
      tower_name: "{0}" label_name: "{0}" mlp {{ hidden_units: [32, 16] dropout_ratio: 0.1 }}
      metrics {{ auc {{}} }} metrics {{ grouped_auc {{ grouping_key: "user_id" }} }}
      train_metrics {{ auc {{}} decay_step: 20 }} losses {{ binary_cross_entropy {{}} }} }}
"""
CONFIG = """train_input_path: "{directory}/train.parquet"
eval_input_path: "{directory}/test.parquet"
train_config {{
  sparse_optimizer {{ adagrad_optimizer {{ lr: 0.02 }} constant_learning_rate {{}} }}
  dense_optimizer {{ adam_optimizer {{ lr: 0.001 }} constant_learning_rate {{}} }}
  num_epochs: 2 save_checkpoints_steps: 90 keep_checkpoint_max: 3 log_step_count_steps: 10
  keep_best {{ metric: "auc_is_click" }}
}}
eval_config {{ slice_by: "tab" slice_top: 8 }}
data_config {{
  batch_size: 1024 dataset_type: ParquetDataset fg_mode: FG_DAG label_fields: [{labels}]
  shuffle: true shuffle_buffer_size: 200 num_workers: 2 }}
{features}
model_config {{
  feature_groups {{ group_name: "all" feature_names: [{names}] group_type: DEEP }}
  {domain}
  feature_groups {{ group_name: "uia" feature_names: ["user_id", "video_id"] group_type: DEEP }}
  pepnet {{
    {gate} ppnet_hidden_units: [64, 32] ppnet_dropout_ratio: 0.1
{towers}  }}
}}
"""


def quoted(words):
    return ", ".join(f'"{word}"' for word in words)


def id_feature(name, side, rest):
    return (f'feature_configs {{ id_feature {{ feature_name: "{name}" '
            f'expression: "{side}:{name}" embedding_dim: 16 {rest} }} }}')


def config(directory, train, with_tab):
    """Of the model that is told the tab, as a feature and as the domain, or of the one that is
    not."""
    features = {"user_id": id_feature("user_id", "user", "num_buckets: 27285"),
                "video_id": id_feature("video_id", "item", "num_buckets: 7567"),
                "hour": id_feature("hour", "user", "num_buckets: 24"),
                "author_id": id_feature("author_id", "item", "hash_bucket_size: 20000")}
    for name, side in VOCABULARIES.items():
        texts = [text for text in train[name].to_pylist() if text]
        words = sorted({word for text in texts
                        for word in (text.split(",") if name == "tag" else [text])})
        features[name] = id_feature(name, side, f"vocab_list: [{quoted(words)}]" +
                                    (' separator: "," pooling: "mean"' if name == "tag" else ""))
    features["duration_ms"] = ('feature_configs { raw_feature { feature_name: "duration_ms" '
                               'expression: "item:duration_ms" '
                               f"embedding_dim: 16 boundaries: {BOUNDARIES} }} }}")
    if with_tab:
        features["tab"] = id_feature("tab", "user", "num_buckets: 15")
    return CONFIG.format(
        directory=directory, labels=quoted(TASKS if with_tab else (*TASKS, "tab")),
        features="\n".join(features.values()), names=quoted(features),
        gate="epnet_hidden_unit: 64" if with_tab else "", towers="".join(map(TOWER.format, TASKS)),
        domain=('feature_groups { group_name: "domain" feature_names: "tab" group_type: DEEP }'
                if with_tab else ""))


class KuaiRandTest(unittest.TestCase):
    def test_one_tab_stands_out(self):
        rows = pq.read_table(os.environ["PEPNET_KUAIRAND"])
        hours = pc.cast(pc.floor(pc.divide(pc.cast(rows["hourmin"], "double"), 100.0)), "int64")
        rows = rows.append_column("hour", hours)
        train = rows.filter(pc.less_equal(rows["date"], LAST_DAY))
        with tempfile.TemporaryDirectory() as scratch:
            directory = pathlib.Path(scratch)
            pq.write_table(train, directory / "train.parquet")
            pq.write_table(rows.filter(pc.greater(rows["date"], LAST_DAY)),
                           directory / "test.parquet")
            models = [directory / "global", directory / "pepnet"]
            for model in models:
                file = model.with_suffix(".config")
                file.write_text(config(directory, train, model.name == "pepnet"))
                pepnet("train", "--pipeline_config_path", file, "--model_dir", model,
                       "--num_servers", 2)
            pepnet("report", *models, "-o", directory / "page.html")
            page = Page((directory / "page.html").read_text())
            if os.environ.get("PEPNET_KUAIRAND_PAGE"):
                shutil.copy(directory / "page.html", os.environ["PEPNET_KUAIRAND_PAGE"])
        first, second = page.data["runs"]
        # The part that is read first.
        self.assertRegex(first["remarks"][0]["text"],
                         r"is_click where tab is 0 .* [34]\.\d\d times as many")
        self.assertTrue(first["remarks"][0]["warning"])
        self.assertFalse([one["text"] for one in second["remarks"]
                          if one["warning"] and "is_click where tab is 0" in one["text"]])

        def slice_of(run, value):
            shown = next(one for one in run["slices"] if one["global_step"] == run["best"]["step"])
            return next(one for one in shown["slices"]
                        if (one["task"], one["value"]) == ("is_click", value))

        for run in (first, second):
            print(run["name"], {value: (slice_of(run, value)["auc"], slice_of(run, value)["pcoc"])
                                for value in ("0", "(all)")})
        self.assertLess(slice_of(first, "0")["auc"], slice_of(first, "(all)")["auc"] - 0.05)
        self.assertGreater(slice_of(first, "0")["pcoc"], 2.5)
        self.assertLess(abs(slice_of(second, "0")["pcoc"] - 1), 0.35)
        # A user's rows of that tab are ordered as by chance, though those of all tabs are not.
        self.assertLess(slice_of(first, "0")["grouped_auc"], 0.54)
        self.assertGreater(slice_of(first, "(all)")["grouped_auc"], 0.6)


if __name__ == "__main__":
    if not os.path.isfile(os.environ.get("PEPNET_KUAIRAND", "")):
        print("SKIPPED: PEPNET_KUAIRAND names no Parquet file of KuaiRand-Pure's impressions")
        sys.exit(SKIPPED)
    unittest.main()
