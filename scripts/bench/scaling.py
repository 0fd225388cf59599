#!/usr/bin/env python3
"""Weak and strong scaling of training: throughput and efficiency against the number of workers, and
where the time goes.

Usage: python3 scripts/bench/scaling.py --pipeline_config_path F --train_input_path G
                                        [--workers 1,2,4] [--servers_per_worker 1] [--threads 1]
                                        [--mode weak,strong] [--steps 20] [--rounds 3]
                                        [--out_dir runs/scaling] [--netns RATE | --hostfile HOSTS]

Each point is `pepnet bench train` under mpirun with that many workers. Weak scaling keeps the rows
per worker (the config's batch_size), strong scaling keeps the rows per step and divides them.
Points are measured in turn, --rounds times over, so that a machine whose speed drifts does not bend
the curve; a figure is the median with its spread.

Efficiency = throughput / (workers x the throughput of one worker with as many threads, its server
included).

Where the ranks run:
  (default)         on this machine
  --netns RATE      one worker (and its servers) per network namespace, each link limited to RATE,
                    for example 1gbit (scripts/dev/netns_cluster.sh; needs root)
  --hostfile HOSTS  on the hosts of an mpirun host file

Writes out_dir/scaling.json and scaling.png (where matplotlib is installed), and prints a table.
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

from support import ROOT, whole_numbers

STAGES = ["read", "pull", "pool", "compute", "push", "allreduce", "update"]
NETNS = [str(ROOT / "scripts/dev/netns_cluster.sh")]


def batch_size_of(args):
    """The config's rows per worker, from its effective form."""
    text = subprocess.run(
        [args.program, "check-config", "--pipeline_config_path", args.pipeline_config_path],
        check=True, capture_output=True, text=True).stdout
    for line in text.splitlines():
        if line.strip().startswith("batch_size:"):
            return int(line.split(":")[1])
    raise SystemExit(f"scaling.py: {args.pipeline_config_path} has no batch_size; "
                     "set data_config.batch_size")


def scratch(args):
    """The directory of the runs, on the file system that all hosts share."""
    return args.out_dir.resolve() / f"scratch-{os.getpid()}"


def command(args, workers, batch, report):
    """The command line of one measurement."""
    servers = workers * args.servers_per_worker
    bench = [args.program, "bench", "train", "--pipeline_config_path", args.pipeline_config_path,
             "--train_input_path", args.train_input_path, "--batch_sizes", str(batch),
             "--threads", str(args.threads), "--steps", str(args.steps),
             "--num_servers", str(servers), "--scratch_dir", str(scratch(args)),
             "--json", str(report)]
    # Ranks are distributed host by host, so that every host has as many workers and servers as the
    # others.
    if args.netns:
        hosts = ",".join(f"h{k}:{1 + args.servers_per_worker}" for k in range(1, workers + 1))
        return [*NETNS, "run", "-q", "-n", str(workers + servers), "--host", hosts,
                "--map-by", "node", "--", *bench]
    place = (["--hostfile", args.hostfile, "--map-by", "node"] if args.hostfile
             else ["--oversubscribe"])
    return ["mpirun", "-q", "-n", str(workers + servers), "--bind-to", "none", *place, *bench]


def measure(args, workers, batch):
    """One run: the row of `pepnet bench train`."""
    with tempfile.TemporaryDirectory() as directory:
        report = pathlib.Path(directory) / "report.json"
        if args.netns:
            subprocess.run([*NETNS, "up", str(workers), args.netns], check=True,
                           stdout=subprocess.DEVNULL)
        try:
            done = subprocess.run(command(args, workers, batch, report), capture_output=True,
                                  text=True, timeout=args.timeout_s)
        finally:
            shutil.rmtree(scratch(args), ignore_errors=True)  # left only by a run that was killed
            if args.netns:
                subprocess.run([*NETNS, "down"], check=True)
        if done.returncode != 0:
            raise SystemExit(
                f"scaling.py: the run with {workers} worker(s) failed:\n{done.stderr[-2000:]}")
        return json.loads(report.read_text())["rows"][0]


