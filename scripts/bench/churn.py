#!/usr/bin/env python3
"""Measures the cost of a limit of rows if ids come and go: one stream of rows, without a limit and
under each policy.

Usage: churn.py [--days 26] [--steps_per_day 10] [--items_per_row 10] [--scale 1] [--threads 2]
                [--only WORD] [--work_dir runs/churn] [--pepnet build/release/pepnet]

The rows are made up, so that the truth is known. Every item has a taste, a number drawn for its id;
a row names --items_per_row items, and its click is a coin whose probability is the sigmoid of the
tastes of its user and its items. Items of three kinds occur: evergreens, which are shown every day;
novelties, born on a day, whose popularity falls by a third each day; and passers-by, which are
shown once and never again. --scale multiplies rows, items and the limit of the table: 100 makes
100 million items and a limit of 5 million rows, needs 20 GB of disk and 15 of memory, and takes an
hour. Training reads the days in order; the last day is not trained but evaluated. --only takes the
policies whose name contains the word.

Prints a table in Markdown, by policy: rows of the item table, the most memory that the process
used, the share of the last day's lookups whose item has a row, and the AUC of the last day, beside
that of the true probabilities. Leaves these, and the same day by day, in work_dir/churn.json, which
scripts/bench/plot_bench.py draws.
"""
import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from support import ROOT

USERS, DOMAINS, BATCH = 20_000, 2, 1024
EVERGREENS, BORN_A_DAY, LIMIT = 20_000, 20_000, 50_000  # times --scale
KINDS = [0.3, 0.38, 0.32]  # of lookups: evergreens, novelties, passers-by
CHECKPOINTS = 5  # of a run: days whose hit rate is known

