#!/usr/bin/env python3
"""Jobs whose time goes into rows: pepnet against FBGEMM's kernels and nn.EmbeddingBag, in turn, on
one machine.

Usage: sparse.py [--pepnet build/release/pepnet] [--work_dir runs/bench/sparse] [--jobs A,B,C]
                 [--rounds 5] [--rows 65536] [--steps 20] [--threads 0]
                 [--peers fbgemm,fbgemm_rowwise,eager] [--parts check,peers,mpi,stages]
                 [--max_foreign_percent 10] [--docs docs/performance.md] [--peers_avx512]

  A   60 features of about 20 ids, width 16, tables of 1 million ids
  B   300 features of 1 id, width 8, tables of 200 thousand ids
  C   4 features of about 100 ids, width 64, tables of 500 thousand ids
Each has user_id, item_id and scene beside them, EPNet by scene, PPNet [64, 32], two towers, batches
of 2048. Ids follow about 1 / rank; lengths are drawn from a Poisson distribution.

Peers: fbgemm is FBGEMM's table-batched CPU operator with exact Adagrad in its backward pass,
fbgemm_rowwise the same with one Adagrad state a row, eager nn.EmbeddingBag with sparse gradients
and torch.optim.Adagrad. pepnet runs with both rules; a ratio compares it with those that have the
same. Network and rows are alike. Their rows are decoded before their clock starts and their tables
exist; pepnet reads Parquet. Its first pass over the file makes the rows ("made"), in its second
they exist ("exist").

Parts:
  check   all start from the same weights, tables of 2000 ids: their first three losses must agree
          (1e-4)
  peers   median step of each contestant, in turn; ratios are taken within a round
  mpi     job A: 2 servers and 2 workers of one thread under mpirun against one process, rows exist
  stages  what a step does with rows on one core, without the network, beside the limits of memory:
          bench sparse
A peer that cannot be had is left out, and the table says so. --docs puts the table between the
marks <!-- sparse --> and <!-- /sparse --> of a page. --peers_avx512 gives the peers AVX-512 matrix
products, which libtorch's MKL takes on Intel's processors alone.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from compare import Machine, put_into, spread, text_of
from support import ROOT, fbgemm_tables, give_peers_avx512, mpirun, peers_note

JOBS = {"A": {"features": 60, "length": 20, "dim": 16, "vocabulary": 1_000_000},
        "B": {"features": 300, "length": 1, "dim": 8, "vocabulary": 200_000},
        "C": {"features": 4, "length": 100, "dim": 64, "vocabulary": 500_000}}
PEERS = {"fbgemm": "FBGEMM, Adagrad", "eager": "eager EmbeddingBag, Adagrad",
         "fbgemm_rowwise": "FBGEMM, rowwise Adagrad"}
RULES = {"adagrad": ("Adagrad", ("fbgemm", "eager")),
         "rowwise": ("rowwise Adagrad", ("fbgemm_rowwise",))}
KINDS = {"exist": "rows exist", "made": "rows being made"}
TARGETS = {"exist": {"A": 2.5, "B": 3.0, "C": 2.5}, "made": {"A": 1.8, "B": 2.2, "C": 1.5}}
SCENES, BATCH, LR = 3, 2048, 0.02
EPNET, PPNET, TOWER, LABELS = 64, [64, 32], [32], ["clk", "buy"]
PARTS = ("check", "peers", "mpi", "stages")


def names_of(job):
    return [f"f{i}" for i in range(job["features"])] + ["user_id", "item_id", "scene"]


def rows_of(job):
    return {name: SCENES if name == "scene" else job["vocabulary"] for name in names_of(job)}


# ---- files ---------------------------------------------------------------------------------------


def make_rows(job, count):
    random = np.random.default_rng(1)
    vocabulary = job["vocabulary"]

    def draw(n):
        return (vocabulary ** random.random(n)).astype(np.int64) * 7919 % vocabulary

    columns = {}
    for f in range(job["features"]):
        offsets = np.concatenate(
            [[0], np.cumsum(random.poisson(job["length"], count))]).astype(np.int32)
        columns[f"f{f}"] = pa.ListArray.from_arrays(pa.array(offsets),
                                                    pa.array(draw(int(offsets[-1]))))
    columns |= {"user_id": pa.array(draw(count)), "item_id": pa.array(draw(count)),
                "scene": pa.array(random.integers(0, SCENES, count))}
    columns |= {label: pa.array((random.random(count) < rate).astype(np.int64))
                for label, rate in zip(LABELS, (0.1, 0.02))}
    return pa.table(columns)


def write_job(directory, job, rows):
    directory.mkdir(parents=True, exist_ok=True)
    data = directory / f"rows-{rows}-{job['vocabulary']}.parquet"
    if not data.exists():
        pq.write_table(make_rows(job, rows), directory / "rows.part", row_group_size=16384)
        (directory / "rows.part").rename(data)
    feature = ('feature_configs {{ id_feature {{ feature_name: "{0}" num_buckets: {1} '
               'embedding_dim: {2} }} }}\n')
    quoted = lambda names: "[" + ", ".join(f'"{name}"' for name in names) + "]"
    group = '  feature_groups {{ group_name: "{0}" group_type: DEEP feature_names: {1} }}\n'
    tower = ('    task_towers {{ tower_name: "{0}" label_name: "{1}" mlp {{ hidden_units: {2} }} '
             'losses {{ binary_cross_entropy {{}} }} }}\n')
    config = directory / "job.config"
    config.write_text(
        f'train_input_path: "{data}"\nmodel_dir: "{directory}/model"\ntrain_config {{\n'
        f'  sparse_optimizer {{ adagrad_optimizer {{ lr: {LR} }} constant_learning_rate {{}} }}\n'
        '  dense_optimizer { adam_optimizer { lr: 0.001 } constant_learning_rate {} }\n'
        '  num_epochs: 2 save_checkpoints_steps: 0 log_step_count_steps: 1 use_tensorboard: false\n'
        '}\n'
        f'data_config {{ batch_size: {BATCH} dataset_type: ParquetDataset fg_mode: FG_NONE '
        f'label_fields: {quoted(LABELS)} num_workers: 1 }}\n'
        + "".join(feature.format(name, count, job["dim"]) for name, count in rows_of(job).items())
        + "model_config {\n" + group.format("all", quoted(names_of(job)))
        + group.format("domain", '["scene"]') + group.format("uia", '["user_id", "item_id"]')
        + f"  pepnet {{ epnet_hidden_unit: {EPNET} ppnet_hidden_units: {PPNET}\n"
        + "".join(tower.format(task, label, TOWER) for task, label in zip(("ctr", "cvr"), LABELS))
        + "  }\n}\n")
    return config, data


# ---- the peers -----------------------------------------------------------------------------------


def run_peer(args):
    """In a process of its own: prints milliseconds of each step and the first losses as JSON."""
    import torch
    from torch import nn
    from torch_pepnet import TABLE_NAME, EPNet, PPNet, Tower, read_safetensors
    job = json.loads(args.job)
    names, rows, dim = names_of(job), rows_of(job), job["dim"]
    torch.manual_seed(1)
    torch.set_num_threads(args.threads or os.cpu_count())
    table = pq.read_table(args.data)
    offsets, values = {}, {}
    for name in names:
        column = table[name].combine_chunks()
        is_list = pa.types.is_list(column.type)
        values[name] = torch.from_numpy(
            (column.values if is_list else column).to_numpy().astype(np.int64))
        offsets[name] = (torch.from_numpy(column.offsets.to_numpy().astype(np.int64)) if is_list
                         else torch.arange(len(column) + 1))
    labels = torch.from_numpy(
        np.stack([table[label].to_numpy() for label in LABELS]).astype(np.float32))
    del table

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            width = dim * len(names)
            self.epnet = EPNet(width, dim, EPNET)
            self.ppnet = PPNet(width, 2 * dim, PPNET, len(LABELS), 0)
            self._task_tower = nn.ModuleList(Tower(PPNET[-1], TOWER, 0) for _ in LABELS)

        def forward(self, main, y):
            part = lambda name: main[:, names.index(name) * dim:(names.index(name) + 1) * dim]
            outputs = self.ppnet(self.epnet(main, part("scene")),
                                 torch.cat([part("user_id"), part("item_id")], 1))
            return torch.stack([nn.functional.binary_cross_entropy_with_logits(tower(x), y[task])
                                for task, (tower, x) in enumerate(zip(self._task_tower, outputs))])

    network = Network()
    dense = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    if args.peer == "eager":
        bags = nn.ModuleList(nn.EmbeddingBag(rows[name], dim, mode="sum", sparse=True)
                             for name in names)
        sparse = torch.optim.Adagrad(bags.parameters(), lr=LR, eps=1e-8)
        weights = [bag.weight for bag in bags]
        look_up = lambda o, v: torch.cat(
            [bag(ids, begin[:-1]) for bag, ids, begin in zip(bags, v, o)], 1)
    else:
        tables = fbgemm_tables([(rows[name], dim) for name in names], LR,
                               rowwise=args.peer == "fbgemm_rowwise")
        tables.init_embedding_weights_uniform(-.001, .001)
        weights, sparse = tables.split_embedding_weights(), None

        def look_up(o, v):
            base, begins = 0, [torch.zeros(1, dtype=torch.int64)]
            for begin in o:
                begins.append(begin[1:] + base)
                base += int(begin[-1])
            return tables(torch.cat(v), torch.cat(begins))

    if args.weights:
        tensors = read_safetensors(args.weights)
        with torch.no_grad():
            for name, weight in zip(names, weights):
                weight.copy_(tensors[TABLE_NAME.format(name)])
            for name, parameter in network.named_parameters():
                parameter.copy_(tensors["model." + name])
    milliseconds, losses = [], []
    for i in range(args.steps):
        at = slice(i * args.batch_size, (i + 1) * args.batch_size + 1)
        o = [offsets[name][at] - offsets[name][at][0] for name in names]
        v = [values[name][offsets[name][at][0]:offsets[name][at][-1]] for name in names]
        y = labels[:, i * args.batch_size:(i + 1) * args.batch_size]
        start = time.perf_counter()
        loss = network(look_up(o, v), y)
        loss.sum().backward()
        dense.step()
        dense.zero_grad(set_to_none=True)
        if sparse is not None:
            sparse.step()
            sparse.zero_grad(set_to_none=True)
        milliseconds.append(1e3 * (time.perf_counter() - start))
        losses.append(loss.tolist())
    print(json.dumps({"step_ms": milliseconds, "losses": losses[:3]}))


# ---- the contestants, in turn --------------------------------------------------------------------


class Contest:
    def __init__(self, args):
        self.args, self.machine = args, Machine(args)
        self.files = {name: write_job(args.work_dir / name, JOBS[name], args.rows)
                      for name in args.jobs}

    def peer(self, name, job, data, steps, batch_size=BATCH, weights=None):
        done = self.machine.run(
            [sys.executable, __file__, "--peer", name, "--job", json.dumps(job), "--data", data,
             "--steps", steps, "--batch_size", batch_size, "--threads", self.args.threads,
             *(["--weights", weights] if weights else [])], check=False)
        if done.returncode != 0:
            return {"error": (done.stderr.strip().splitlines()
                              or [f"status {done.returncode}"])[-1]}
        return json.loads(done.stdout.strip().splitlines()[-1])

    def pepnet(self, config, model, launcher=(), extra=(), edits=None):
        """Records of metrics.jsonl, one a step."""
        shutil.rmtree(model, ignore_errors=True)
        threads = ["--threads", self.args.threads] if self.args.threads and not launcher else []
        self.machine.run([*launcher, self.args.pepnet, "train", "--pipeline_config_path", config,
                          "--model_dir", model, *threads, *extra,
                          *(["--edit_config_json", json.dumps(edits)] if edits else [])])
        records = [json.loads(line)
                   for line in (model / "metrics.jsonl").read_text().splitlines()]
        shutil.rmtree(model)
        return [record for record in records if "samples_per_second" in record]

    def rates(self, config, **more):
        """Samples/s of the median step while rows are made and when they exist; the first steps of
        both do not count."""
        records = self.pepnet(config, self.args.work_dir / "model", **more)
        rate = [record["samples_per_second"] for record in records]
        half = len(rate) // 2
        return {"made": statistics.median(rate[min(4, half - 1):half]),
                "exist": statistics.median(rate[half + min(2, half - 1):])}


def check(contest, peers):
    """The same start: the losses of three steps."""
    work, missing = contest.args.work_dir / "check", {}
    for name in contest.args.jobs:
        job = dict(JOBS[name], vocabulary=2000)
        config, data = write_job(work / name, job, 512)
        edits = {"data_config.batch_size": 128, "train_config.num_epochs": 0,
                 "train_config.num_steps": 3}
        still = dict(edits, **{"train_config.num_steps": 1,
                               "train_config.sparse_optimizer.adagrad_optimizer.lr": 0.0,
                               "train_config.dense_optimizer.adam_optimizer.lr": 0.0})
        train = [contest.args.pepnet, "train", "--pipeline_config_path", config]
        start, export = work / name / "start", work / name / "export"
        for directory in (start, export):
            shutil.rmtree(directory, ignore_errors=True)
        # A step with rate 0 changes nothing; its export holds every initial value.
        contest.machine.run([*train, "--model_dir", start, "--edit_config_json", json.dumps(still)])
        contest.machine.run([contest.args.pepnet, "export", "--pipeline_config_path", config,
                             "--model_dir", start, "--export_dir", export])
        records = contest.pepnet(config, work / name / "model", edits=edits)
        ours = [[record[f"binary_cross_entropy_{task}"] for task in ("ctr", "cvr")]
                for record in records]
        for peer in peers:
            result = contest.peer(peer, job, data, 3, 128, export / "model.safetensors")
            if "error" in result:
                missing[peer] = result["error"]
                continue
            if peer == "fbgemm_rowwise":
                continue  # another rule
            difference = float(np.max(np.abs(np.array(result["losses"]) / np.array(ours) - 1)))
            print(f"check: job {name}, {PEERS[peer]} has pepnet's first three losses within "
                  f"{difference:.1e} (relative)", flush=True)
            if difference > 1e-4:
                sys.exit(f"the two do not train the same model: {result['losses']} against {ours}")
    shutil.rmtree(work)
    return missing


def compare_peers(contest, peers, missing):
    results = {}
    for name in contest.args.jobs:
        config, data = contest.files[name]

        def one_round():
            rates = {}
            for peer in peers:
                if peer in missing:
                    continue
                result = contest.peer(peer, JOBS[name], data, contest.args.steps)
                if "error" in result:
                    missing[peer] = result["error"]
                    continue
                measured = result["step_ms"][min(4, contest.args.steps - 1):]
                rates[peer] = 1e3 * BATCH / statistics.median(measured)
            for rule in RULES:
                edits = {"train_config.sparse_optimizer": {
                    "rowwise_adagrad_optimizer": {"lr": LR}, "constant_learning_rate": {}}}
                for kind, rate in contest.rates(
                        config, edits=edits if rule == "rowwise" else None).items():
                    rates[f"{rule}_{kind}"] = rate
            return {"rates": rates, "text": f"{name}: " + ", ".join(
                f"{who} {rate:.0f}" for who, rate in rates.items())}

        rounds = contest.machine.rounds(contest.args.rounds, one_round)
        everywhere = [who for who in rounds[0]["rates"]
                      if all(who in one["rates"] for one in rounds)]
        results[name] = {
            "rates": {who: spread([one["rates"][who] for one in rounds]) for who in everywhere},
            "ratio": {}}
        for rule, (_, rivals) in RULES.items():
            present = [peer for peer in rivals if peer in everywhere]
            for kind in KINDS if present else ():
                results[name]["ratio"][f"{rule}_{kind}"] = spread(
                    [one["rates"][f"{rule}_{kind}"] / max(one["rates"][peer] for peer in present)
                     for one in rounds])
    return results


def compare_mpi(contest):
    config, _ = contest.files["A"]
    launcher = mpirun(4)

    def one_round():
        one = contest.rates(config)["exist"]
        four = contest.rates(config, launcher=launcher, extra=["--num_servers", 2, "--threads", 1],
                             edits={"data_config.batch_size": BATCH // 2})["exist"]
        return {"one": one, "four": four,
                "text": f"A: one process {one:.0f}, 2 servers + 2 workers {four:.0f}"}

    rounds = contest.machine.rounds(contest.args.rounds, one_round)
    return {"ratio": spread([r["four"] / r["one"] for r in rounds]),
            "one": spread([r["one"] for r in rounds]), "four": spread([r["four"] for r in rounds])}


def measure_stages(contest):
    """Milliseconds of each stage and its share of the limit, by job."""
    results = {}
    for name in contest.args.jobs:
        report = contest.args.work_dir / "stages.json"
        contest.machine.wait_until_quiet()
        # One thread: the files are read beside it, on another core. Few rows are a test.
        quick = ["--quick"] if contest.args.rows < BATCH * 4 else []
        contest.machine.run([contest.args.pepnet, "bench", "sparse", contest.files[name][0],
                             "--rounds", contest.args.rounds, "--threads", 1, *quick,
                             "--json", report])
        results[name] = {row["stage"]: {"ms": row["rows exist"], "share": row["of the limit"]}
                         for row in json.loads(report.read_text())["rows"]}
    return results


def markdown(result):
    lines = [(f"Machine: {result['cpu']}, {os.cpu_count()} cores, {result['threads']} threads a "
              f"contestant. {result['rounds']} rounds in turn, {result['steps']} steps of a peer "
              f"and {2 * result['rows'] // BATCH} of pepnet a round; other programs had "
              f"{text_of(result['foreign_percent'], '{:.1f}')} % of the processors."
              + peers_note(result)), ""]
    jobs = result.get("peers", {})
    if jobs:
        lines += ["| samples/s, median [least..most] | " + " | ".join(jobs) + " |",
                  "| --- |" + " --- |" * len(jobs)]
        names = PEERS | {f"{rule}_{kind}": f"pepnet, {title}, {state}"
                         for rule, (title, _) in RULES.items() for kind, state in KINDS.items()}
        for who, title in names.items():
            lines.append(f"| {title} | " + " | ".join(
                text_of(job["rates"][who]) if who in job["rates"] else "not to be had"
                for job in jobs.values()) + " |")
        for rule, (title, _) in RULES.items():
            for kind, state in KINDS.items():
                cells = [text_of(job["ratio"][f"{rule}_{kind}"], "{:.2f}")
                         if f"{rule}_{kind}" in job["ratio"] else "-" for job in jobs.values()]
                lines.append(f"| **against the best peer with {title}, {state}** | "
                             + " | ".join(cells) + " |")
        for kind, state in KINDS.items():
            lines.append(f"| target, {state} | "
                         + " | ".join(str(TARGETS[kind][name]) for name in jobs) + " |")
        lines.append("")
    stages = result.get("stages", {})
    if stages:
        lines += ["| ms of a step with rows on one core, rows exist (share of the limit) | "
                  + " | ".join(stages) + " |", "| --- |" + " --- |" * len(stages)]
        for stage in next(iter(stages.values())):
            cells = [f"{job[stage]['ms']['median']:.1f}"
                     + (f" ({job[stage]['share']:.0f} %)" if job[stage]["share"] != "-" else "")
                     for job in stages.values()]
            lines.append(f"| {stage} | " + " | ".join(cells) + " |")
        lines.append("")
    for peer, reason in result["missing"].items():
        lines += [f"{PEERS[peer]} could not be had: {reason}", ""]
    if "mpi" in result:
        mpi = result["mpi"]
        lines += [("Job A with 2 servers and 2 workers of one thread against one process: "
                   f"{text_of(mpi['ratio'], '{:.2f}')} ({text_of(mpi['four'])} against "
                   f"{text_of(mpi['one'])} samples/s), target 0.90."), ""]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pepnet", type=pathlib.Path, default=ROOT / "build/release/pepnet")
    parser.add_argument("--work_dir", type=pathlib.Path, default=ROOT / "runs/bench/sparse")
    parser.add_argument("--jobs", default=",".join(JOBS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=65536)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=0, help="of each contestant; 0: all cores")
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--max_foreign_percent", type=float, default=10)
    parser.add_argument("--quiet_wait_s", type=float, default=0)
    parser.add_argument("--docs", type=pathlib.Path)
    parser.add_argument("--peers_avx512", action="store_true",
                        help="give the peers AVX-512 matrix products, too")
    for hidden in ("--peer", "--job", "--data", "--weights"):  # of a peer's own process
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--batch_size", type=int, default=BATCH, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        return run_peer(args)
    args.jobs = args.jobs.split(",")
    peers, parts = [peer for peer in args.peers.split(",") if peer], args.parts.split(",")
    for given, known in ((args.jobs, JOBS), (peers, PEERS), (parts, PARTS)):
        for word in given:
            if word not in known:
                sys.exit(f"unknown word '{word}'; known: {', '.join(known)}")
    if not args.pepnet.exists():
        sys.exit(f"there is no {args.pepnet}; run scripts/build.sh first")
    if "mpi" in parts and "A" not in args.jobs:
        sys.exit("part mpi measures job A; add it to --jobs")
    if args.peers_avx512:
        give_peers_avx512(args.work_dir)
    contest = Contest(args)
    cpu = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text())
    result = {"what": "sparse", "cpu": cpu.group(1) if cpu else "unknown",
              "threads": args.threads or os.cpu_count(), "rounds": args.rounds,
              "steps": args.steps, "rows": args.rows,
              "peers_avx512": args.peers_avx512, "missing": {}}
    if "check" in parts:
        result["missing"] = check(contest, peers)
    contest.machine.foreign.clear()  # what follows is timed
    if "peers" in parts:
        result["peers"] = compare_peers(contest, peers, result["missing"])
    if "mpi" in parts:
        result["mpi"] = compare_mpi(contest)
    if "stages" in parts:
        result["stages"] = measure_stages(contest)
    result["foreign_percent"] = (contest.machine.foreign_spread() if contest.machine.foreign
                                 else spread([0.0]))
    text = markdown(result)
    (args.work_dir / "sparse.json").write_text(json.dumps(result, indent=1) + "\n")
    (args.work_dir / "sparse.md").write_text(text)
    print("\n" + text)
    if args.docs:
        put_into(args.docs, "sparse", text)
    return None


if __name__ == "__main__":
    main()
