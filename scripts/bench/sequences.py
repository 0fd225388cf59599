#!/usr/bin/env python3
"""Trains a job of two sequences with DIN, in turn with pepnet and with the same network in PyTorch,
and prints speeds.

Usage: .venv/bin/python3 scripts/bench/sequences.py [--length 50] [--full] [--rows 40960]
                                                    [--batch_size 1024] [--rounds 5] [--threads 2]
                                                    [--pepnet build/release/pepnet]
                                                    [--peers eager,fbgemm]

The rows are made up: user, item, category and tab of a row, and two sequences of items with their
categories, clicks and purchases, each of 1 to --length elements (with --full of --length). The
network has DIN with hidden layers [64, 16] over each, EPNet by tab, PPNet [128, 64] and two towers.
The peers have their rows decoded and padded before their clocks start; pepnet reads them from
Parquet. A round is one pass over the rows of each, the first batches are not counted.
Peers: eager is plain PyTorch, nn.Embedding with sparse gradients and Adagrad; fbgemm has its tables
in FBGEMM's table-batched CPU operator, which applies exact Adagrad in its backward pass, and looks
up existing positions only. It needs the virtual environment that scripts/bench/compare.sh makes.
Prints one JSON object: samples per second of each round, medians, and pepnet's ratio to each peer.
"""
import argparse
import json
import pathlib
import statistics
import sys
import tempfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from support import fbgemm_tables, run  # noqa: E402
from torch_pepnet import EPNet, PPNet, Tower  # noqa: E402

DIM, WARMUP = 16, 5
ROWS = {"user": 200_000, "item": 100_000, "cate": 5_000, "tab": 10}
SEQUENCES = ["click", "buy"]
PARTS = ["item", "cate"]  # of an element, and the query of its DIN
MAIN = DIM * len(ROWS) + DIM * len(PARTS) * len(SEQUENCES)
HIDDEN, ATTENTION, TOWER = [128, 64], [64, 16], [32]
LR = 0.01

CONFIG = """
train_input_path: "{directory}/rows.parquet"
model_dir: "{directory}/model-{run}"
train_config {{
  sparse_optimizer {{ adagrad_optimizer {{ lr: {lr} }} constant_learning_rate {{}} }}
  dense_optimizer {{ adam_optimizer {{ lr: 0.001 }} constant_learning_rate {{}} }}
  num_epochs: 1 log_step_count_steps: 1 save_checkpoints_steps: 0 use_tensorboard: false
}}
data_config {{
  batch_size: {batch_size} dataset_type: ParquetDataset fg_mode: FG_NONE
  label_fields: ["ctr", "cvr"]
}}
{features}
model_config {{
  feature_groups {{ group_name: "all" feature_names: ["user", "item", "cate", "tab"]
    {sequences}
  }}
  feature_groups {{ group_name: "domain" feature_names: ["tab"] }}
  feature_groups {{ group_name: "uia" feature_names: ["user", "item"] }}
  pepnet {{
    ppnet_hidden_units: {hidden}
    task_towers {{ tower_name: "ctr" label_name: "ctr" mlp {{ hidden_units: {tower} }}
                  losses {{ binary_cross_entropy {{}} }} }}
    task_towers {{ tower_name: "cvr" label_name: "cvr" mlp {{ hidden_units: {tower} }}
                  losses {{ binary_cross_entropy {{}} }} }}
  }}
}}
"""


def make_rows(count, length, full, random):
    """Arrow columns of the rows."""
    columns = {name: random.integers(0, rows, count) for name, rows in ROWS.items()}
    for sequence in SEQUENCES:
        lengths = np.full(count, length) if full else random.integers(1, length + 1, count)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        for part in PARTS:
            ids = random.integers(0, ROWS[part], offsets[-1])
            columns[f"{sequence}__{part}"] = pa.ListArray.from_arrays(offsets, pa.array(ids))
    columns["ctr"] = (random.random(count) < 0.2).astype(np.int64)
    columns["cvr"] = columns["ctr"] * (random.random(count) < 0.3)
    return pa.table({name: pa.array(column) if isinstance(column, np.ndarray) else column
                     for name, column in columns.items()})


