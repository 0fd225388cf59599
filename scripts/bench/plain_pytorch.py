#!/usr/bin/env python3
"""The model of configs/pepnet_movielens.config in plain PyTorch on one CPU: what pepnet is compared
with.

Usage: python3 scripts/bench/plain_pytorch.py --data_dir data/movielens [--weights init.safetensors]
                                        [--epochs N] [--batch_size N] [--dropout P] [--shuffle]
                                        [--seed N] [--threads N]

Reads the same Parquet files, can start from the same weights (a file of `pepnet export --format
safetensors`), visits the rows in the same order unless --shuffle is given, and prints one JSON
line. Needs torch, numpy and pyarrow; the network is that of scripts/bench/torch_pepnet.py.

The constants below repeat the config; change both together. Loss, gates, optimizers and metrics
follow the definitions of the reference: domain group first in EPNet's gate input, uia group first
in PPNet's, gate inputs detached from the main path; task-space weights divided by their mean over
the batch; dense Adam; Adagrad on the summed gradient of each looked-up row, once per step.
"""
import argparse
import json
import pathlib
import time

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import nn

from torch_pepnet import TABLE_NAME, EPNet, PPNet, Tower, read_safetensors

# ---- the config, repeated ------------------------------------------------------------------------

DIM = 16
GENRES = ["Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary",
          "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi",
          "Thriller", "War", "Western"]
# feature: column, how its ids are made, argument
FEATURES = {
    "user_id": ("user_id", "identity", 943),
    "item_id": ("item_id", "identity", 1682),
    "age": ("age", "boundaries", [17.5, 24.5, 34.5, 44.5, 49.5, 55.5]),
    "gender": ("gender", "vocabulary", ["M", "F"]),
    "occupation": ("occupation_id", "identity", 21),
    "zip_prefix": ("zip_prefix", "vocabulary", list("0123456789")),
    "release_year": ("release_year", "boundaries",
                     [1945.5, 1960.5, 1970.5, 1980.5, 1985.5, 1990.5, 1992.5, 1993.5, 1994.5,
                      1995.5, 1996.5, 1997.5]),
    "genres": ("genres", "vocabulary", GENRES),  # several tokens, mean pooling
}
GROUPS = {"all": list(FEATURES), "domain": ["occupation"], "uia": ["user_id", "item_id"]}
EPNET_HIDDEN, PPNET_HIDDEN, TOWER_HIDDEN = 64, [64, 32], [32, 16]
TASKS = ["like", "love"]
AUC_THRESHOLDS = {"like": 200, "love": 1000}
SPARSE_LR, DENSE_LR, ADAGRAD_EPS = 0.02, 0.001, 1e-8
EPOCHS, BATCH_SIZE, DROPOUT = 3, 512, 0.1


# ---- data ----------------------------------------------------------------------------------------


def table_rows(kind, argument):
    return {"identity": lambda: argument, "boundaries": lambda: len(argument) + 1,
            "vocabulary": lambda: len(argument) + 2}[kind]()


def make_ids(column, kind, argument):
    """(ids, offsets of each row) of one column."""
    if kind == "vocabulary":  # row 0 stands for the default value, row 1 for unknown words
        index = {word: i + 2 for i, word in enumerate(argument)}
        rows = [[index.get(word, 1) for word in cell.split("|") if word] if cell else []
                for cell in column.to_pylist()]
        offsets = np.cumsum([0] + [len(row) for row in rows[:-1]])
        return np.array([i for row in rows for i in row], dtype=np.int64), offsets
    values = column.fill_null(0).to_numpy()
    if kind == "boundaries":  # id = number of boundaries <= x
        values = np.searchsorted(np.array(argument), values.astype(np.float64), side="right")
    elif values.min() < 0 or values.max() >= argument:
        raise SystemExit(f"ids {values.min()} .. {values.max()} do not fit "
                         f"a table of {argument} rows")
    return values.astype(np.int64), np.arange(len(values))


