#!/usr/bin/env python3
"""Usage: tests/scripts/prepare_taobao_test.py REPOSITORY BUILD

scripts/data/prepare_taobao.py on a small sample in the published format, against its rules written
in plain Python; then both Taobao configs train on what it wrote.
"""
import importlib.util
import io
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest
from contextlib import redirect_stdout

import pyarrow.parquet as pq

from tiny_data import DAY, PROFILE, START, taobao, write_taobao

REPOSITORY, BUILD = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
MISSING = [97, 13, 0, 7, 4, 4, 2, 5]


def script():
    spec = importlib.util.spec_from_file_location(
        "prepare_taobao", REPOSITORY / "scripts/data/prepare_taobao.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def expected(files, length, window_hours):
    """Day -> rows, as the head of the script says."""
    ads = {row[0]: row for row in files["ad_feature"][1]}
    profiles = {row[0]: row[1:] for row in files["user_profile"][1]}
    behaviours = files["behavior_log"][1]
    days = {}
    for user, time, ad, pid, _, clk in sorted(files["raw_sample"][1], key=lambda row: row[1]):
        _, cate, campaign, customer, brand, price = ads[ad]
        before = sorted((row for row in behaviours if row[0] == user and row[1] < time),
                        key=lambda row: row[1])[-length:]
        buy = clk and any(row[0] == user and row[2] == "buy" and (row[3], row[4]) == (cate, brand)
                          and time < row[1] <= time + window_hours * 3600 for row in behaviours)
        profile = [missing if value == "" else value
                   for value, missing in zip(profiles.get(user, [""] * 8), MISSING)]
        row = {"user_id": user, **dict(zip(PROFILE, profile)), "adgroup_id": ad, "cate_id": cate,
               "campaign_id": campaign, "customer": customer,
               "brand": 0 if brand == "NULL" else brand, "price": float(price), "pid": pid,
               "tag_category_list": "|".join(str(row[3]) for row in before) or None,
               "tag_brand_list": "|".join(str(row[4]) for row in before) or None,
               "clk": clk, "buy": int(buy), "time_stamp": time}
        days.setdefault((time - START) // DAY, []).append(row)
    return days


class PrepareTaobaoTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = pathlib.Path(scratch.name)
        self.files = taobao()
        self.input = self.scratch / "input"
        write_taobao(self.input, self.files)
        self.script = script()
        self.script.BLOCK_BYTES = 3000  # several blocks per file
        self.script.ROW_GROUP = 64

    def prepare(self, name, *more):
        said = io.StringIO()
        with redirect_stdout(said):
            self.script.main(["--input_dir", str(self.input),
                              "--output_dir", str(self.scratch / name), *more])
        return json.loads(said.getvalue()[said.getvalue().index("{"):])

    def rows(self, name):
        found = {}
        for path in sorted((self.scratch / name).glob("*/*.parquet")):
            found[str(path.relative_to(self.scratch / name))] = pq.read_table(path).to_pylist()
        return found

    def check(self, name, length=50, window_hours=24):
        paths = ["train/day-2017-05-06.parquet", "train/day-2017-05-07.parquet",
                 "test/day-2017-05-08.parquet"]
        wanted = expected(self.files, length, window_hours)
        found = self.rows(name)
        self.assertEqual(sorted(found), sorted(paths))
        for day, path in enumerate(paths):
            self.assertEqual(found[path], wanted[day], path)
        return [row for rows in wanted.values() for row in rows]

    def test_lists_labels_and_missing_values_follow_the_rules(self):
        report = self.prepare("out", "--partitions", "7")
        rows = self.check("out")
        # The sample is not too tame: there are full lists, empty ones, purchases, and clicks
        # without any.
        lengths = [len((row["tag_brand_list"] or "").split("|")) for row in rows]
        self.assertEqual(max(lengths), 50)
        self.assertGreater(sum(row["tag_brand_list"] is None for row in rows), 20)
        self.assertGreater(sum(row["buy"] for row in rows), 20)
        self.assertGreater(sum(row["clk"] for row in rows), sum(row["buy"] for row in rows) + 20)
        self.assertEqual(sum(day["rows"] for day in report["days"].values()), 900)
        self.assertEqual(report["rows_without_brand"], sum(row["brand"] == 0 for row in rows))
        self.assertEqual(report["rows_without_history"],
                         sum(row["tag_brand_list"] is None for row in rows))
        groups = pq.ParquetFile(self.scratch / "out/train/day-2017-05-06.parquet").metadata
        sizes = [groups.row_group(i).num_rows for i in range(groups.num_row_groups)]
        self.assertEqual(set(sizes[:-1]), {64})

    def test_the_number_of_partitions_changes_nothing(self):
        self.prepare("one", "--partitions", "1")
        self.prepare("many", "--partitions", "13")
        for path in (self.scratch / "one").glob("*/*"):
            other = self.scratch / "many" / path.relative_to(self.scratch / "one")
            self.assertEqual(path.read_bytes(), other.read_bytes())

    def test_window_and_length_can_be_chosen(self):
        self.prepare("short", "--buy_window_hours", "0.5", "--list_length", "3")
        self.check("short", length=3, window_hours=0.5)

    def test_wrong_input_is_named_and_leaves_nothing(self):
        def refuse(pattern, name, change):
            files = taobao()
            change(files[name][1])
            write_taobao(self.input, files)
            with self.assertRaisesRegex(SystemExit, pattern):
                self.prepare("refused")
            self.assertEqual(list((self.scratch / "refused").iterdir()), [])

        def put(row, column, value):
            return lambda rows: rows[row].__setitem__(column, value)

        refuse(r"user_profile.csv, row 3: cms_segid is 97; expected 0 to 97, but not 97",
               "user_profile", put(2, 1, 97))
        refuse(r"ad_feature.csv, row 1: cate_id is 12961; expected 0 to 12960",
               "ad_feature", put(0, 1, 12961))
        refuse(r"ad_feature.csv: adgroup_id 1 stands there twice",
               "ad_feature", lambda rows: rows.append(rows[0]))
        refuse(r"raw_sample.csv, row 801: clk is 2", "raw_sample", put(800, 5, 2))
        refuse(r"raw_sample.csv, row 5: user is empty", "raw_sample", put(4, 0, ""))
        refuse(r"behavior_log.csv, row 2001: btag is 'look'; expected one of pv",
               "behavior_log", put(2000, 2, "look"))
        refuse(r"adgroup_id 77, which ad_feature.csv does not have", "raw_sample", put(0, 2, 77))
        refuse(r"impressions of 1 days",
               "raw_sample", lambda rows: [row.__setitem__(1, START) for row in rows])

    def test_an_output_is_never_overwritten(self):
        self.prepare("out")
        with self.assertRaisesRegex(SystemExit, "train exists"):
            self.prepare("out")

    def test_sizes_are_those_of_the_configs(self):
        for config in ("pepnet_taobao.config", "pepnet_taobao_example.config"):
            text = (REPOSITORY / "configs" / config).read_text()
            for name, size in re.findall(
                    r'feature_name: "(\w+)"\s+expression: "[^"]+"\s+num_buckets: (\d+)', text):
                self.assertEqual(self.script.BUCKETS[name], int(size), f"{name} in {config}")

    def test_both_configs_train_on_the_output(self):
        self.prepare("out")
        for config in ("pepnet_taobao.config", "pepnet_taobao_example.config"):
            command = [BUILD / "pepnet", "train",
                       "--pipeline_config_path", REPOSITORY / "configs" / config,
                       "--model_dir", self.scratch / config,
                       "--train_input_path", self.scratch / "out/train/*.parquet",
                       "--eval_input_path", self.scratch / "out/test/*.parquet",
                       "--edit_config_json", '{"data_config.batch_size": 128}']
            done = subprocess.run(list(map(str, command)),
                                  capture_output=True, text=True, timeout=120)
            self.assertEqual(done.returncode, 0, done.stderr)
            result = (self.scratch / config / "train_eval_result.txt").read_text()
            self.assertIn("auc_ctr", result)
            self.assertIn("auc_cvr", result)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
