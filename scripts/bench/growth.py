#!/usr/bin/env python3
"""Does training slow down as a table grows? The public example with a small and a large user table,
in turn.

Usage: growth.py --data_dir DIR [--rows 1000000,20000000] [--rounds 4] [--steps 15]
                 [--batch_sizes 1024,4096,8192] [--work_dir runs/growth]
                 [--pepnet build/release/pepnet]

DIR holds train-*.parquet of scripts/data/make_taobao_like.py. For each size the user ids of these
rows are drawn anew from all ids of the table, and every row of the table exists before the training
begins (one step, exported as a full table, imported), so that a pull misses the caches as it would
after months of training. `pepnet bench train` then runs with one table and the other in turn, by
batch size, the large one first in every other round; ratios are taken within a round. Prints a
table and leaves work_dir/growth.json.
"""
import argparse
import json
import pathlib
import shutil
import statistics
import sys

import numpy
import pyarrow
import pyarrow.parquet as pq

from support import EXAMPLE, ROOT, run, whole_numbers

USER = 0  # of feature_configs: user_id


def pepnet(args, command, **flags):
    words = [args.pepnet, *command.split(), "--pipeline_config_path", EXAMPLE]
    for name, value in flags.items():
        words += [f"--{name}", json.dumps(value) if isinstance(value, dict) else value]
    run(words)


class Job:
    """The example with so many users, all of whom have a row."""

    def __init__(self, args, users):
        self.args, self.users, self.directory = args, users, args.work_dir / f"{users}-users"
        self.rows = self.directory / "rows.parquet"
        self.edits = {f"feature_configs[{USER}].id_feature.num_buckets": users,
                      "eval_input_path": ""}

    def prepare(self):
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        table = pyarrow.concat_tables(
            pq.read_table(path) for path in sorted(self.args.data_dir.glob("train-*.parquet")))
        ids = numpy.random.default_rng(self.users).integers(0, self.users, table.num_rows)
        at = table.schema.get_field_index("user_id")
        pq.write_table(table.set_column(at, table.schema.field(at), pyarrow.array(ids)), self.rows,
                       row_group_size=131072)
        one_step = {**self.edits, "train_config.num_epochs": 0, "train_config.num_steps": 1}
        seed, full, start = (
            self.directory / "seed", self.directory / "full", self.directory / "start")
        pepnet(self.args, "train", model_dir=seed, train_input_path=self.rows,
               edit_config_json=one_step)
        pepnet(self.args, "export", model_dir=seed, export_dir=full, edit_config_json=self.edits)
        pepnet(self.args, "import", weights=full / "model.safetensors", model_dir=start,
               edit_config_json=self.edits)
        shutil.rmtree(full)
        self.edits["train_config.fine_tune_checkpoint"] = str(start)

    def measure(self, batch):
        report = self.directory / "report.json"
        pepnet(self.args, "bench train", train_input_path=self.rows, edit_config_json=self.edits,
               batch_sizes=batch, steps=max(self.args.steps, self.args.steps * 8192 // batch // 4),
               scratch_dir=self.directory / "scratch", json=report)
        return json.loads(report.read_text())["rows"][0]["speed"]


def spread(values, form="{:.0f}"):
    return (f"{form.format(statistics.median(values))} "
            f"[{form.format(min(values))}..{form.format(max(values))}]")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=pathlib.Path, required=True)
    parser.add_argument("--rows", type=whole_numbers, default=[1000000, 20000000],
                        help="users: the small and the large table")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--batch_sizes", type=whole_numbers, default=[1024, 4096, 8192])
    parser.add_argument("--work_dir", type=pathlib.Path, default=ROOT / "runs/growth")
    parser.add_argument("--pepnet", type=pathlib.Path, default=ROOT / "build/release/pepnet")
    args = parser.parse_args()
    if len(args.rows) != 2:
        sys.exit(f"growth.py: --rows has {len(args.rows)} sizes, "
                 "expected two, the small and the large table")
    if not list(args.data_dir.glob("train-*.parquet")):
        sys.exit(f"growth.py: there is no train-*.parquet in {args.data_dir}; "
                 "scripts/data/make_taobao_like.py makes them")
    jobs = [Job(args, users) for users in args.rows]
    for job in jobs:
        job.prepare()
        print(f"{job.users} users: every row is there", file=sys.stderr, flush=True)
    speeds = {batch: ([], []) for batch in args.batch_sizes}
    for number in range(args.rounds):
        for batch, of_jobs in speeds.items():
            pairs = list(zip(jobs, of_jobs))
            for job, values in pairs if number % 2 == 0 else pairs[::-1]:
                values.append(job.measure(batch))
            print(f"round {number + 1}: batch {batch}, {of_jobs[0][-1]:.0f} and "
                  f"{of_jobs[1][-1]:.0f} samples/s", file=sys.stderr, flush=True)
    (args.work_dir / "growth.json").write_text(
        json.dumps({"rows": args.rows, "speeds": speeds}, indent=1) + "\n")
    print(f"| batch | samples/s, {args.rows[0]} users | samples/s, {args.rows[1]} users | "
          "large / small, within a round |\n| --- | --- | --- | --- |")
    for batch, (small, large) in speeds.items():
        print(f"| {batch} | {spread(small)} | {spread(large)} | "
              f"{spread([b / a for a, b in zip(small, large)], '{:.2f}')} |")


if __name__ == "__main__":
    sys.exit(main())
