#!/usr/bin/env python3
"""Usage: tests/scripts/config_coverage_test.py REPOSITORY BUILD

scripts/config_coverage.py on small configs: one that passes, one without expressions, one that is
refused for a feature that its model uses, two that cannot be read.
"""
import pathlib
import subprocess
import sys
import tempfile
import unittest

REPOSITORY, BUILD = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
sys.path.insert(0, str(REPOSITORY / "scripts"))

import config_coverage  # noqa: E402

HEAD = """
train_input_path: "train"  # the rows are made up
eval_input_path: "eval"
model_dir: "model"
train_config {
  sparse_optimizer { adagrad_optimizer { lr: 0.001 } constant_learning_rate {} }
  dense_optimizer { adam_optimizer { lr: 0.001 } constant_learning_rate {} }
  num_epochs: 1
}
data_config {
  batch_size: 8192 dataset_type: OdpsDataset fg_mode: %s label_fields: ["clk", 'b' "uy"]
  num_workers: 1
}
"""
USER = """
feature_configs { id_feature {
  feature_name: "user" expression: "user:user" num_buckets: 10 embedding_dim: 4 } }
feature_configs { id_feature {
  feature_name: "tags" expression: "item:tags" vocab_list: ["a", "b"] embedding_dim: 4 } }
feature_configs { raw_feature {
  feature_name: "price" expression: "item:price", value_dim: 2, separator: "|" } }
"""
TOKENS = """
feature_configs { tokenize_feature {
  feature_name: "kv" expression: "item:tags" tokenizer_type: "sentencepiece" } }
"""
MMOE = """
model_config {
  feature_groups { group_name: "all" feature_names: ["user", "tags", "price"%s] group_type: DEEP }
  mmoe {
    expert_mlp { hidden_units: [8, 4] } num_expert: 3
    task_towers < tower_name: "ctr" label_name: "clk"
      losses { binary_cross_entropy {} } metrics { auc {} } >
    task_towers { tower_name: "cvr" label_name: "buy" mlp { hidden_units: 4 }
      losses { binary_cross_entropy {} } }
  }
}
"""
DEEPFM = """
feature_configs { id_feature { feature_name: "user" num_buckets: 10 embedding_dim: 4 } }
feature_configs { raw_feature { feature_name: "price" } }
model_config {
  feature_groups { group_name: "wide" feature_names: "user" group_type: WIDE }
  feature_groups { group_name: "deep" feature_names: ["user", "price"] group_type: DEEP }
  deepfm { deep { hidden_units: [8] } }
  losses { binary_cross_entropy {} }
  metrics { auc {} }
}
"""


def coverage(directory, *more):
    return subprocess.run([sys.executable, REPOSITORY / "scripts/config_coverage.py", directory,
                           "--pepnet", BUILD / "pepnet", *more], capture_output=True, text=True)


class ConfigCoverageTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = pathlib.Path(scratch.name)

    def test_tries_every_config_and_counts(self):
        (self.scratch / "in/deeper").mkdir(parents=True)
        (self.scratch / "in/a.config").write_text(HEAD % "FG_DAG" + USER + TOKENS + MMOE % "")
        (self.scratch / "in/b.config").write_text(HEAD % "FG_DAG" + USER + TOKENS + MMOE % ', "kv"')
        (self.scratch / "in/deeper/c.config").write_text(HEAD % "FG_NONE" + DEEPFM)
        (self.scratch / "in/d.config").write_text("train_config {")
        (self.scratch / "in/e.config").write_text("feature_configs {} model_config: 5")
        done = coverage(self.scratch / "in", "--steps", "2", "--keep", self.scratch / "kept")
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = done.stdout.strip().split("\n")
        self.assertEqual(lines[2], "| `a.config` | mmoe | ok | ok |  |")
        self.assertRegex(lines[3], r"^\| `b.config` \| mmoe \| refused \| - \| "
                                   r"feature_configs\[3\].tokenize_feature.token")
        self.assertEqual(
            lines[4],
            "| `d.config` | ? | refused | - | not read: the file ends where '}' is expected |")
        self.assertEqual(lines[5], "| `deeper/c.config` | deepfm | ok | ok |  |")
        self.assertRegex(lines[6], r"^\| `e.config` \| \? \| refused \| - \| not read: ")
        self.assertEqual(lines[-1], "5 configs: 2 pass the check, 2 train 2 steps.")
        kept = config_coverage.Parser(
            (self.scratch / "kept/000/pipeline.config").read_text()).parse()
        model = kept.get("model_config")
        self.assertEqual([group.text("group_name") for group in model.all("feature_groups")],
                         ["all", "domain", "uia"])
        self.assertEqual(
            [tower.text("tower_name") for tower in model.get("pepnet").all("task_towers")],
            ["ctr", "cvr"])
        self.assertEqual(kept.get("data_config").all("label_fields"), ['"clk"', '"buy"'])

    def test_nothing_to_try_is_an_error(self):
        self.assertRegex(coverage(self.scratch).stderr, "there is no .*config below")
        (self.scratch / "a.config").write_text("")
        done = subprocess.run([sys.executable, REPOSITORY / "scripts/config_coverage.py",
                               self.scratch, "--pepnet", self.scratch / "none"],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, "there is no program .*none; build it")

    def test_sequence_groups_are_pooled_in_the_main_group(self):
        config = config_coverage.Parser("""model_config {
          feature_groups { group_name: "seq" feature_names: ["s__a", "s__b"] group_type: SEQUENCE }
          feature_groups { group_name: "deep" feature_names: "user"
                           sequence_groups { group_name: "g" feature_names: "s__a" }
                           sequence_encoders { din_encoder { input: "g" } } group_type: DEEP }
          multi_tower_din { final { hidden_units: 8 } }
          losses { binary_cross_entropy {} } }""").parse()
        main = config_coverage.with_pepnet(config).get("model_config").all("feature_groups")[0]
        self.assertEqual(main.all("feature_names"), ['"user"'])
        groups = [one.text("group_name") for one in main.all("sequence_groups")]
        self.assertEqual(groups, ["seq", "g"])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
