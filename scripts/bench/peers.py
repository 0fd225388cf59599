#!/usr/bin/env python3
"""Trains the model of configs/pepnet_taobao_example.config with one of pepnet's peers and prints
its speed.

Usage: python3 scripts/bench/peers.py --peer eager|compile|torchrec
                                      --variant routed|no_weights|every_row --data_dir D [--steps N]
                                      [--warmup_steps N] [--batch_size N] [--threads N]
                                      [--weights model.safetensors] [--dropout P]

  eager      plain PyTorch: embedding lookups with sparse gradients and torch.optim.Adagrad, fused
             Adam
  compile    the same with network and losses through torch.compile (needs g++)
  torchrec   tables in a TorchRec EmbeddingBagCollection under DistributedModelParallel (FBGEMM's
             fused kernels, Adagrad within the backward pass), network as in eager
  variant    routed: the config as it stands. no_weights: without task-space weights. every_row:
             without domain towers too

The rows are decoded before the clock starts, so a peer's figure does not contain reading. Prints
one JSON object: samples per second over the measured steps, milliseconds of each, losses of the
first steps, number of dense parameters.
--weights starts from a file of `pepnet export`, to compare losses. The constants below repeat the
config; change both together.
"""
import argparse
import json
import os
import pathlib
import sys
import tempfile
import time

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import nn

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from onnx_inputs import std_hash  # noqa: E402
from torch_pepnet import TABLE_NAME, EPNet, PPNet, Tower, read_safetensors  # noqa: E402

# ---- the config, repeated ------------------------------------------------------------------------

DIM = 16
PRICE = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4, 1.5, 1.7, 1.8, 2.0, 2.2, 2.5, 2.7, 3.0, 3.3,
         3.7, 4.1, 4.5, 5.0, 5.5, 6.1, 6.7, 7.4, 8.2, 9.0, 10.0, 11, 12, 13, 15, 16, 18, 20, 22, 25,
         27, 30, 33, 37, 40, 45, 49, 55, 60, 67, 74, 81, 90, 99, 110, 121, 134, 148, 164, 181, 200,
         221, 244, 270, 298, 329, 364, 402, 444, 491, 542, 599, 662, 732, 809, 894, 987, 1090, 1210,
         1330, 1470, 1630, 1800, 1990, 2190, 2430, 2680, 2960, 3270, 3620, 4000, 4420, 4880, 5390,
         5960, 6580, 7270, 8040, 8880, 9810, 10840]
PID_ROWS = 20
TABLES = {"user_id": 1141730, "cms_segid": 98, "cms_group_id": 14, "final_gender_code": 3,
          "age_level": 8, "pvalue_level": 5, "shopping_level": 5, "occupation": 3,
          "new_user_class_level": 6, "pid": PID_ROWS, "adgroup_id": 846812, "cate_id": 12961,
          "campaign_id": 423438, "customer": 255877, "brand": 461498, "price": len(PRICE) + 1}
FEATURES = list(TABLES)
GROUPS = {"all": FEATURES, "domain": ["occupation"],
          "uia": [name for name in FEATURES if name not in ("occupation", "pid", "customer")]}
PPNET_HIDDEN, TOWER_HIDDEN, DOMAINS = [512, 256], [256, 128, 64], 3
EPNET_HIDDEN = DIM * len(FEATURES)
LABELS = ["clk", "buy"]
LR, DROPOUT, BATCH_SIZE = 0.001, 0.1, 8192

# ---- rows ----------------------------------------------------------------------------------------


