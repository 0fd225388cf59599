#!/usr/bin/env python3
"""Compares the throughput that `pepnet plan` predicts with the measured one over links of
several speeds.

Usage: plan_check.py --pipeline_config_path F --train_input_path G [--rates 100,300,1000]
                     [--hosts 2] [--rounds 3] [--steps 10] [--batch_size B]
                     [--out_dir runs/plan_check] [--program build/release/pepnet]

Calibrates on this machine (`pepnet bench train` with as many ranks as the cluster will have,
service, reader, allreduce), then trains over --hosts network namespaces of one worker and one
server each (scripts/dev/netns_cluster.sh; needs root), whose links are limited to each of --rates
(Mbit/s), in turn, and asks `pepnet plan` for the same cluster. Prints a table and leaves
out_dir/plan_check.json. Calibration without a network is what a user has; the links are the only
thing that is new to the plan.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

import scaling
from support import ROOT, whole_numbers


def bench(args, name, report, *arguments, ranks=1):
    launcher = (["mpirun", "-q", "-n", str(ranks), "--oversubscribe", "--bind-to", "none"]
                if ranks > 1 else [])
    subprocess.run(
        [*launcher, args.program, "bench", name, *map(str, arguments), "--json", str(report)],
        check=True, stdout=subprocess.DEVNULL)
    return report


def calibrate(args):
    """The reports of one machine, as a comma list."""
    data = ["--pipeline_config_path", args.pipeline_config_path,
            "--train_input_path", args.train_input_path, "--batch_sizes", args.batch_size]
    reports = [bench(args, "train", args.out_dir / "train.json", *data,
                     "--threads", 1, "--steps", args.steps, "--num_servers", args.hosts,
                     "--scratch_dir", scaling.scratch(args), ranks=2 * args.hosts),
               bench(args, "service", args.out_dir / "service.json", ranks=2),
               bench(args, "reader", args.out_dir / "reader.json", *data),
               bench(args, "allreduce", args.out_dir / "allreduce.json", ranks=args.hosts)]
    return ",".join(map(str, reports))


def predict(args, calibration, megabits):
    report = args.out_dir / "plan.json"
    edits = json.dumps({"data_config.batch_size": args.batch_size})
    subprocess.run([args.program, "plan", "--pipeline_config_path", args.pipeline_config_path,
                    "--train_input_path", args.train_input_path, "--edit_config_json", edits,
                    "--hosts", str(args.hosts), "--workers_per_host", "1",
                    "--servers_per_host", "1", "--nic_gbps", str(megabits / 1000),
                    "--calibration", calibration, "--json", str(report)],
                   check=True, stdout=subprocess.DEVNULL)
    return json.loads(report.read_text())["prediction"]


def measure(args, megabits):
    """Samples/s over links of that speed."""
    args.netns = f"{megabits}mbit"
    return scaling.measure(args, args.hosts, args.batch_size)["speed"]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipeline_config_path", required=True)
    parser.add_argument("--train_input_path", required=True)
    parser.add_argument("--rates", type=whole_numbers, default=[100, 300, 1000])
    parser.add_argument("--hosts", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch_size", type=int, help="rows per worker (default: the config's)")
    parser.add_argument("--timeout_s", type=float, default=600, help="of one run")
    parser.add_argument("--out_dir", type=pathlib.Path, default=pathlib.Path("runs/plan_check"))
    parser.add_argument("--program", default=str(ROOT / "build/release/pepnet"))
    args = parser.parse_args()
    args.threads, args.servers_per_worker = 1, 1
    args.batch_size = args.batch_size or scaling.batch_size_of(args)
    os.environ.setdefault("OMPI_ALLOW_RUN_AS_ROOT", "1")
    os.environ.setdefault("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
    args.out_dir.mkdir(parents=True, exist_ok=True)
    calibration = calibrate(args)
    speeds = {rate: [] for rate in args.rates}
    for number in range(args.rounds):
        for rate in args.rates:
            speeds[rate].append(measure(args, rate))
            print(f"round {number + 1} of {args.rounds}: {rate} Mbit/s, "
                  f"{speeds[rate][-1]:.0f} samples/s", flush=True)
    rows = []
    for rate in args.rates:
        plan, median = predict(args, calibration, rate), statistics.median(speeds[rate])
        rows.append({"mbit": rate, "predicted": plan["samples_per_second"],
                     "bound_by": plan["bound_by"], "measured": median,
                     "least": min(speeds[rate]), "most": max(speeds[rate]),
                     "error": plan["samples_per_second"] / median - 1})
    (args.out_dir / "plan_check.json").write_text(
        json.dumps({"hosts": args.hosts, "batch_size": args.batch_size, "rows": rows}, indent=1)
        + "\n")
    print(f"\n{args.hosts} hosts of one worker and one server, {args.batch_size} rows a worker\n")
    print("| link, Mbit/s | predicted samples/s | bound by | measured [least .. most] | error |\n"
          "| --- | --- | --- | --- | --- |")
    for row in rows:
        print(f"| {row['mbit']} | {row['predicted']:.0f} | {row['bound_by']} | "
              f"{row['measured']:.0f} [{row['least']:.0f} .. {row['most']:.0f}] | "
              f"{100 * row['error']:+.0f} % |")


if __name__ == "__main__":
    sys.exit(main())