CONFIG = """
train_input_path: "{work}/day-*.parquet"
eval_input_path: "{work}/last.parquet"
model_dir: "{model}"
train_config {{
  sparse_optimizer {{ rowwise_adagrad_optimizer {{ lr: 0.1 }} constant_learning_rate {{}} }}
  dense_optimizer {{ adam_optimizer {{ lr: 0.001 }} constant_learning_rate {{}} }}
  num_epochs: 1
  save_checkpoints_steps: {save_steps}
  log_step_count_steps: {steps_a_day}
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
feature_configs {{ id_feature {{ feature_name: "items" embedding_dim: 8 pooling: "sum"
                                 init_fn: "nn.init.uniform_,a=-0.01,b=0.01"
                                 dynamic_table {{ {policy} }} }} }}
feature_configs {{ id_feature {{ feature_name: "domain" num_buckets: {domains}
                                 embedding_dim: 4 }} }}
model_config {{
  feature_groups {{ group_name: "all" feature_names: ["user", "items"] group_type: DEEP }}
  feature_groups {{ group_name: "domain" feature_names: ["domain"] group_type: DEEP }}
  feature_groups {{ group_name: "uia" feature_names: ["user", "items"] group_type: DEEP }}
  pepnet {{
    epnet_hidden_unit: 8
    ppnet_hidden_units: [16]
    task_towers {{ tower_name: "click" label_name: "click" mlp {{ hidden_units: [16] }}
      metrics {{ auc {{}} }} losses {{ binary_cross_entropy {{}} }}
      train_metrics {{ auc {{}} decay_rate: 0 decay_step: {steps_a_day} }} }}
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


class World:
    """The stream: rows of a day, and the true probabilities of their clicks."""

    def __init__(self, args):
        self.steps, self.width = args.steps_per_day * args.scale, args.items_per_row
        self.rows = self.steps * BATCH  # a day
        self.evergreens, self.born = EVERGREENS * args.scale, BORN_A_DAY * args.scale

    def items(self, rng, day):
        count = self.rows * self.width
        kind = rng.choice(3, count, p=KINDS)
        ids = np.empty(count, np.int64)
        for number, draw in enumerate([self.evergreen, self.novelty, self.passer_by]):
            places = np.flatnonzero(kind == number)
            ids[places] = draw(rng, day, len(places))
        return ids

    def evergreen(self, rng, _, count):
        return zipf(rng, self.evergreens, count)

    def novelty(self, rng, day, count):
        born = np.maximum(0, day - rng.geometric(1 / 3, count) + 1)
        return (1 << 40) + born * self.born + zipf(rng, self.born, count)

    def passer_by(self, _, day, count):
        return (1 << 41) + day * self.rows * self.width + np.arange(count)

    def day(self, day):
        rng = np.random.default_rng(day + 1)
        items = self.items(rng, day)
        user = zipf(rng, USERS, self.rows)
        tastes = taste(items, 2).reshape(self.rows, self.width).sum(axis=1) / self.width**0.5
        truth = 1 / (1 + np.exp(-(0.5 * taste(user, 1) + tastes - 1)))
        lists = pa.ListArray.from_arrays(
            pa.array(np.arange(self.rows + 1, dtype=np.int32) * np.int32(self.width)),
            pa.array(items))
        return pa.table({"click": (rng.random(self.rows) < truth).astype(np.int64),
                         "user": user.astype(np.int64), "items": lists,
                         "domain": rng.integers(0, DOMAINS, self.rows)}), truth


def items_of(path):
    return pq.read_table(path, columns=["items"])["items"].combine_chunks().flatten().to_numpy()


def auc(labels, scores):
    order = np.argsort(scores, kind="stable")
    ranks = np.empty(len(order))
    ranks[order] = np.arange(1, len(order) + 1)
    positives = labels.sum()
    return ((ranks[labels == 1].sum() - positives * (positives + 1) / 2)
            / (positives * (len(labels) - positives)))


def hit_rate(checkpoint, items):
    """The share of the lookups whose item has a row in the checkpoint."""
    files = sorted((checkpoint / "tables" / "items_emb").glob("part-*.arrow"))
    ids = np.sort(np.concatenate(
        [pa.ipc.open_file(path).read_all()["id"].to_numpy() for path in files]))
    places = np.searchsorted(ids, items).clip(0, len(ids) - 1)
    return float((ids[places] == items).mean())


def train(command, metrics):
    """Runs it; returns the memory of the process at the end of each day, and the most, in bytes."""
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True)
    by_day, most = {}, 0
    ended = threading.Event()

    def watch():
        nonlocal most
        while not ended.wait(0.2):
            try:
                status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
                days = len(metrics.read_text().splitlines())
            except OSError:  # it has ended, or not begun
                continue
            for line in status.splitlines():
                if line.startswith("VmRSS:"):
                    # Behind the last day the process ends and gives its memory back.
                    by_day[days] = max(by_day.get(days, 0), int(line.split()[1]) * 1024)
                elif line.startswith("VmHWM:"):
                    most = int(line.split()[1]) * 1024
    watcher = threading.Thread(target=watch)
    watcher.start()
    output, _ = process.communicate()
    ended.set()
    watcher.join()
    if process.returncode != 0:
        sys.exit(f"{command} ended with status {process.returncode}:\n{output[-3000:]}")
    return by_day, most


def policies_of(limit, items, steps_a_day):
    """Name and text of every policy."""
    def score(more):
        return (f'max_rows: {limit} eviction: "SCORE" half_life_steps: {steps_a_day} ' + more)
    return {
        "no limit": f"expected_rows: {items}",
        "LRU": f'max_rows: {limit} eviction: "LRU"',
        "LFU": f'max_rows: {limit} eviction: "LFU"',
        "SCORE, half-life of a day": score(""),
        "SCORE, clicks count, too": score('show_weight: 0.3 click_weight: 1 click_label: "click"'),
        "LRU, 2nd step admits": f'max_rows: {limit} eviction: "LRU" admit_after_steps: 2',
        "SCORE, 2nd step admits": score("admit_after_steps: 2"),
        "SCORE, a filter admits in the 2nd step": score(
            f"admit_after_steps: 2 admission_filter {{ memory_mb: {max(1, limit // 50_000)} "
            f"halve_every_steps: {2 * steps_a_day} }}"),
        "expiry after 3 days": f"expected_rows: {items} ttl_steps: {3 * steps_a_day}",
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=26)
    parser.add_argument("--steps_per_day", type=int, default=10)
    parser.add_argument("--items_per_row", type=int, default=10)
    parser.add_argument("--scale", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="")
    parser.add_argument("--work_dir", type=pathlib.Path, default=ROOT / "runs/churn")
    parser.add_argument("--pepnet", type=pathlib.Path, default=ROOT / "build/release/pepnet")
    args = parser.parse_args()
    work = args.work_dir.resolve()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)

    world, days = World(args), args.days - 1
    met = []
    for day in range(args.days):
        table, truth = world.day(day)
        path = work / ("last.parquet" if day == days else f"day-{day:04}.parquet")
        pq.write_table(table, path, use_dictionary=False, compression="zstd")
        if day < days:
            met.append(np.unique(items_of(path)))
    last_labels, last_items = table["click"].to_numpy(), items_of(work / "last.parquet")
    met = np.unique(np.concatenate(met))
    distinct, known = len(met), float(np.isin(last_items, met).mean())
    del met

    save_days = max(1, days // CHECKPOINTS)
    results = []
    limit = LIMIT * args.scale
    for number, (name, policy) in enumerate(policies_of(limit, distinct, world.steps).items()):
        if args.only not in name:
            continue
        model, config = work / f"model-{number}", work / f"{number}.config"
        config.write_text(CONFIG.format(
            work=work, model=model, batch=BATCH, users=USERS, domains=DOMAINS, policy=policy,
            steps_a_day=world.steps, save_steps=save_days * world.steps))
        memory, most = train([args.pepnet, "train", "--pipeline_config_path", config,
                              "--threads", args.threads], model / "metrics.jsonl")
        lines = [json.loads(line) for line in (model / "metrics.jsonl").read_text().splitlines()]
        evaluation = json.loads((model / "train_eval_result.txt").read_text().splitlines()[-1])
        hits = {}
        for checkpoint in model.glob("model.ckpt-*"):
            day = int(checkpoint.name.split("-")[1]) // world.steps
            next_day = work / ("last.parquet" if day == days else f"day-{day:04}.parquet")
            hits[day] = hit_rate(checkpoint, items_of(next_day))
        results.append({
            "policy": name, "rows": lines[-1]["tables"]["items_emb"]["rows"],
            "most_bytes": most, "hit_rate": hits[max(hits)],
            "auc": next(value for key, value in evaluation.items() if key.startswith("auc")),
            "rows_by_day": [line["tables"]["items_emb"]["rows"] for line in lines],
            "auc_by_day": [value for line in lines for key, value in line.items()
                           if key.startswith("auc")],
            "bytes_by_day": sorted(memory.items()), "hit_rate_by_day": sorted(hits.items()),
            "samples_per_second": float(np.median([line["samples_per_second"] for line in lines]))})
        print(json.dumps(results[-1]), file=sys.stderr, flush=True)
        shutil.rmtree(model)
    answer = {"what": "churn", "days": args.days, "lookups_a_day": world.rows * world.width,
              "limit": limit, "distinct_items": distinct, "known": known,
              "auc_of_the_truth": float(auc(last_labels, truth)), "policies": results}
    (work / "churn.json").write_text(json.dumps(answer, indent=2) + "\n")
    print(f"{days} days of {answer['lookups_a_day']:,} lookups, {distinct:,} items, a limit of "
          f"{limit:,} rows; {known:.1%} of the last day's lookups are of items seen before; AUC of "
          f"the true probabilities {answer['auc_of_the_truth']:.4f}\n")
    print("| policy | rows | most memory, GB | lookups with a row | AUC of the last day |\n"
          "| --- | --- | --- | --- | --- |")
    for row in results:
        print(f"| {row['policy']} | {row['rows']:,} | {row['most_bytes'] / 1e9:.2f} | "
              f"{row['hit_rate']:.1%} | {row['auc']:.4f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