def load_batches(data_dir, batch_size, count):
    """The first `count` batches in file order: ids [features, rows], labels [2, rows], domains
    [rows]."""
    columns = [name for name in FEATURES] + LABELS
    tables, rows = [], 0
    for path in sorted(pathlib.Path(data_dir).glob("train-*.parquet")):
        tables.append(pq.read_table(path, columns=columns))
        rows += tables[-1].num_rows
        if rows >= batch_size * count:
            break
    if rows < batch_size * count:
        raise SystemExit(f"{data_dir} holds {rows} training rows, {batch_size * count} are needed: "
                         "fewer steps, or more rows from scripts/data/make_taobao_like.py")
    import pyarrow
    table = pyarrow.concat_tables(tables)
    ids = []
    for name in FEATURES:
        column = table[name].combine_chunks()
        if name == "price":  # the number of boundaries that are not above the price
            ids.append(np.searchsorted(np.array(PRICE), column.to_numpy().astype(np.float64),
                                       side="right"))
        elif name == "pid":
            words = column.dictionary_encode()
            rows_of_words = np.array(
                [std_hash(word) % PID_ROWS for word in words.dictionary.to_pylist()])
            ids.append(rows_of_words[words.indices.to_numpy()])
        else:
            ids.append(column.to_numpy())
    ids = torch.from_numpy(np.stack(ids).astype(np.int64))
    labels = torch.from_numpy(
        np.stack([table[name].to_numpy() for name in LABELS]).astype(np.float32))
    domains = ids[FEATURES.index("occupation")]
    cut = lambda i: slice(i * batch_size, (i + 1) * batch_size)
    return [(ids[:, cut(i)].contiguous(), labels[:, cut(i)].contiguous(), domains[cut(i)].clone())
            for i in range(count)]


# ---- the network ---------------------------------------------------------------------------------


class Network(nn.Module):
    """Looked-up rows [rows, width of all] in, one loss per task out."""

    def __init__(self, variant, dropout):
        super().__init__()
        width = {name: DIM * len(features) for name, features in GROUPS.items()}
        self.domains = 1 if variant == "every_row" else DOMAINS
        self.weighted = variant == "routed"
        self.epnet = EPNet(width["all"], width["domain"], EPNET_HIDDEN)
        self.ppnet = PPNet(width["all"], width["uia"], PPNET_HIDDEN, len(LABELS), dropout)
        self._task_tower = nn.ModuleList(Tower(PPNET_HIDDEN[-1], TOWER_HIDDEN, 0)
                                         for _ in range(len(LABELS) * self.domains))
        columns = lambda group: torch.cat(
            [torch.arange(DIM) + DIM * FEATURES.index(name) for name in GROUPS[group]])
        self.columns = {group: columns(group) for group in ("domain", "uia")}

    def forward(self, main, labels, domains):
        domain, uia = (main[:, self.columns[group]] for group in ("domain", "uia"))
        losses = []
        for task, x in enumerate(self.ppnet(self.epnet(main, domain), uia)):
            # As the reference does: every row through the towers of all domains, then its own one
            # is picked.
            towers = self._task_tower[task * self.domains:(task + 1) * self.domains]
            logits = torch.stack([tower(x) for tower in towers], dim=1)
            logits = (logits.squeeze(1) if self.domains == 1
                      else logits.gather(1, domains[:, None]).squeeze(1))
            loss = nn.functional.binary_cross_entropy_with_logits(logits, labels[task],
                                                                  reduction="none")
            if self.weighted and task == 1:
                weight = (labels[0] > 0).float()
                mean = weight.mean()
                loss = loss * torch.where(mean > 0, weight / mean, torch.zeros_like(weight))
            losses.append(loss.mean())
        return torch.stack(losses)


# ---- tables --------------------------------------------------------------------------------------


class PlainTables:
    """nn.Embedding with sparse gradients and torch.optim.Adagrad."""

    def __init__(self):
        self.tables = [nn.Embedding(rows, DIM, sparse=True) for rows in TABLES.values()]
        for table in self.tables:
            nn.init.uniform_(table.weight, -table.num_embeddings ** -0.5,
                             table.num_embeddings ** -0.5)
        self.optimizer = torch.optim.Adagrad([table.weight for table in self.tables],
                                             lr=LR, eps=1e-8)

    def load(self, tensors):
        with torch.no_grad():
            for name, table in zip(FEATURES, self.tables):
                table.weight.copy_(tensors[TABLE_NAME.format(name)])

    def look_up(self, ids):
        return torch.cat([table(rows) for table, rows in zip(self.tables, ids)], dim=1)

    def step(self):
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


