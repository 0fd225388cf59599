#!/usr/bin/env python3
"""Measures the cost of a limit of rows if ids come and go: one stream of rows, without a limit and
under each policy.

Usage: churn.py [--days 40] [--rows_per_day 100000] [--budget 40960] [--work_dir runs/churn]
                [--pepnet build/release/pepnet]

The rows are made up, so that the truth is known. Every item has a taste, a number drawn for its id;
a click is a coin whose probability is the sigmoid of user's and item's tastes. Items of three kinds
occur: evergreens, which are shown every day; novelties, born on a day, whose popularity falls by a
third each day; and passers-by, which are shown once and never again. The table of items may hold
--budget rows, a part of the ids that a run meets. Training reads the days in order; the last day is
not trained but evaluated.

Prints a table in Markdown, by policy: rows and bytes of the checkpoint, the share of the last day's
lookups whose item has a row, and the AUC of the last day, beside that of the true probabilities.
Leaves work_dir/churn.json.
"""
import argparse
import json
import pathlib
import shutil
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from support import ROOT, run

USERS, EVERGREENS, BORN_A_DAY = 20_000, 20_000, 5_000
BATCH = 1024

CONFIG = """
train_input_path: "{work}/day-*.parquet"
eval_input_path: "{work}/last.parquet"
model_dir: "{model}"
train_config {{
  sparse_optimizer {{ adagrad_optimizer {{ lr: 0.1 }} constant_learning_rate {{}} }}
  dense_optimizer {{ adam_optimizer {{ lr: 0.001 }} constant_learning_rate {{}} }}
  num_epochs: 1
  save_checkpoints_steps: 1000000
  use_tensorboard: false
}}
eval_config {{}}
data_config {{
  batch_size: {batch}
  dataset_type: ParquetDataset
  fg_mode: FG_NONE
  label_fields: ["click", "domain"]
  num_workers: 1
}}
feature_configs {{ id_feature {{ feature_name: "user" num_buckets: {users} embedding_dim: 8
                                 init_fn: "nn.init.uniform_,a=-0.01,b=0.01" }} }}
feature_configs {{ id_feature {{ feature_name: "item" embedding_dim: 8
                                 dynamic_table {{ {policy} }} }} }}
feature_configs {{ id_feature {{ feature_name: "domain" num_buckets: 2 embedding_dim: 4 }} }}
model_config {{
  feature_groups {{ group_name: "all" feature_names: ["user", "item"] group_type: DEEP }}
  feature_groups {{ group_name: "domain" feature_names: ["domain"] group_type: DEEP }}
  feature_groups {{ group_name: "uia" feature_names: ["user", "item"] group_type: DEEP }}
  pepnet {{
    epnet_hidden_unit: 8
    ppnet_hidden_units: [16]
    task_towers {{ tower_name: "click" label_name: "click" mlp {{ hidden_units: [16] }}
      metrics {{ auc {{}} }} losses {{ binary_cross_entropy {{}} }} }}
  }}
}}
"""