class Data:
    """All rows of one Parquet file as tensors."""

    def __init__(self, path):
        table = pq.read_table(path)
        self.rows = table.num_rows
        self.ids, self.offsets = {}, {}
        for name, (column, kind, argument) in FEATURES.items():
            ids, offsets = make_ids(table[column].combine_chunks(), kind, argument)
            self.ids[name] = torch.from_numpy(ids)
            self.offsets[name] = torch.from_numpy(np.append(offsets, len(ids)).astype(np.int64))
        self.labels = {task: torch.from_numpy(table[task].to_numpy().astype(np.float32))
                       for task in TASKS}

    def batch(self, rows):
        """{feature: (ids, offsets)} and {task: labels} of the given rows."""
        features = {}
        for name in FEATURES:
            begin, end = self.offsets[name][rows], self.offsets[name][rows + 1]
            counts = end - begin
            offsets = torch.cumsum(counts, 0) - counts
            positions = (torch.arange(int(counts.sum()))
                         + torch.repeat_interleave(begin - offsets, counts))
            features[name] = (self.ids[name][positions], offsets)
        return features, {task: labels[rows] for task, labels in self.labels.items()}


# ---- model ---------------------------------------------------------------------------------------


class PEPNet(nn.Module):
    """Group tensors in, one logit per task and row out."""

    def __init__(self, main, domain, uia, tasks, dropout):
        super().__init__()
        self.epnet = EPNet(main, domain, EPNET_HIDDEN)
        self.ppnet = PPNet(main, uia, PPNET_HIDDEN, tasks, dropout)
        self._task_tower = nn.ModuleList(Tower(PPNET_HIDDEN[-1], TOWER_HIDDEN, dropout)
                                         for _ in range(tasks))

    def forward(self, main, domain, uia):
        return [tower(x) for tower, x in zip(self._task_tower,
                                             self.ppnet(self.epnet(main, domain), uia))]


def make_tables():
    """Rows start as U(-sqrt(1/N), sqrt(1/N)), N = rows of the table."""
    tables = nn.ModuleDict()
    for name, (_, kind, argument) in FEATURES.items():
        rows = table_rows(kind, argument)
        tables[name] = nn.EmbeddingBag(rows, DIM, mode="mean" if name == "genres" else "sum",
                                       sparse=True)
        nn.init.uniform_(tables[name].weight, -rows ** -0.5, rows ** -0.5)
    return tables


def forward(tables, net, features):
    pooled = {name: tables[name](ids, offsets) for name, (ids, offsets) in features.items()}
    return net(*(torch.cat([pooled[name] for name in GROUPS[group]], dim=1)
                 for group in ("all", "domain", "uia")))


def load_weights(path, tables, net):
    tensors = read_safetensors(path)
    with torch.no_grad():
        for name, table in tables.items():
            table.weight.copy_(tensors.pop(TABLE_NAME.format(name)))
        for name, parameter in net.named_parameters():
            parameter.copy_(tensors.pop("model." + name))
    if tensors:
        raise SystemExit(f"{path} holds tensors this model does not have: {sorted(tensors)[:5]}")


# ---- loss, optimizer, metrics --------------------------------------------------------------------


def task_losses(logits, labels):
    """like: mean of the cross entropy. love: weighted 1 within liked rows, 0 outside, divided by
    the mean weight."""
    bce = [nn.functional.binary_cross_entropy_with_logits(z, labels[task], reduction="none")
           for task, z in zip(TASKS, logits)]
    weight = (labels["like"] > 0).float()
    mean = weight.mean()
    weight = weight / mean if mean > 0 else torch.zeros_like(weight)
    return [bce[0].mean(), (bce[1] * weight).mean()]


class SparseAdagrad:
    """s += g^2; w -= lr g / (sqrt(s) + eps), once per looked-up row with its summed gradient g."""

    def __init__(self, tables):
        self.tables = [(table.weight, torch.zeros_like(table.weight)) for table in tables.values()]

    @torch.no_grad()
    def step(self):
        for weight, state in self.tables:
            gradient = weight.grad.coalesce()
            rows, g = gradient.indices()[0], gradient.values()
            s = state[rows] + g * g
            state[rows] = s
            weight[rows] -= SPARSE_LR * g / (s.sqrt() + ADAGRAD_EPS)
            weight.grad = None


