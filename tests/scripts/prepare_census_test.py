#!/usr/bin/env python3
"""Usage: tests/scripts/prepare_census_test.py REPOSITORY BUILD

scripts/data/prepare_census.py on a small sample in the published format; then
configs/pepnet_census.config trains on it.
"""
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

import pyarrow.parquet as pq

import tiny_data

REPOSITORY, BUILD = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])


class PrepareCensusTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = pathlib.Path(scratch.name)
        self.files = tiny_data.write_census(self.scratch / "input")

    def prepare(self):
        return subprocess.run([sys.executable, REPOSITORY / "scripts/data/prepare_census.py",
                               "--input_dir", self.scratch / "input",
                               "--output_dir", self.scratch / "out"],
                              capture_output=True, text=True)

    def test_rows_words_and_labels(self):
        done = self.prepare()
        self.assertEqual(done.returncode, 0, done.stderr)
        for name, file in (("train", "census-income.data"), ("test", "census-income.test")):
            rows = pq.read_table(self.scratch / f"out/{name}.parquet").to_pylist()
            self.assertEqual(len(rows), len(self.files[file]))
            for row, words in zip(rows, self.files[file]):
                self.assertEqual(row["income_over_50k"], int(words[41] == "50000+."))
                self.assertEqual(row["never_married"], int(words[7] == "Never married"))
                self.assertEqual((row["age"], row["capital_gains"], row["num_employers"],
                                  row["weeks_worked"]),
                                 tuple(int(words[i]) for i in (0, 16, 30, 39)))
                self.assertEqual((row["class_worker"], row["education"], row["sex"], row["year"]),
                                 tuple(words[i] for i in (1, 4, 12, 40)))
                # The columns behind the labels, and the instance weight, are no features.
                self.assertEqual(len(row), 42 - 3 + 2)
                self.assertFalse({"income", "marital_status", "instance_weight"} & set(row))

    def test_the_config_reads_every_column_and_trains(self):
        self.prepare()
        config = REPOSITORY / "configs/pepnet_census.config"
        columns = set(pq.read_table(self.scratch / "out/train.parquet").column_names)
        self.assertEqual(set(re.findall(r'expression: "user:(\w+)"', config.read_text())),
                         columns - {"income_over_50k", "never_married"})
        command = [BUILD / "pepnet", "train", "--pipeline_config_path", config,
                   "--model_dir", self.scratch / "run",
                   "--train_input_path", self.scratch / "out/train.parquet",
                   "--eval_input_path", self.scratch / "out/test.parquet",
                   "--edit_config_json", '{"data_config.batch_size": 64}']
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        result = (self.scratch / "run/train_eval_result.txt").read_text()
        self.assertRegex(result, r'"auc_income":0\.\d+,"auc_single":0\.\d+')

    def test_wrong_files_are_named_and_leave_nothing(self):
        path = self.scratch / "input/census-income.data"
        whole = path.read_text()
        for change, message in (
                (lambda text: text.replace("50000+.", "much", 1),
                 r"census-income.data, row \d+: the income is 'much'"),
                (lambda text: "x" + text, r"row 1: age is 'x\d+'; expected a whole number"),
                (lambda text: text.replace(", ", " ", 1), r"42 columns in every row")):
            path.write_text(change(whole))
            done = self.prepare()
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr, message)
            self.assertFalse((self.scratch / "out").exists())
        path.unlink()
        self.assertRegex(self.prepare().stderr, "there is no .*census-income.data")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
