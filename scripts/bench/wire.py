#!/usr/bin/env python3
"""Bytes on the wire per sample, measure by measure, and the cost of --wire_dtype in AUC (results:
docs/performance.md).

Usage: python3 scripts/bench/wire.py [--pepnet build/release/pepnet] [--data_dir data/taobao_like]
                                     [--movielens_dir data/movielens] [--seeds 3]
                                     [--batch_sizes 1024,8192] [--tables bytes,auc]
                                     [--work_dir runs/wire]

Bytes: configs/pepnet_taobao_example.config on rows of scripts/data/make_taobao_like.py (--rows
400000 made them; any number will do), one worker and one server. What travels today is counted by
the program (its last log line); what travelled before a measure follows from the number of distinct
rows, which the counted bytes give.

AUC: each --wire_dtype trains with the same seeds, so that a difference within a seed is the
rounding's; one epoch of the generated rows, and configs/pepnet_movielens.config as it is.
"""
import argparse
import json
import pathlib
import re
import shutil
import statistics
import sys

from support import EXAMPLE, ROOT, mpirun, run

MOVIELENS = ROOT / "configs/pepnet_movielens.config"
# Of the example config; bytes of a float; bytes of a frame's header.
FEATURES, WIDTH, FLOAT, HEADER = 16, 16, 4, 64
DTYPES = ["float32", "bfloat16", "float16"]
COUNTED = re.compile(r"worker 0 sent ([0-9.]+) and received ([0-9.]+) "
                     r"bytes of ids, rows and gradients per sample")


def train(args, config, model_dir, edits, *flags, launcher=()):
    shutil.rmtree(model_dir, ignore_errors=True)
    command = [*launcher, args.pepnet, "train", "--pipeline_config_path", config,
               "--model_dir", model_dir, "--edit_config_json", json.dumps(edits), *flags]
    print("+", " ".join(map(str, command)), file=sys.stderr, flush=True)
    return run(command)


def counted(args, batch, dtype):
    """Bytes sent and received a sample in ten full batches."""
    edits = {"train_config.num_epochs": 0, "train_config.num_steps": 10,
             "train_config.save_checkpoints_steps": 0, "data_config.batch_size": batch,
             "eval_input_path": ""}
    done = train(args, EXAMPLE, args.work_dir / "bytes", edits,
                 "--train_input_path", args.data_dir / "train-*.parquet", "--wire_dtype", dtype,
                 # Within one process nothing travels.
                 "--verbose", "--num_servers", 1, launcher=mpirun(2))
    return [float(text) for text in COUNTED.search(done.stderr).groups()]


def bytes_table(args):
    lines = ["| bytes a sample, worker to server + back | "
             + " | ".join(f"batch {b}" for b in args.batch_sizes) + " |",
             "| --- |" + " --- |" * len(args.batch_sizes)]
    columns = []
    for batch in args.batch_sizes:
        sent, received = counted(args, batch, "float32")
        distinct = (received - HEADER / batch) / (WIDTH * FLOAT)  # distinct rows a sample
        headers = HEADER / batch
        row = WIDTH * FLOAT
        half = counted(args, batch, "bfloat16")
        columns.append([
            ((8 + 8 + row) * FEATURES, row * FEATURES,
             "every id of every sample, again with its gradient"),
            ((8 + 8 + row) * distinct, row * distinct, "distinct ids of a batch only"),
            ((8 + row) * distinct, row * distinct, "ids do not travel twice"),
            (sent, received, "ids in 4 bytes: what travels by default, counted"),
            (*half, "`--wire_dtype=bfloat16`, counted"),
        ])
        expected = (4 + row) * distinct + 2 * headers
        if abs(sent - expected) > 0.02 * expected:
            sys.exit(f"wire.py: {sent} bytes a sample were sent, the formats say {expected:.1f}")
        print(f"batch {batch}: {distinct:.2f} distinct rows a sample of {FEATURES} ids",
              file=sys.stderr)
    for cells in zip(*columns):
        lines.append(f"| {cells[0][2]} | " + " | ".join(
            f"{c[0]:.0f} + {c[1]:.0f} = {c[0] + c[1]:.0f}" for c in cells) + " |")
    return lines


def auc_table(args):
    metrics = {}  # (data, metric) -> dtype -> values by seed
    for seed in range(1, args.seeds + 1):
        for dtype in DTYPES:
            flags = ["--seed", seed, "--wire_dtype", dtype]
            runs = [("MovieLens", train(
                args, MOVIELENS, args.work_dir / "movielens", {},
                "--train_input_path", args.movielens_dir / "train.parquet",
                "--eval_input_path", args.movielens_dir / "test.parquet", *flags))]
            edits = {"data_config.batch_size": 1024, "data_config.shuffle": True,
                     "train_config.sparse_optimizer.adagrad_optimizer.lr": 0.05}
            runs.append(("generated", train(
                args, EXAMPLE, args.work_dir / "generated", edits,
                "--train_input_path", args.data_dir / "train-*.parquet",
                "--eval_input_path", args.data_dir / "test-*.parquet", *flags)))
            for data, done in runs:
                for name, value in json.loads(done.stdout.strip().splitlines()[-1]).items():
                    if name.startswith("auc_"):
                        metrics.setdefault((data, name), {}).setdefault(dtype, []).append(value)
    lines = [("| data, metric | float32 | spread over seeds | bfloat16 - float32 | "
              "float16 - float32 |"), "| --- | --- | --- | --- | --- |"]
    for (data, name), by_dtype in metrics.items():
        exact = by_dtype["float32"]
        cells = [f"{data}, {name}", f"{statistics.mean(exact):.4f}",
                 f"{max(exact) - min(exact):.4f}"]
        for dtype in DTYPES[1:]:
            differences = [value - base for value, base in zip(by_dtype[dtype], exact)]
            cells.append(f"{statistics.mean(differences):+.4f} "
                         f"[{min(differences):+.4f}..{max(differences):+.4f}]")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pepnet", type=pathlib.Path, default=pathlib.Path("build/release/pepnet"))
    parser.add_argument("--data_dir", type=pathlib.Path, default=pathlib.Path("data/taobao_like"))
    parser.add_argument("--movielens_dir", type=pathlib.Path,
                        default=pathlib.Path("data/movielens"))
    parser.add_argument("--work_dir", type=pathlib.Path, default=pathlib.Path("runs/wire"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--batch_sizes", type=lambda text: [int(part) for part in text.split(",")],
                        default=[1024, 8192])
    parser.add_argument("--tables", choices=["bytes", "auc", "bytes,auc"], default="bytes,auc")
    args = parser.parse_args()
    for directory in [args.data_dir] + [args.movielens_dir] * ("auc" in args.tables):
        if not list(directory.glob("*.parquet")):
            sys.exit(f"wire.py: there is no *.parquet in {directory}; "
                     "scripts/data/make_taobao_like.py and scripts/quickstart.sh make them")
    if "bytes" in args.tables:
        print("\n".join(bytes_table(args)) + "\n", flush=True)
    if "auc" in args.tables:
        print("\n".join(auc_table(args)), flush=True)


if __name__ == "__main__":
    main()
