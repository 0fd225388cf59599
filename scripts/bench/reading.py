#!/usr/bin/env python3
"""The cost of reading for one of N workers, predicted by `pepnet plan` and measured
(docs/capacity.md has the result).

Usage: reading.py --data_dir DIR --calibration REPORTS [--workers 1,2,8,32] [--rounds 3]
                  [--batch_size 4096] [--rows 600000] [--work_dir runs/reading]
                  [--pepnet build/release/pepnet]

DIR holds train-*.parquet of scripts/data/make_taobao_like.py, REPORTS are those of `pepnet bench
train`, `service` and `allreduce` that plan_check.py leaves (the plan asks for them; they do not
change what reading costs). The rows are written as two CSV and two Parquet files, read with and
without shuffle by `pepnet bench reader`, and the line of one worker calibrates the plan of N.
"""
import argparse
import json
import pathlib
import sys

import pyarrow
import pyarrow.csv
import pyarrow.parquet as pq

from support import EXAMPLE, ROOT, run, whole_numbers


def write_files(args):
    """The same rows in two files of each format."""
    table = pyarrow.concat_tables(
        pq.read_table(path) for path in sorted(args.data_dir.glob("train-*.parquet")))[:args.rows]
    if table.num_rows < args.rows:
        sys.exit(f"reading.py: {args.data_dir} holds {table.num_rows} rows, "
                 f"expected --rows={args.rows} or more")
    half = args.rows // 2
    for number, part in enumerate((table[:half], table[half:])):
        pq.write_table(part, args.work_dir / f"rows-{number}.parquet", row_group_size=131072)
        pyarrow.csv.write_csv(part, args.work_dir / f"rows-{number}.csv")


def measure(args, csv, shuffle):
    """The lines of one format and order."""
    edits = {"data_config.batch_size": args.batch_size, "data_config.shuffle": shuffle,
             "eval_input_path": ""}
    if csv:
        edits |= {"data_config.dataset_type": "CsvDataset", "data_config.with_header": True}
    job = ["--pipeline_config_path", EXAMPLE, "--edit_config_json", json.dumps(edits),
           "--train_input_path", args.work_dir / ("rows-*.csv" if csv else "rows-*.parquet")]
    report = (args.work_dir
              / f"{'csv' if csv else 'parquet'}_{'shuffled' if shuffle else 'ordered'}.json")
    run([args.pepnet, "bench", "reader", *job, "--workers", ",".join(map(str, args.workers)),
         "--num_workers", 1, "--rounds", args.rounds, "--json", report])
    lines = []
    for row in json.loads(report.read_text())["rows"]:
        workers, per_core = int(row["workers"]), row["per core"]
        plan = args.work_dir / "plan.json"
        run([args.pepnet, "plan", *job, "--hosts", workers, "--workers_per_host", 1,
             "--servers_per_host", 1, "--nic_gbps", 10,
             "--calibration", f"{args.calibration},{report}", "--json", plan])
        predicted = 1e9 * json.loads(plan.read_text())["prediction"]["reader_cpu_per_row"]
        median = 1e3 / per_core["median"]
        error = "calibration" if workers == 1 else f"{100 * (predicted / median - 1):+.0f} %"
        lines.append(
            f"| {'CSV' if csv else 'Parquet'} | {'on' if shuffle else 'off'} | {workers} | "
            f"{row['decoded a row']:.2f}, {row['passed a row']:.2f} | {row['read a row']:.0f} | "
            f"{predicted:.0f} | {median:.0f} [{1e3 / per_core['most']:.0f}.."
            f"{1e3 / per_core['least']:.0f}] | {error} |")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=pathlib.Path, required=True)
    parser.add_argument("--calibration", required=True,
                        help="comma list of reports of train, service and allreduce")
    parser.add_argument("--workers", type=whole_numbers, default=[1, 2, 8, 32])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch_size", type=int, default=4096)
    parser.add_argument("--rows", type=int, default=600000)
    parser.add_argument("--work_dir", type=pathlib.Path, default=ROOT / "runs/reading")
    parser.add_argument("--pepnet", type=pathlib.Path, default=ROOT / "build/release/pepnet")
    args = parser.parse_args()
    if args.workers[0] != 1:
        sys.exit(f"reading.py: --workers begins with {args.workers[0]}, expected 1: "
                 "its line calibrates the others")
    args.work_dir.mkdir(parents=True, exist_ok=True)
    write_files(args)
    print("| files | shuffle | N | decoded, passed a row | bytes a row | predicted ns | "
          "measured ns, median [least..most] | error |\n"
          "| --- | --- | --- | --- | --- | --- | --- | --- |")
    for csv in (True, False):
        for shuffle in (False, True):
            print("\n".join(measure(args, csv, shuffle)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
