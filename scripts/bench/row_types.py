#!/usr/bin/env python3
"""Measures what rows of 16 and 8 bits cost in quality and save in memory: one job, trained with
each type of values and of optimizer state.

Usage: row_types.py [--rows 200000] [--test_rows 100000] [--seeds 5]
                    [--optimizer adagrad|rowwise_adagrad] [--lr 0.02] [--threads 2]
                    [--work_dir runs/row_types] [--pepnet build/release/pepnet]
       row_types.py --config C --train_path T --eval_path E [--seeds 5] [--threads 2] ...
                    [--types FP32,BF16,FP16,INT8,FP32+BF16,BF16+BF16,INT8+BF16]

Trains configs/pepnet_taobao.config (batch_size 1024, shuffle, one epoch) on rows that
scripts/data/make_taobao_like.py draws from a known truth, or the config and rows that are named, in
every type of values and, behind a plus sign, of state, each with the seeds 1 to --seeds, which are
those of initial values, shuffling, dropout and rounding.

Prints a table in Markdown, by type: bytes of a row with its optimizer state on a server, bytes of
all rows, samples per second (the median of the runs, which take turns), and for each AUC the mean,
its deviation over the seeds, and the mean difference from FP32 at the same seed with its standard
error. Leaves work_dir/row_types.json.
"""
import argparse
import json
import pathlib
import re
import shutil
import statistics
import sys

from support import ROOT, run

TAOBAO = ROOT / "configs/pepnet_taobao.config"
# By name: data_type of the values, and of the state, which else is FP32.
TYPES = {"FP32": ("FP32", "FP32"), "BF16": ("BF16", "FP32"), "FP16": ("FP16", "FP32"),
         "INT8": ("INT8", "FP32"), "FP32+BF16": ("FP32", "BF16"),
         "BF16+BF16": ("BF16", "BF16"), "INT8+BF16": ("INT8", "BF16")}


def train(args, work, name, seed):
    """Trains one model; returns what is to be known of it."""
    values, state = TYPES[name]
    text, tables = re.subn(r"(embedding_dim: \d+)", rf'\1 data_type: "{values}"',
                           args.config.read_text())
    assert tables > 0, f"{args.config} has no embedding_dim"
    edits = {"train_config.sparse_optimizer.state_data_type": state,
             "train_config.save_checkpoints_steps": 1000000}
    if args.config == TAOBAO:
        text = text.replace("adagrad_optimizer {", f"{args.optimizer}_optimizer {{")
        edits.update({
            "data_config.batch_size": 1024, "data_config.shuffle": True,
            f"train_config.sparse_optimizer.{args.optimizer}_optimizer.lr": args.lr})
    config, model = work / "job.config", work / "model"
    config.write_text(text)
    run([args.pepnet, "train", "--pipeline_config_path", config,
         "--edit_config_json", json.dumps(edits), "--model_dir", model,
         "--train_input_path", args.train_path, "--eval_input_path", args.eval_path,
         "--seed", seed, "--threads", args.threads])
    evaluation = json.loads((model / "train_eval_result.txt").read_text().splitlines()[-1])
    speeds = [line["samples_per_second"]
              for line in map(json.loads, (model / "metrics.jsonl").read_text().splitlines())
              if "samples_per_second" in line]
    summary = json.loads(run([args.pepnet, "inspect", "--json", model]).stdout)
    result = {task: value for task, value in evaluation.items() if task.startswith("auc_")}
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
    parser.add_argument("--config", type=pathlib.Path, default=TAOBAO)
    parser.add_argument("--train_path")
    parser.add_argument("--types", default=",".join(TYPES))
    parser.add_argument("--eval_path")
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
    if args.config == TAOBAO:
        run([sys.executable, ROOT / "scripts/data/make_taobao_like.py", "--out_dir", work / "data",
             "--rows", args.rows, "--test_rows", args.test_rows, "--seed", 1])
        args.train_path, args.eval_path = (work / "data/train-*.parquet",
                                           work / "data/test-00000.parquet")
    elif args.train_path is None or args.eval_path is None:
        parser.error("--config needs --train_path and --eval_path")

    runs = {name: [] for name in args.types.split(",")}
    if runs.keys() - TYPES.keys() or "FP32" not in runs:
        parser.error(f"--types {args.types}: expected FP32 and others of {', '.join(TYPES)}")
    for seed in range(1, args.seeds + 1):
        for name in runs:
            runs[name].append(train(args, work, name, seed))
    (work / "row_types.json").write_text(json.dumps(
        {"config": str(args.config.name), "seeds": args.seeds, "runs": runs}, indent=2) + "\n")

    tasks = sorted(key for key in runs["FP32"][0] if key.startswith("auc_"))
    heads = ["data_type", "bytes a row", "MB of rows", "samples/s"]
    for task in tasks:
        heads += [f"{task}, deviation", "less FP32, error"]
    print("| " + " | ".join(heads) + " |\n|" + " --- |" * len(heads))
    for name, results in runs.items():
        size, rows = results[0]["bytes"], results[0]["rows"]
        cells = [name, f"{size / rows:.1f}", f"{size / 1e6:.1f}",
                 f"{statistics.median(result['samples_per_second'] for result in results):,.0f}"]
        for task in tasks:
            values = [result[task] for result in results]
            less = [result[task] - base[task] for result, base in zip(results, runs["FP32"])]
            several = len(values) > 1
            cells.append(f"{statistics.mean(values):.4f} +- "
                         f"{statistics.stdev(values) if several else 0:.4f}")
            error = statistics.stdev(less) / len(less)**0.5 if several else 0
            cells.append("" if name == "FP32"
                         else f"{statistics.mean(less):+.4f} +- {error:.4f}")
        print("| " + " | ".join(cells) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