def binned_auc(labels, scores, thresholds):
    """Trapezoids between the points of `thresholds` equally spaced thresholds; an empty class gives
    0."""
    edges = torch.linspace(0, 1, thresholds)
    bins = torch.bucketize(scores, edges, right=True)  # number of thresholds <= score
    rates = []
    for positive in (True, False):
        counts = torch.bincount(bins[(labels == 1) == positive], minlength=thresholds + 1).double()
        reached = counts.flip(0).cumsum(0)[:-1]  # rows that reach threshold n - 1, n - 2, ..., 0
        rates.append(reached / counts.sum() if counts.sum() > 0 else reached)
    return float(torch.trapezoid(rates[0], rates[1]))


def exact_auc(labels, scores):
    """Fraction of pairs won, a tie counting half."""
    labels, scores = labels.numpy() == 1, scores.numpy()
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    positives, negatives = int(labels.sum()), int((~labels).sum())
    if positives == 0 or negatives == 0:
        return float("nan")
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))


@torch.no_grad()
def evaluate(tables, net, data, batch_size):
    net.eval()
    probabilities, losses = [], np.zeros(len(TASKS))
    for rows in torch.arange(data.rows).split(batch_size):
        features, labels = data.batch(rows)
        logits = forward(tables, net, features)
        probabilities.append(torch.stack([torch.sigmoid(z) for z in logits]))
        losses += np.array([float(loss) for loss in task_losses(logits, labels)]) * len(rows)
    net.train()
    result = {}
    for task, scores, loss in zip(TASKS, torch.cat(probabilities, dim=1), losses / data.rows):
        result[f"auc_{task}"] = binned_auc(data.labels[task], scores, AUC_THRESHOLDS[task])
        result[f"exact_auc_{task}"] = exact_auc(data.labels[task], scores)
        result[f"binary_cross_entropy_{task}"] = float(loss)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=pathlib.Path, default=pathlib.Path("data/movielens"))
    parser.add_argument("--weights", type=pathlib.Path, help="initial weights, safetensors")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--batch_size", type=int, default=BATCH_SIZE)
    parser.add_argument("--dropout", type=float, default=DROPOUT)
    parser.add_argument("--shuffle", action="store_true", help="a new random order in every epoch")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0, help="0: torch's default")
    parser.add_argument("--verbose", action="store_true", help="also print a line per epoch")
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    if args.threads > 0:
        torch.set_num_threads(args.threads)
    train, test = Data(args.data_dir / "train.parquet"), Data(args.data_dir / "test.parquet")
    tables = make_tables()
    widths = (DIM * len(GROUPS[group]) for group in ("all", "domain", "uia"))
    net = PEPNet(*widths, len(TASKS), args.dropout)
    if args.weights:
        load_weights(args.weights, tables, net)
    dense, sparse = torch.optim.Adam(net.parameters(), lr=DENSE_LR), SparseAdagrad(tables)

    steps, seconds = 0, 0.0
    for epoch in range(args.epochs):
        start = time.perf_counter()
        order = torch.randperm(train.rows) if args.shuffle else torch.arange(train.rows)
        for rows in order.split(args.batch_size):
            features, labels = train.batch(rows)
            loss = sum(task_losses(forward(tables, net, features), labels))
            dense.zero_grad()
            loss.backward()
            dense.step()
            sparse.step()
            steps += 1
        seconds += time.perf_counter() - start
        if args.verbose and epoch + 1 < args.epochs:
            print(json.dumps({"epoch": epoch + 1, **evaluate(tables, net, test, args.batch_size)}),
                  flush=True)
    print(json.dumps({**evaluate(tables, net, test, args.batch_size), "steps": steps,
                      "train_seconds": round(seconds, 3),
                      "samples_per_second": round(train.rows * args.epochs / max(seconds, 1e-9))}))


if __name__ == "__main__":
    main()