def write_config(directory, number, batch_size):
    feature = ('feature_configs {{ id_feature {{ feature_name: "{0}" num_buckets: {1} '
               'embedding_dim: %d }} }}') % DIM
    lines = [feature.format(name, rows) for name, rows in ROWS.items()]
    inner = ('features {{ id_feature {{ feature_name: "{0}" num_buckets: {1} embedding_dim: %d '
             'embedding_name: "{0}_emb" }} }}') % DIM
    for sequence in SEQUENCES:
        parts = " ".join(inner.format(part, ROWS[part]) for part in PARTS)
        lines.append(f'feature_configs {{ sequence_feature {{ sequence_name: "{sequence}" '
                     f'sequence_length: 10000 {parts} }} }}')
    groups = []
    for sequence in SEQUENCES:
        names = ", ".join(f'"{name}"' for name in PARTS + [f"{sequence}__{part}" for part in PARTS])
        groups.append(f'sequence_groups {{ group_name: "{sequence}" feature_names: [{names}] }}\n'
                      f'    sequence_encoders {{ din_encoder {{ input: "{sequence}" '
                      f'attn_mlp {{ hidden_units: {ATTENTION} }} }} }}')
    path = directory / f"job-{number}.config"
    path.write_text(CONFIG.format(directory=directory, run=number, lr=LR, batch_size=batch_size,
                                  features="\n".join(lines), sequences="\n    ".join(groups),
                                  hidden=HIDDEN, tower=TOWER))
    return path


class Din(nn.Module):
    """softmax over the positions of Linear(MLP([q ; s ; q - s ; q * s])), then the weighted sum of
    s."""

    def __init__(self, channels):
        super().__init__()
        widths = [4 * channels] + ATTENTION
        layers = [layer for inputs, outputs in zip(widths, ATTENTION)
                  for layer in (nn.Linear(inputs, outputs), nn.ReLU())]
        self.score = nn.Sequential(*layers, nn.Linear(ATTENTION[-1], 1))

    def forward(self, query, sequence, mask):
        query = query[:, None, :].expand_as(sequence)
        scores = self.score(
            torch.cat([query, sequence, query - sequence, query * sequence], dim=-1)).squeeze(-1)
        weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=1)
        return torch.bmm(weights[:, None, :], sequence).squeeze(1)


class Peer:
    """The network in plain PyTorch: embeddings with sparse gradients, Adagrad; fused Adam for the
    rest."""

    def __init__(self, table, batch_size):
        self.make_tables()
        self.network = nn.ModuleDict({sequence: Din(DIM * len(PARTS)) for sequence in SEQUENCES})
        self.network["epnet"] = EPNet(MAIN, DIM, MAIN)
        self.network["ppnet"] = PPNet(MAIN, 2 * DIM, HIDDEN, 2, 0)
        self.network["towers"] = nn.ModuleList(Tower(HIDDEN[-1], TOWER, 0) for _ in range(2))
        self.dense = torch.optim.Adam(self.network.parameters(), lr=0.001, fused=True)
        self.batches = [self.batch_of(table.slice(at, batch_size))
                        for at in range(0, table.num_rows, batch_size)]

    def make_tables(self):
        table_of = lambda name: nn.Embedding(ROWS[name], DIM, sparse=True)
        self.tables = {name: table_of(name) for name in ROWS}
        self.sequence_tables = {part: table_of(part) for part in PARTS}
        weights = [one.weight for one in [*self.tables.values(), *self.sequence_tables.values()]]
        self.optimizers = [torch.optim.Adagrad(weights, lr=LR, eps=1e-8)]

    def rows_of(self, batch):
        """The rows of plain features by name, of the query, and of each sequence's positions (zeros
        behind its end)."""
        rows = {name: table(batch[name]) for name, table in self.tables.items()}
        query = torch.cat([self.sequence_tables[part](batch[part]) for part in PARTS], dim=1)
        positions = {}
        for sequence in SEQUENCES:
            mask, *ids = batch[sequence]
            elements = torch.cat(
                [self.sequence_tables[part](one) for part, one in zip(PARTS, ids)], dim=-1)
            positions[sequence] = elements * mask[:, :, None]
        return rows, query, positions

    def batch_of(self, table):
        batch = {name: torch.from_numpy(table[name].to_numpy().copy()) for name in ROWS}
        batch["labels"] = torch.from_numpy(
            np.stack([table[name].to_numpy() for name in ("ctr", "cvr")])).float()
        for sequence in SEQUENCES:
            lists = [table[f"{sequence}__{part}"].combine_chunks() for part in PARTS]
            lengths = lists[0].value_lengths().to_numpy()
            mask = np.arange(lengths.max())[None, :] < lengths[:, None]
            batch[sequence] = [torch.from_numpy(mask)]
            for one in lists:
                padded = np.zeros(mask.shape, np.int64)
                padded[mask] = one.flatten().to_numpy()
                batch[sequence].append(torch.from_numpy(padded))
        return batch

    def step(self, batch):
        rows, query, positions = self.rows_of(batch)
        encoded = [self.network[sequence](query, positions[sequence], batch[sequence][0])
                   for sequence in SEQUENCES]
        main = torch.cat([*rows.values(), *encoded], dim=1)
        shared = self.network["epnet"](main, rows["tab"])
        outputs = self.network["ppnet"](shared, torch.cat([rows["user"], rows["item"]], dim=1))
        loss = sum(nn.functional.binary_cross_entropy_with_logits(tower(x).reshape(-1), label)
                   for tower, x, label in zip(self.network["towers"], outputs, batch["labels"]))
        loss.backward()
        for optimizer in (*self.optimizers, self.dense):
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def round(self):
        seconds, rows = 0.0, 0
        for number, batch in enumerate(self.batches):
            start = time.perf_counter()
            self.step(batch)
            if number >= WARMUP:
                seconds += time.perf_counter() - start
                rows += len(batch["user"])
        return rows / seconds