def summary(values):
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def run(args):
    batch = batch_size_of(args)
    points = [(mode, workers, batch if mode == "weak" else max(1, batch // workers))
              for mode in args.mode for workers in args.workers]
    # One worker is the same run in both modes.
    sizes = list(dict.fromkeys(point[1:] for point in points))
    measured = {size: [] for size in sizes}
    for number in range(args.rounds):
        for size in sizes:
            measured[size].append(measure(args, *size))
            print(f"round {number + 1} of {args.rounds}: {size[0]} worker(s) of {size[1]} rows, "
                  f"{measured[size][-1]['speed']:.0f} samples/s", flush=True)
    speeds = {size: [row["speed"] for row in rows] for size, rows in measured.items()}
    rows = []
    for mode, workers, rows_per_worker in points:
        size = (workers, rows_per_worker)
        ideal = workers * statistics.median(speeds[(1, batch)])
        slowest = max(measured[size], key=lambda row: row["its work"])
        rows.append({
            "mode": mode, "workers": workers, "servers": workers * args.servers_per_worker,
            "rows_per_worker": rows_per_worker, "samples_per_second": summary(speeds[size]),
            "efficiency": statistics.median(speeds[size]) / ideal,
            "stage_percent": {s: statistics.median(row[s] for row in measured[size])
                              for s in STAGES},
            "slowest_worker": int(slowest["slowest worker"]),
            "slowest_times_mean": slowest["its work"]})
    return {"threads_per_worker": args.threads,
            "where": (args.netns and f"network namespaces, {args.netns} links"
                      or args.hostfile or "one machine"),
            "cores": os.cpu_count(), "rounds": args.rounds, "rows": rows}


def print_table(report):
    print(f"\n{report['threads_per_worker']} thread(s) a worker; {report['where']}; "
          f"{report['rounds']} rounds in turn")
    print("mode    workers  rows/worker  samples/s [least..most]      efficiency  "
          + "  ".join(f"{s:>9}" for s in STAGES) + "  slowest worker (its work / mean)")
    for row in report["rows"]:
        speed = row["samples_per_second"]
        text = f"{speed['median']:.0f} [{speed['least']:.0f}..{speed['most']:.0f}]"
        print(f"{row['mode']:<6}  {row['workers']:>7}  {row['rows_per_worker']:>11}  {text:<27}  "
              f"{100 * row['efficiency']:>8.0f} %  "
              + "  ".join(f"{row['stage_percent'][s]:>7.1f} %" for s in STAGES)
              + f"  {row['slowest_worker']} ({row['slowest_times_mean']:.2f})")


def draw(report, path):
    try:
        import matplotlib
    except ImportError:
        print("no picture: matplotlib is not installed")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot
    figure, (speed, time) = pyplot.subplots(1, 2, figsize=(12, 4.4),
                                            gridspec_kw={"width_ratios": [2, 3]})
    modes = list(dict.fromkeys(row["mode"] for row in report["rows"]))
    for mode in modes:
        rows = [row for row in report["rows"] if row["mode"] == mode]
        workers = [row["workers"] for row in rows]
        middle = [row["samples_per_second"]["median"] for row in rows]
        below = [m - row["samples_per_second"]["least"] for m, row in zip(middle, rows)]
        above = [row["samples_per_second"]["most"] - m for m, row in zip(middle, rows)]
        line = speed.errorbar(workers, middle, yerr=[below, above], marker="o", capsize=3,
                              label=mode)
        speed.plot(workers, [middle[0] / workers[0] * w for w in workers], ":",
                   color=line[0].get_color())
        for row, at in zip(rows[1:], middle[1:]):
            speed.annotate(f"{100 * row['efficiency']:.0f} %", (row["workers"], at),
                           textcoords="offset points",
                           xytext=(-6, 8 if mode == modes[0] else -14), ha="right",
                           color=line[0].get_color())
    speed.set(xlabel="workers", ylabel="samples/s", title="throughput, efficiency (dotted: ideal)")
    speed.set_ylim(0, 1.1 * speed.get_ylim()[1])
    speed.set_xticks(sorted({row["workers"] for row in report["rows"]}))
    speed.legend(loc="lower right")
    labels = [f"{row['mode']} {row['workers']}\nslowest: {row['slowest_worker']}\n"
              f"({row['slowest_times_mean']:.2f} x mean)" for row in report["rows"]]
    base = [0.0] * len(labels)
    for stage in STAGES:
        height = [row["stage_percent"][stage] for row in report["rows"]]
        time.bar(labels, height, bottom=base, label=stage)
        base = [b + h for b, h in zip(base, height)]
    time.tick_params(axis="x", labelsize=8)
    time.set(ylabel="% of worker 0's step", title="where the time goes; who is slowest")
    time.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.suptitle(f"{report['where']}, {report['threads_per_worker']} thread(s) a worker")
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    print(f"picture: {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipeline_config_path", required=True)
    parser.add_argument("--train_input_path", required=True)
    parser.add_argument("--workers", type=whole_numbers, default=[1, 2])
    parser.add_argument("--servers_per_worker", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--mode", type=lambda text: text.split(","), default=["weak", "strong"])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--timeout_s", type=float, default=600, help="of one run")
    parser.add_argument("--out_dir", type=pathlib.Path, default=pathlib.Path("runs/scaling"))
    parser.add_argument("--program", default=str(ROOT / "build/release/pepnet"))
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--netns", metavar="RATE")
    where.add_argument("--hostfile")
    args = parser.parse_args()
    if not set(args.mode) <= {"weak", "strong"}:
        raise SystemExit(f"scaling.py: --mode {','.join(args.mode)}: "
                         "expected weak, strong or weak,strong")
    if args.workers[0] != 1:
        raise SystemExit(f"scaling.py: --workers begins with {args.workers[0]}, expected 1: "
                         "efficiency is relative to one worker")
    if not shutil.which(args.program):
        raise SystemExit(f"scaling.py: there is no {args.program}; run scripts/build.sh first")
    os.environ.setdefault("OMPI_ALLOW_RUN_AS_ROOT", "1")
    os.environ.setdefault("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
    args.out_dir.mkdir(parents=True, exist_ok=True)
    report = run(args)
    print_table(report)
    (args.out_dir / "scaling.json").write_text(json.dumps(report, indent=1) + "\n")
    draw(report, args.out_dir / "scaling.png")


if __name__ == "__main__":
    sys.exit(main())