class TorchRecTables:
    """TorchRec on FBGEMM's fused CPU kernels: the backward pass applies exact Adagrad."""

    def __init__(self):
        import torch.distributed as dist
        import torchrec
        from torchrec.distributed.model_parallel import (DistributedModelParallel,
                                                         get_default_sharders)
        from torchrec.distributed.planner import EmbeddingShardingPlanner, Topology
        from torchrec.distributed.planner.types import ParameterConstraints
        from torchrec.optim.apply_optimizer_in_backward import apply_optimizer_in_backward
        self.keyed = torchrec.KeyedJaggedTensor
        self.directory = tempfile.TemporaryDirectory()
        dist.init_process_group("gloo", init_method=f"file://{self.directory.name}/ranks",
                                rank=0, world_size=1)
        tables = [torchrec.EmbeddingBagConfig(
                      name=name, embedding_dim=DIM, num_embeddings=rows, feature_names=[name],
                      init_fn=lambda w, rows=rows: nn.init.uniform_(w, -rows ** -0.5, rows ** -0.5))
                  for name, rows in TABLES.items()]
        model = nn.ModuleDict({"ebc": torchrec.EmbeddingBagCollection(
            device=torch.device("meta"), tables=tables)})
        apply_optimizer_in_backward(torch.optim.Adagrad, model.parameters(),
                                    {"lr": LR, "eps": 1e-8})
        # Left alone the planner takes dense kernels on a CPU, whose gradients are as large as the
        # tables.
        wanted = ParameterConstraints(sharding_types=["table_wise"], compute_kernels=["fused"])
        planner = EmbeddingShardingPlanner(topology=Topology(world_size=1, compute_device="cpu"),
                                           constraints={name: wanted for name in TABLES})
        sharders = get_default_sharders()
        plan = planner.collective_plan(model, sharders, dist.GroupMember.WORLD)
        self.model = DistributedModelParallel(model, device=torch.device("cpu"), plan=plan,
                                              sharders=sharders)
        self.lookup = self.model.module["ebc"]
        self.offsets = None

    def load(self, tensors):
        with torch.no_grad():
            for name, parameter in self.model.state_dict().items():
                table = name.split(".")[-2]
                target = (parameter.local_shards()[0].tensor
                          if hasattr(parameter, "local_shards") else parameter)
                target.copy_(tensors[TABLE_NAME.format(table)])

    def look_up(self, ids):
        if self.offsets is None or self.offsets.numel() != ids.numel() + 1:
            self.offsets = torch.arange(ids.numel() + 1)
        pooled = self.lookup(self.keyed(keys=FEATURES, values=ids.reshape(-1),
                                        offsets=self.offsets)).wait()
        return torch.cat([pooled[name] for name in FEATURES], dim=1)

    def step(self):
        pass


# ---- main ----------------------------------------------------------------------------------------


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", choices=["eager", "compile", "torchrec"], required=True)
    parser.add_argument("--variant", choices=["routed", "no_weights", "every_row"],
                        default="routed")
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warmup_steps", type=int, default=2)
    parser.add_argument("--batch_size", type=int, default=BATCH_SIZE)
    parser.add_argument("--threads", type=int, default=0, help="0: torch's default")
    parser.add_argument("--weights", help="start from this safetensors file")
    parser.add_argument("--dropout", type=float, default=DROPOUT)
    args = parser.parse_args()
    torch.manual_seed(1)
    if args.threads > 0:
        torch.set_num_threads(args.threads)
    batches = load_batches(args.data_dir, args.batch_size, args.warmup_steps + args.steps)
    network = Network(args.variant, args.dropout)
    tables = TorchRecTables() if args.peer == "torchrec" else PlainTables()
    if args.weights:
        tensors = read_safetensors(args.weights)
        tables.load(tensors)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                parameter.copy_(tensors["model." + name])
    optimizer = torch.optim.Adam(network.parameters(), lr=LR, fused=True)
    forward = torch.compile(network, dynamic=False) if args.peer == "compile" else network

    milliseconds, first_losses, processor = [], [], 0.0
    for number, (ids, labels, domains) in enumerate(batches):
        if number == args.warmup_steps:
            processor = time.process_time()
        start = time.perf_counter()
        losses = forward(tables.look_up(ids), labels, domains)
        losses.sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        tables.step()
        milliseconds.append(1e3 * (time.perf_counter() - start))
        if len(first_losses) < 3:
            first_losses.append(losses.tolist())
    processor = time.process_time() - processor
    measured = milliseconds[args.warmup_steps:]
    rows = args.batch_size * len(measured)
    print(json.dumps({"peer": args.peer, "variant": args.variant,
                      "samples_per_second": 1e3 * rows / sum(measured),
                      "samples_per_processor_second": rows / processor,
                      "step_ms": [round(ms, 2) for ms in measured], "first_losses": first_losses,
                      "dense_parameters": sum(p.numel() for p in network.parameters()),
                      "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main()
