#!/usr/bin/env python3
"""Measures what rows of 16 and 8 bits cost in quality and save in memory: one job, trained with
each data_type.

Usage: row_types.py [--rows 200000] [--test_rows 100000] [--seeds 5]
                    [--optimizer adagrad|rowwise_adagrad] [--lr 0.02] [--threads 2]
                    [--work_dir runs/row_types] [--pepnet build/release/pepnet]

Trains configs/pepnet_taobao.config (batch_size 1024, shuffle, one epoch) on rows that
scripts/data/make_taobao_like.py draws from a known truth, with every table in FP32, BF16, FP16 and
INT8, each with the seeds 1 to --seeds, which are those of initial values, shuffling, dropout and
rounding.

Prints a table in Markdown, by type: bytes of a row with its optimizer state on a server, bytes of
all rows, samples per second (the median of the runs, which take turns), and for each task the mean
AUC, its deviation over the seeds, and the mean difference from FP32 at the same seed with its
standard error. Leaves work_dir/row_types.json.
"""
import argparse
import json
import pathlib
import re
import shutil
import statistics
import sys

from support import ROOT, run

CONFIG = ROOT / "configs/pepnet_taobao.config"
TYPES = ["FP32", "BF16", "FP16", "INT8"]
TASKS = ["auc_ctr", "auc_cvr"]


def train(args, work, data_type, seed):
    """Trains one model; returns what is to be known of it."""
    text, tables = re.subn(r"(embedding_dim: \d+)", rf'\1 data_type: "{data_type}"',
                           CONFIG.read_text())
    assert tables > 0, f"{CONFIG} has no embedding_dim"
    text = text.replace("adagrad_optimizer {", f"{args.optimizer}_optimizer {{")
    config, model = work / f"{data_type}.config", work / f"model-{data_type}-{seed}"
    config.write_text(text)
    edits = {"data_config.batch_size": 1024, "data_config.shuffle": True,
             "train_config.save_checkpoints_steps": 1000000,
             f"train_config.sparse_optimizer.{args.optimizer}_optimizer.lr": args.lr}
    run([args.pepnet, "train", "--pipeline_config_path", config,
         "--edit_config_json", json.dumps(edits), "--model_dir", model,
         "--train_input_path", work / "data/train-*.parquet",
         "--eval_input_path", work / "data/test-00000.parquet",
         "--seed", seed, "--threads", args.threads])
    evaluation = json.loads((model / "train_eval_result.txt").read_text().splitlines()[-1])
    speeds = [line["samples_per_second"]
              for line in map(json.loads, (model / "metrics.jsonl").read_text().splitlines())
              if "samples_per_second" in line]
    summary = json.loads(run([args.pepnet, "inspect", "--json", model]).stdout)
    result = {task: evaluation[task] for task in TASKS}
    result["samples_per_second"] = statistics.median(speeds)
    result["rows"] = sum(table["rows"] for table in summary["tables"])
    result["bytes"] = sum(table["rows"] * table["row_bytes"] for table in summary["tables"])
    shutil.rmtree(model)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--test_rows", type=int, default=100_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--optimizer", choices=["adagrad", "rowwise_adagrad"], default="adagrad")
    parser.add_argument("--lr", type=float, default=0.02)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work_dir", type=pathlib.Path, default=ROOT / "runs/row_types")
    parser.add_argument("--pepnet", type=pathlib.Path, default=ROOT / "build/release/pepnet")
    args = parser.parse_args()
    work = args.work_dir.resolve()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    run([sys.executable, ROOT / "scripts/data/make_taobao_like.py", "--out_dir", work / "data",
         "--rows", args.rows, "--test_rows", args.test_rows, "--seed", 1])

    runs = {data_type: [] for data_type in TYPES}
    for seed in range(1, args.seeds + 1):
        for data_type in TYPES:
            runs[data_type].append(train(args, work, data_type, seed))
    answer = {"rows": args.rows, "seeds": args.seeds, "optimizer": args.optimizer, "lr": args.lr,
              "runs": runs}
    (work / "row_types.json").write_text(json.dumps(answer, indent=2) + "\n")

    heads = ["data_type", "bytes a row", "MB of rows", "samples/s"]
    for task in TASKS:
        heads += [f"{task}, deviation", "less FP32, error"]
    print("| " + " | ".join(heads) + " |\n|" + " --- |" * len(heads))
    for data_type, results in runs.items():
        size, rows = results[0]["bytes"], results[0]["rows"]
        cells = [data_type, f"{size / rows:.1f}", f"{size / 1e6:.1f}",
                 f"{statistics.median(result['samples_per_second'] for result in results):,.0f}"]
        for task in TASKS:
            values = [result[task] for result in results]
            less = [result[task] - base[task] for result, base in zip(results, runs["FP32"])]
            several = len(values) > 1
            cells.append(f"{statistics.mean(values):.4f} +- "
                         f"{statistics.stdev(values) if several else 0:.4f}")
            error = statistics.stdev(less) / len(less)**0.5 if several else 0
            cells.append("" if data_type == "FP32"
                         else f"{statistics.mean(less):+.4f} +- {error:.4f}")
        print("| " + " | ".join(cells) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