def taste(ids, salt):
    """A number of every id, normally distributed."""
    words = np.array(ids, np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(salt)
    words ^= words >> np.uint64(31)
    words *= np.uint64(0xBF58476D1CE4E5B9)
    words ^= words >> np.uint64(29)
    words *= np.uint64(0x94D049BB133111EB)
    halves = [(words >> np.uint64(shift) & np.uint64(0xFFFFFF)).astype(float) / (1 << 24)
              for shift in (8, 36)]
    return np.sqrt(-2 * np.log(1 - halves[0])) * np.cos(2 * np.pi * halves[1])


def zipf(rng, n, count):
    """Ranks 0 to n - 1, rank r about as often as 1 / (r + 10)."""
    weights = 1 / (np.arange(n) + 10.0)
    return np.searchsorted(np.cumsum(weights) / weights.sum(), rng.random(count)).clip(0, n - 1)


def rows_of_day(day, count):
    rng = np.random.default_rng(day + 1)
    kind = rng.choice(3, count, p=[0.4, 0.4, 0.2])
    born = np.maximum(0, day - rng.geometric(1 / 3, count) + 1)
    item = np.where(
        kind == 0, zipf(rng, EVERGREENS, count),
        np.where(kind == 1, 1_000_000 + born * BORN_A_DAY + zipf(rng, BORN_A_DAY, count),
                 1 << 40 | day * count + np.arange(count)))
    user = zipf(rng, USERS, count)
    truth = 1 / (1 + np.exp(-(0.5 * taste(user, 1) + taste(item, 2) - 1)))
    return pa.table({"click": (rng.random(count) < truth).astype(np.int64),
                     "user": user.astype(np.int64), "item": item.astype(np.int64),
                     "domain": rng.integers(0, 2, count)}), truth


def auc(labels, scores):
    order = np.argsort(scores, kind="stable")
    ranks = np.empty(len(order))
    ranks[order] = np.arange(1, len(order) + 1)
    positives = labels.sum()
    return ((ranks[labels == 1].sum() - positives * (positives + 1) / 2)
            / (positives * (len(labels) - positives)))


def item_ids(checkpoint):
    files = sorted((checkpoint / "tables" / "item_emb").glob("part-*.arrow"))
    ids = np.concatenate([pa.ipc.open_file(path).read_all()["id"].to_numpy() for path in files])
    return ids, sum(path.stat().st_size for path in (checkpoint / "tables" / "item_emb").iterdir())


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=40)
    parser.add_argument("--rows_per_day", type=int, default=100_000)
    parser.add_argument("--budget", type=int, default=40_960)
    parser.add_argument("--work_dir", type=pathlib.Path, default=ROOT / "runs/churn")
    parser.add_argument("--pepnet", type=pathlib.Path, default=ROOT / "build/release/pepnet")
    args = parser.parse_args()
    work = args.work_dir.resolve()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)

    met = set()
    for day in range(args.days):
        table, truth = rows_of_day(day, args.rows_per_day)
        last = day + 1 == args.days
        pq.write_table(table, work / ("last.parquet" if last else f"day-{day:04}.parquet"))
        if not last:
            met.update(table["item"].to_pylist())
    labels, items = table["click"].to_numpy(), table["item"].to_numpy()
    known = np.isin(items, np.fromiter(met, np.int64))

    steps_a_day = args.rows_per_day // BATCH + 1
    limit = f"max_rows: {args.budget} "
    policies = {
        "no limit": f"expected_rows: {len(met)}",
        "LRU": limit + 'eviction: "LRU"',
        "LFU": limit + 'eviction: "LFU"',
        "SCORE, half-life of a day": limit + f'eviction: "SCORE" half_life_steps: {steps_a_day}',
        "SCORE, shows and clicks": limit + (
            f'eviction: "SCORE" half_life_steps: {steps_a_day} show_weight: 0.3 '
            'click_weight: 1 click_label: "click"'),
        "LRU, 2nd step admits": limit + 'eviction: "LRU" admit_after_steps: 2',
        "SCORE, 2nd step admits": limit + (
            f'eviction: "SCORE" half_life_steps: {steps_a_day} admit_after_steps: 2'),
        "expiry after 3 days": f"expected_rows: {len(met)} ttl_steps: {3 * steps_a_day}",
    }
    results = []
    for number, (name, policy) in enumerate(policies.items()):
        model = work / f"model-{number}"
        config = work / f"{number}.config"
        config.write_text(CONFIG.format(work=work, model=model, batch=BATCH, users=USERS,
                                        policy=policy))
        run([args.pepnet, "train", "--pipeline_config_path", config])
        evaluation = json.loads((model / "train_eval_result.txt").read_text().splitlines()[-1])
        checkpoint = max(model.glob("model.ckpt-*"), key=lambda path: int(path.name.split("-")[1]))
        ids, size = item_ids(checkpoint)
        results.append({"policy": name, "rows": len(ids), "bytes": size,
                        "lookups_with_a_row": float(np.isin(items, ids).mean()),
                        "auc": next(value for key, value in evaluation.items()
                                    if key.startswith("auc"))})
    answer = {"days": args.days, "rows_per_day": args.rows_per_day, "budget": args.budget,
              "distinct_items": len(met), "lookups_of_known_items": float(known.mean()),
              "auc_of_the_truth": float(auc(labels, truth)), "policies": results}
    (work / "churn.json").write_text(json.dumps(answer, indent=2) + "\n")
    print(f"{args.days - 1} days of {args.rows_per_day:,} rows, {len(met):,} items, "
          f"a budget of {args.budget:,} rows; {answer['lookups_of_known_items']:.1%} of the "
          "last day's lookups are of items seen before; AUC of the true probabilities "
          f"{answer['auc_of_the_truth']:.4f}\n")
    print("| policy | rows | MB | lookups with a row | AUC of the last day |\n"
          "| --- | --- | --- | --- | --- |")
    for row in results:
        print(f"| {row['policy']} | {row['rows']:,} | {row['bytes'] / 1e6:.1f} | "
              f"{row['lookups_with_a_row']:.1%} | {row['auc']:.4f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