class FbgemmPeer(Peer):
    """The same with FBGEMM's tables: a position is a bag of one row."""

    def make_tables(self):
        self.tables = fbgemm_tables([(rows, DIM) for rows in ROWS.values()], LR)
        self.sequence_tables = {part: fbgemm_tables([(ROWS[part], DIM)], LR) for part in PARTS}
        self.optimizers = []

    @staticmethod
    def look_up(tables, ids):
        return tables(ids, torch.arange(len(ids) + 1))

    def rows_of(self, batch):
        plain = self.look_up(self.tables, torch.cat([batch[name] for name in ROWS]))
        rows = dict(zip(ROWS, plain.split(DIM, dim=1)))
        masks = [batch[sequence][0] for sequence in SEQUENCES]
        parts = []
        for number, part in enumerate(PARTS):
            ids = [batch[part], *(batch[sequence][1 + number][mask]
                                  for sequence, mask in zip(SEQUENCES, masks))]
            parts.append(self.look_up(self.sequence_tables[part], torch.cat(ids))
                         .split([len(one) for one in ids]))
        query, *elements = (torch.cat(both, dim=1) for both in zip(*parts))
        positions = {sequence: one.new_zeros(*mask.shape, one.shape[1]).index_put((mask,), one)
                     for sequence, mask, one in zip(SEQUENCES, masks, elements)}
        return rows, query, positions


PEERS = {"eager": Peer, "fbgemm": FbgemmPeer}


def pepnet_round(pepnet, config, model_dir, threads, batch_size):
    run([pepnet, "train", "--pipeline_config_path", config, "--threads", threads])
    records = [json.loads(line) for line in (model_dir / "metrics.jsonl").read_text().splitlines()]
    steps = [record for record in records if "samples_per_second" in record][WARMUP:]
    return len(steps) * batch_size / sum(
        batch_size / record["samples_per_second"] for record in steps)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=int, default=50)
    parser.add_argument("--full", action="store_true", help="every sequence has --length elements")
    parser.add_argument("--rows", type=int, default=40960)
    parser.add_argument("--batch_size", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pepnet", type=pathlib.Path, default=pathlib.Path("build/release/pepnet"))
    parser.add_argument("--peers", default="eager", help="eager, fbgemm or both with a comma")
    args = parser.parse_args()
    names = args.peers.split(",")
    if unknown := set(names) - set(PEERS):
        parser.error(f"--peers: {', '.join(sorted(unknown))} unknown; "
                     "expected eager, fbgemm or both with a comma")
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    table = make_rows(args.rows, args.length, args.full, np.random.default_rng(1))
    speeds = {name: [] for name in ["pepnet", *names]}
    with tempfile.TemporaryDirectory() as scratch:
        directory = pathlib.Path(scratch)
        pq.write_table(table, directory / "rows.parquet", row_group_size=8192)
        peers = {name: PEERS[name](table, args.batch_size) for name in names}
        for number in range(args.rounds):
            config = write_config(directory, number, args.batch_size)
            speeds["pepnet"].append(
                pepnet_round(args.pepnet, config, directory / f"model-{number}", args.threads,
                             args.batch_size))
            for name, peer in peers.items():
                speeds[name].append(peer.round())
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    print(json.dumps({"length": args.length, "full": args.full, "batch_size": args.batch_size,
                      "threads": args.threads,
                      "samples_per_second": {name: [round(value) for value in values]
                                             for name, values in speeds.items()},
                      "median": {name: round(value) for name, value in medians.items()},
                      "ratio": {name: round(medians["pepnet"] / medians[name], 2)
                                for name in names}}))


if __name__ == "__main__":
    main()
