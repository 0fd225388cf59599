#!/usr/bin/env python3
"""pepnet against the same network in plain PyTorch, on MovieLens.

Usage: python3 scripts/bench/compare_movielens.py [--pepnet build/release/pepnet] [--seeds 5]
                    [--work_dir runs/compare_movielens]

Two comparisons, printed as a table and left in <work_dir>/result.json:
1. One imported start, rows in file order, no dropout: both must reach the same AUC (difference at
   most 0.002).
2. Dropout, shuffle and their own initial values, once per seed: the means must lie within one
   standard deviation.

Needs data/movielens (scripts/quickstart.sh makes it). About two minutes a seed on two cores.
"""
import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import sys

CONFIG = "configs/pepnet_movielens.config"
TASKS = ("auc_like", "auc_love")


def run(command):
    print("+", " ".join(map(str, command)), flush=True)
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{command[0]} ended with status {done.returncode}:\n{done.stderr}")
    return done.stdout.strip().splitlines()[-1:]


def last_json(lines):
    return json.loads(lines[0])


def edit(**changes):
    return ["--edit_config_json", json.dumps(changes)]


def config_edits(dropout, shuffle):
    return {"model_config.pepnet.ppnet_dropout_ratio": [dropout],
            "model_config.pepnet.task_towers[:].mlp.dropout_ratio": [dropout],
            "data_config.shuffle": shuffle}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pepnet", type=pathlib.Path, default=pathlib.Path("build/release/pepnet"))
    parser.add_argument("--data_dir", type=pathlib.Path, default=pathlib.Path("data/movielens"))
    parser.add_argument("--work_dir", type=pathlib.Path,
                        default=pathlib.Path("runs/compare_movielens"))
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    shutil.rmtree(args.work_dir, ignore_errors=True)
    plain = [sys.executable, pathlib.Path(__file__).with_name("plain_pytorch.py"),
             "--data_dir", args.data_dir]
    paths = ["--pipeline_config_path", CONFIG,
             "--train_input_path", args.data_dir / "train.parquet",
             "--eval_input_path", args.data_dir / "test.parquet"]

    # A start that both can read: one step with rate 0 changes nothing; its export holds every
    # initial value.
    still = {"train_config.sparse_optimizer.adagrad_optimizer.lr": 0.0,
             "train_config.dense_optimizer.adam_optimizer.lr": 0.0,
             "train_config.num_epochs": 0, "train_config.num_steps": 1}
    start, export = args.work_dir / "start", args.work_dir / "export"
    run([args.pepnet, "train", *paths, "--model_dir", start, *edit(**still)])
    run([args.pepnet, "export", "--pipeline_config_path", CONFIG, "--model_dir", start,
         "--export_dir", export])
    weights = export / "model.safetensors"

    same = args.work_dir / "same_start"
    edits = edit(**config_edits(0.0, False))
    run([args.pepnet, "import", "--pipeline_config_path", CONFIG, "--weights", weights,
         "--model_dir", same, *edits])
    ours = last_json(run(
        [args.pepnet, "train", *paths, "--model_dir", same, "--continue_train", *edits]))
    theirs = last_json(run([*plain, "--weights", weights, "--dropout", "0"]))
    result = {"same_start": {task: {"pepnet": ours[task], "pytorch": theirs[task]}
                             for task in TASKS}}

    runs = {"pepnet": [], "pytorch": []}
    for seed in range(1, args.seeds + 1):
        directory = args.work_dir / f"seed{seed}"
        runs["pepnet"].append(last_json(run(
            [args.pepnet, "train", *paths, "--model_dir", directory, "--seed", seed])))
        runs["pytorch"].append(last_json(run([*plain, "--shuffle", "--seed", seed])))
    result["seeds"] = {task: {side: [one[task] for one in results]
                              for side, results in runs.items()} for task in TASKS}
    (args.work_dir / "result.json").write_text(json.dumps(result, indent=1) + "\n")

    good = True
    print("\n| comparison | task | pepnet | plain PyTorch | difference |\n"
          "| --- | --- | --- | --- | --- |")
    for task in TASKS:
        a, b = result["same_start"][task]["pepnet"], result["same_start"][task]["pytorch"]
        good &= abs(a - b) <= 0.002
        print(f"| same start, no dropout | {task} | {a:.4f} | {b:.4f} | {a - b:+.5f} |")
    for task in TASKS:
        a, b = result["seeds"][task]["pepnet"], result["seeds"][task]["pytorch"]
        spread = max(statistics.stdev(a), statistics.stdev(b)) if args.seeds > 1 else float("inf")
        difference = statistics.mean(a) - statistics.mean(b)
        good &= abs(difference) <= spread
        print(f"| {args.seeds} seeds, dropout 0.1 | {task} | "
              f"{statistics.mean(a):.4f} +- {statistics.pstdev(a):.4f} | "
              f"{statistics.mean(b):.4f} +- {statistics.pstdev(b):.4f} | {difference:+.5f} |")
    sys.exit(0 if good else "the two differ by more than they may")


if __name__ == "__main__":
    main()
