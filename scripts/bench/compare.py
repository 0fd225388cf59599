#!/usr/bin/env python3
"""pepnet against PyTorch, torch.compile and TorchRec on one machine, in turn. Started by
scripts/bench/compare.sh.

Usage: compare.py --data_dir D [--pepnet build/release/pepnet] [--work_dir runs/bench] [--rounds 5]
                  [--steps 10] [--threads 0] [--variants routed,no_weights,every_row]
                  [--parts check,peers,mpi,start,reader,limits]
                  [--max_foreign_percent 10] [--quiet_wait_s 0] [--docs docs/performance.md]
                  [--peers_avx512]

Parts:
  check    all start from the same weights, without dropout: their first three losses must agree
           (1e-4)
  peers    training steps of one process on all cores, A B C D A B C D ..., for each variant of the
           config:
             routed      as it stands: cvr trains on clicked rows, a row trains its own domain's
                         towers
             no_weights  without task-space weights: only domain routing is left
             every_row   without domain towers too: every row is needed everywhere
           Ratios are taken within a round, where what else the machine does meets all contestants
           alike.
  mpi      mpirun with 2 servers and 2 workers of one thread, same global batch, against one process
  start    from the start of the process to the end of its first step
  reader   processor time of decoding as a share of the training time
  limits   `pepnet bench` of every part of the system beside the machine's limits
The peers' rows are decoded before their clock starts; pepnet's figure contains reading. --docs puts
the tables between the marks <!-- compare --> ... <!-- /compare --> and <!-- limits --> ... <!--
/limits --> of a page. --peers_avx512 gives the peers AVX-512 matrix products, which libtorch's MKL
takes on Intel's processors alone.
"""
import argparse
import json
import os
import pathlib
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq

from support import EXAMPLE, ROOT, give_peers_avx512, mpirun, peers_note

PEERS = pathlib.Path(__file__).with_name("peers.py")
CONTESTANTS = {"eager": "eager PyTorch", "compile": "torch.compile",
               "torchrec": "TorchRec + FBGEMM", "pepnet": "pepnet"}
VARIANTS = {"routed": "example config", "no_weights": "no task-space weights",
            "every_row": "every row everywhere"}
TASK_SPACE = (r"^\s*(#.*clicked rows alone.*|task_space_indicator_label.*"
              r"|(in|out)_task_space_weight.*)\n")
DOMAINS = r"^\s*(domain_input_name|task_domain_num).*\n"
PARTS = ("check", "peers", "mpi", "start", "reader", "limits")
# Parts that make the first table; limits make the second.
COMPARED = ("peers", "mpi", "start", "reader")


# ---- running ----


def cpu_ticks():
    """Busy processor seconds of the whole machine."""
    fields = [int(x) for x in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def child_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class Machine:
    """Runs commands one after the other and notes what share of the processors other programs had
    meanwhile."""

    def __init__(self, args):
        self.max_foreign, self.quiet_wait_s = args.max_foreign_percent / 100, args.quiet_wait_s
        self.foreign = []   # of every run whose figure counts
        self.repeated = 0   # rounds that did not

    def wait_until_quiet(self):
        end = time.monotonic() + self.quiet_wait_s
        while time.monotonic() < end:
            busy = cpu_ticks()
            time.sleep(2)
            if cpu_ticks() - busy < self.max_foreign * 2 * os.cpu_count():
                return

    def rounds(self, count, body):
        """`count` results of body(); those of disturbed rounds are thrown away while there is
        patience (2 * count)."""
        results = []
        while len(results) < count:
            self.wait_until_quiet()
            before = len(self.foreign)
            result = body()
            disturbed = max(self.foreign[before:]) > self.max_foreign
            print(f"round {len(results) + 1}{' (disturbed)' if disturbed else ''}: "
                  f"{result['text']}", flush=True)
            if disturbed and self.repeated < 2 * count:
                self.repeated += 1
                del self.foreign[before:]
            else:
                results.append(result)
        return results

    def run(self, command, check=True):
        busy, own, start = cpu_ticks(), child_seconds(), time.monotonic()
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        wall = time.monotonic() - start
        share = (cpu_ticks() - busy - (child_seconds() - own)) / (wall * os.cpu_count())
        self.foreign.append(max(0.0, share))
        if done.returncode != 0 and check:
            sys.exit(f"{' '.join(map(str, command))}\nended with status {done.returncode}:\n"
                     f"{done.stderr[-3000:]}")
        return done

    def foreign_spread(self):
        return spread([100 * share for share in self.foreign])


def spread(values):
    return {"median": statistics.median(values), "least": min(values), "most": max(values),
            "n": len(values)}


def write_variant(variant, path):
    text = EXAMPLE.read_text()
    if variant != "routed":
        text, changes = re.subn(TASK_SPACE, "", text, flags=re.MULTILINE)
        assert changes >= 3, "the config has no task-space weights to remove"
    if variant == "every_row":
        text, changes = re.subn(DOMAINS, "", text, flags=re.MULTILINE)
        assert changes == 2, "the config has no domain towers to remove"
    path.write_text(text)
    return path


class Bench:
    def __init__(self, args):
        self.args = args
        self.machine = Machine(args)
        self.configs = {v: write_variant(v, args.work_dir / f"{v}.config") for v in VARIANTS}
        self.inputs = ["--train_input_path", args.data_dir / "train-*.parquet"]

    def pepnet_bench(self, variant, launcher=(), batch=None, extra=()):
        report = self.args.work_dir / "report.json"
        if self.args.threads and not launcher:
            extra = [*extra, "--threads", self.args.threads]
        self.machine.run([*launcher, self.args.pepnet, "bench", "train",
                          "--pipeline_config_path", self.configs[variant], *self.inputs,
                          "--scratch_dir", self.args.work_dir / "bench_model",
                          "--steps", self.args.steps, "--warmup_steps", self.args.warmup_steps,
                          "--batch_sizes", batch or self.args.batch_size, "--json", report, *extra])
        return json.loads(report.read_text())

    def peer(self, name, variant, extra=(), check=True):
        done = self.machine.run([sys.executable, PEERS, "--peer", name, "--variant", variant,
                                 "--data_dir", self.args.data_dir, "--steps", self.args.steps,
                                 "--warmup_steps", self.args.warmup_steps,
                                 "--batch_size", self.args.batch_size,
                                 "--threads", self.args.threads, *extra], check)
        if done.returncode != 0:
            return {"error": (done.stderr.strip().splitlines()
                              or [f"status {done.returncode}"])[-1]}
        return json.loads(done.stdout.strip().splitlines()[-1])


# ---- the parts ----


def check(bench, peers):
    """The same start, no dropout: the losses of three steps. Returns those of each contestant and
    who could not run."""
    work, train = bench.args.work_dir, [bench.args.pepnet, "train"]
    edits = {"train_config.num_epochs": 0, "train_config.num_steps": 3,
             "train_config.log_step_count_steps": 1,
             "model_config.pepnet.ppnet_dropout_ratio": [0.0],
             "data_config.batch_size": bench.args.batch_size,
             "train_config.save_checkpoints_steps": 1000000}
    still = dict(edits, **{"train_config.num_steps": 1,
                           "train_config.sparse_optimizer.adagrad_optimizer.lr": 0.0,
                           "train_config.dense_optimizer.adam_optimizer.lr": 0.0})
    common = ["--pipeline_config_path", bench.configs["routed"]]
    for directory in ("start", "export", "same_start"):
        shutil.rmtree(work / directory, ignore_errors=True)
    # A step with rate 0 changes nothing; its export holds every initial value.
    bench.machine.run([*train, *common, *bench.inputs,
                       "--eval_input_path", bench.args.data_dir / "test-*.parquet",
                       "--model_dir", work / "start", "--edit_config_json", json.dumps(still)])
    bench.machine.run([bench.args.pepnet, "export", *common, "--model_dir", work / "start",
                       "--export_dir", work / "export"])
    weights = work / "export/model.safetensors"
    bench.machine.run([bench.args.pepnet, "import", *common, "--weights", weights,
                       "--model_dir", work / "same_start"])
    bench.machine.run([*train, *common, *bench.inputs,
                       "--eval_input_path", bench.args.data_dir / "test-*.parquet",
                       "--model_dir", work / "same_start", "--continue_train",
                       "--edit_config_json", json.dumps(edits)])
    lines = (work / "same_start/metrics.jsonl").read_text().splitlines()
    ours = [[json.loads(line)[f"binary_cross_entropy_{task}"] for task in ("ctr", "cvr")]
            for line in lines]
    losses, missing = {"pepnet": ours}, {}
    for name in peers:
        result = bench.peer(name, "routed", ["--weights", weights, "--dropout", "0"], check=False)
        if "error" in result:
            missing[name] = result["error"]
            continue
        losses[name] = result["first_losses"]
        difference = float(np.max(np.abs(np.array(losses[name]) / np.array(ours) - 1)))
        print(f"check: {CONTESTANTS[name]} has pepnet's first three losses within "
              f"{difference:.1e} (relative)", flush=True)
        if difference > 1e-4:
            sys.exit(f"the two do not train the same model: {losses[name]} against {ours}")
    for directory in ("start", "export", "same_start"):
        shutil.rmtree(work / directory)
    return {"first_losses": losses, "missing": missing}


def one_round(bench, variant, peers, missing):
    rates, core = {}, {}
    for name in peers:
        if name in missing:
            continue
        result = bench.peer(name, variant, check=False)
        if "error" in result:
            missing[name] = result["error"]
        else:
            rates[name], core[name] = (result["samples_per_second"],
                                       result["samples_per_processor_second"])
    row = bench.pepnet_bench(variant)["rows"][0]
    rates["pepnet"], core["pepnet"] = row["speed"], row["speed of a core"]
    text = f"{variant}: " + ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
    return {"rates": rates, "core": core, "peak_share": row["of peak"], "read": row["read"],
            "text": text}


def compare_peers(bench, variants, peers, missing):
    results = {}
    for variant in variants:
        rounds = bench.machine.rounds(bench.args.rounds,
                                      lambda: one_round(bench, variant, peers, missing))
        names = [name for name in CONTESTANTS if all(name in one["rates"] for one in rounds)]
        results[variant] = {"rounds": rounds}
        for kind, rate, ratio in (("rates", "rate", "ratio"), ("core", "core_rate", "core_ratio")):
            quotients = {name: [one[kind]["pepnet"] / one[kind][name] for one in rounds]
                         for name in names if name != "pepnet"}
            if quotients:
                quotients["best"] = [min(values) for values in zip(*quotients.values())]
            results[variant][rate] = {name: spread([one[kind][name] for one in rounds])
                                      for name in names}
            results[variant][ratio] = {name: spread(values) for name, values in quotients.items()}
        results[variant] |= {
            "peak_share": spread([one["peak_share"] for one in rounds]),
            "read_stage": spread([one["read"] for one in rounds])}
    return results


def compare_mpi(bench):
    launcher = mpirun(4)

    def body():
        one = bench.pepnet_bench("routed")["rows"][0]["speed"]
        row = bench.pepnet_bench("routed", launcher, bench.args.batch_size // 2,
                                 ["--num_servers", 2, "--threads", 1])["rows"][0]
        return {"one_process": one, "mpirun": row["speed"], "stages": row,
                "text": f"one process {one:.0f}, 2 servers + 2 workers {row['speed']:.0f}"}

    rounds = bench.machine.rounds(bench.args.rounds, body)
    return {"rounds": rounds, "ratio": spread([r["mpirun"] / r["one_process"] for r in rounds]),
            "one_process": spread([r["one_process"] for r in rounds]),
            "mpirun": spread([r["mpirun"] for r in rounds])}


def measure_start(bench):
    """Wall time from exec to the log line of step 1."""
    seconds = []
    edits = json.dumps({"train_config.num_epochs": 0, "train_config.num_steps": 2,
                        "train_config.log_step_count_steps": 1,
                        "data_config.batch_size": bench.args.batch_size})
    model = bench.args.work_dir / "start_model"
    for number in range(bench.args.rounds + 1):
        shutil.rmtree(model, ignore_errors=True)
        start = time.monotonic()
        process = subprocess.Popen(
            [str(w) for w in [bench.args.pepnet, "train",
                              "--pipeline_config_path", bench.configs["routed"], *bench.inputs,
                              "--eval_input_path", bench.args.data_dir / "test-*.parquet",
                              "--model_dir", model, "--edit_config_json", edits]],
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        for line in process.stderr:
            if re.search(r"\bstep 1/2 ", line):
                if number > 0:  # the first one warms up
                    seconds.append(time.monotonic() - start)
                break
        process.stderr.read()
        if process.wait() != 0:
            sys.exit("pepnet train failed while its start was measured")
    shutil.rmtree(model, ignore_errors=True)
    return spread(seconds)


def measure_reader(bench, rate):
    """Decoding's processor seconds a row as a share of the processors' time that training gives a
    row."""
    def share(pattern, edits):
        report = bench.args.work_dir / "report.json"
        bench.machine.run([bench.args.pepnet, "bench", "reader",
                           "--pipeline_config_path", bench.configs["routed"],
                           "--train_input_path", pattern, "--num_workers", 1, "--rounds", 3,
                           "--json", report,
                           *(["--edit_config_json", json.dumps(edits)] if edits else [])])
        row = json.loads(report.read_text())["rows"][0]
        return {"million_rows_per_core": row["per core"]["median"],
                "of_arrow": row["of Arrow alone"],
                "share": rate / (1e6 * row["per core"]["median"] * os.cpu_count())}
    result = {"parquet": share(bench.args.data_dir / "train-00000.parquet", None)}
    csv = bench.args.work_dir / "reader.csv"
    import pyarrow.csv
    pyarrow.csv.write_csv(pq.read_table(bench.args.data_dir / "train-00000.parquet"), csv)
    result["csv"] = share(csv, {"data_config.dataset_type": "CsvDataset",
                                "data_config.with_header": True})
    csv.unlink()
    return result


# The benchmarks to run, and the columns with a figure and its share of a limit.
LIMITS = [
    (["dense", "--batch_sizes", "1024,8192"], [("speed", "of peak", "matrix peak")]),
    (["table", "--rows", "1000000,10000000,20000000"],
     [("pull", "of random reads", "random row reads"),
      ("push", "of random updates", "random row updates"), ("memory", None, "")]),
    (["service", "--rows", "1000000,10000000,20000000"],
     [("pull", "of random reads", "random row reads"), ("pull x2", None, ""),
      ("push", "of random updates", "random row updates")]),
    (["allreduce", "--floats", "16384,262144,2674694"],
     [("bus rate", "of memory bandwidth", "memory bandwidth, one thread")]),
    (["reader", "--num_workers", "1"], [("per core", "of Arrow alone", "Arrow alone")]),
    (["checkpoint", "--rows", "1000000,10000000"],
     [("save", "of disk", "sequential disk write"), ("load", None, "")])]


def measure_limits(bench):
    """One row per benchmark, size and figure."""
    work, lines = bench.args.work_dir, []
    for command, figures in LIMITS:
        what, report = command[0], work / f"bench_{command[0]}.json"
        launcher = mpirun(2, core_each=True) if what in ("service", "allreduce") else []
        more = {"dense": ["--pipeline_config_path", bench.configs["routed"]],
                "checkpoint": ["--directory", work],
                "reader": ["--pipeline_config_path", bench.configs["routed"],
                           *bench.inputs]}.get(what, [])
        bench.machine.wait_until_quiet()
        bench.machine.run([*launcher, bench.args.pepnet, "bench", *command, *more,
                           "--rounds", bench.args.rounds, "--json", report])
        result = json.loads(report.read_text())
        units = {column["name"]: column["unit"] for column in result["columns"]}
        size = result["columns"][0]
        for row in result["rows"]:
            for figure, share, limit in figures:
                lines.append({"what": what + (", MPI" if launcher else ""),
                              "size": f"{row[size['name']]:.0f} {size['unit']}",
                              "engine": row.get("engine", ""), "figure": figure,
                              "value": row[figure], "unit": units[figure],
                              "share": row[share] if share else None, "limit": limit})
        print(f"bench {what} done", flush=True)
    return lines


# ---- the tables ----


def text_of(s, form="{:.0f}"):
    return f"{form.format(s['median'])} [{form.format(s['least'])}..{form.format(s['most'])}]"


def markdown(result):
    lines = [f"Machine: {result['machine']['cpu']}, {result['machine']['cores']} cores, "
             f"{result['threads']} threads a contestant. Batch {result['batch_size']}, "
             f"{result['steps']} steps a run, {result['rounds']} rounds in turn, "
             f"click rate {100 * result['click_rate']:.2f} %. "
             f"Other programs had {text_of(result['foreign_percent'], '{:.1f}')} % of the "
             f"processors during the runs that count; {result['repeated']} rounds were repeated "
             "because they had more." + peers_note(result), ""]
    if "peers" in result:
        heads = (" | ".join(VARIANTS[v] for v in result["peers"]) + " |\n| --- |"
                 + " --- |" * len(result["peers"]))
        kinds = [("samples/s, median [least..most]", "rate",
                  "pepnet against, ratio within a round", "ratio")]
        if result["threads"] == 1:  # threads that spin while they wait would count
            kinds.append(("samples/s of processor time", "core_rate",
                          "pepnet against, by processor time", "core_ratio"))
        for title, rate, ratio_title, ratio in kinds:
            lines.append(f"| {title} | {heads}")
            for name, contestant in CONTESTANTS.items():
                cells = [text_of(r[rate][name]) if name in r[rate] else "not to be had"
                         for r in result["peers"].values()]
                lines.append(f"| {contestant} | " + " | ".join(cells) + " |")
            lines += ["", f"| {ratio_title} | {heads}"]
            for name, contestant in [*list(CONTESTANTS.items())[:-1],
                                     ("best", "**the best of them in each round**")]:
                cells = [text_of(r[ratio][name], "{:.2f}") if name in r[ratio] else "-"
                         for r in result["peers"].values()]
                lines.append(f"| {contestant} | " + " | ".join(cells) + " |")
            lines.append("")
        lines.pop()
        cells = [text_of(r["peak_share"], "{:.0f}") + " %" for r in result["peers"].values()]
        lines += [f"| share of the matrix peak (products really needed) | " + " | ".join(cells)
                  + " |", ""]
    for name, reason in result.get("missing", {}).items():
        lines += [f"{CONTESTANTS[name]} could not be had: {reason}", ""]
    if any(part in result for part in ("mpi", "start", "reader")):
        lines += ["| also | measured |", "| --- | --- |"]
    if "mpi" in result:
        mpi = result["mpi"]
        lines.append("| 2 servers + 2 workers of one thread against one process | "
                     f"{text_of(mpi['ratio'], '{:.2f}')} ({text_of(mpi['mpirun'])} "
                     f"against {text_of(mpi['one_process'])} samples/s) |")
    if "start" in result:
        lines.append("| start of the program to the end of its first step | "
                     f"{text_of(result['start'], '{:.2f}')} s |")
    for kind, name in (("parquet", "Parquet"), ("csv", "CSV")):
        if "reader" in result:
            one = result["reader"][kind]
            lines.append(f"| decoding {name} | {one['million_rows_per_core']:.2f} million rows/s a "
                         f"core, {100 * one['share']:.1f} % of the training time, "
                         f"{one['of_arrow']:.0f} % of Arrow alone |")
    return "\n".join(lines) + "\n"


def limits_markdown(result):
    lines = ["| part | size | figure | median [least..most] | share of the limit | limit |",
             "| --- | --- | --- | --- | --- | --- |"]
    for one in result["limits"]:
        value, share = one["value"], one["share"]
        form = "{:.0f}" if one["unit"] in ("samples/s", "MB/s", "bytes/row") else "{:.2f}"
        text = text_of(value, form) if isinstance(value, dict) else form.format(value)
        share = share["median"] if isinstance(share, dict) else share
        name = " ".join(
            word for word in (one["what"], f"({one['engine']})" if one["engine"] else "") if word)
        lines.append(f"| {name} | {one['size']} | {one['figure']} | {text} {one['unit']} | "
                     f"{'' if share is None else f'{share:.0f} %'} | {one['limit']} |")
    return "\n".join(lines) + "\n"


def put_into(page, mark, text):
    """Replaces what stands between <!-- mark --> and <!-- /mark -->."""
    pattern = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", re.DOTALL)
    old = page.read_text()
    if not pattern.search(old):
        sys.exit(f"{page} has no <!-- {mark} --> ... <!-- /{mark} -->")
    page.write_text(pattern.sub(lambda found: f"{found[1]}\n{text}\n{found[2]}", old))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pepnet", type=pathlib.Path, default=ROOT / "build/release/pepnet")
    parser.add_argument("--data_dir", type=pathlib.Path, required=True)
    parser.add_argument("--work_dir", type=pathlib.Path, default=ROOT / "runs/bench")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warmup_steps", type=int, default=2)
    parser.add_argument("--batch_size", type=int, default=8192)
    parser.add_argument("--threads", type=int, default=0, help="of each contestant; 0: all cores")
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--peers", default="eager,compile,torchrec")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--max_foreign_percent", type=float, default=10,
                        help="a round in which other programs had more of the processors is "
                             "repeated, up to twice as often")
    parser.add_argument("--docs", type=pathlib.Path, help="page to put the tables into")
    parser.add_argument("--peers_avx512", action="store_true",
                        help="give the peers AVX-512 matrix products, too")
    parser.add_argument("--quiet_wait_s", type=float, default=0,
                        help="before a round: wait so long for other programs to rest")
    args = parser.parse_args()
    parts, peers = args.parts.split(","), [name for name in args.peers.split(",") if name]
    variants = args.variants.split(",")
    for given, known in ((variants, VARIANTS), (peers, CONTESTANTS), (parts, PARTS)):
        for word in given:
            if word not in known:
                sys.exit(f"unknown word '{word}'; known: {', '.join(known)}")
    if not args.pepnet.exists():
        sys.exit(f"there is no {args.pepnet}; run scripts/build.sh first")
    args.work_dir.mkdir(parents=True, exist_ok=True)
    if args.peers_avx512:
        give_peers_avx512(args.work_dir)
    bench = Bench(args)
    files = sorted(args.data_dir.glob("train-*.parquet"))
    clicks = [pq.read_table(path, columns=["clk"])["clk"].to_numpy() for path in files]
    cpu = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text())
    result = {"machine": {"cpu": cpu.group(1) if cpu else "unknown", "cores": os.cpu_count()},
              "batch_size": args.batch_size, "threads": args.threads or os.cpu_count(),
              "steps": args.steps, "rounds": args.rounds, "peers_avx512": args.peers_avx512,
              "click_rate": float(np.concatenate(clicks).mean()), "missing": {}}
    if "check" in parts:
        result.update(check(bench, peers))
    bench.machine.foreign.clear()  # what follows is timed
    if "peers" in parts:
        result["peers"] = compare_peers(bench, variants, peers, result["missing"])
    if "mpi" in parts:
        result["mpi"] = compare_mpi(bench)
    if "start" in parts:
        result["start"] = measure_start(bench)
    if "reader" in parts:
        rate = (result["peers"]["routed"]["rate"]["pepnet"]["median"]
                if "routed" in result.get("peers", {})
                else bench.pepnet_bench("routed")["rows"][0]["speed"])
        result["reader"] = measure_reader(bench, rate)
    if "limits" in parts:
        result["limits"] = measure_limits(bench)
    result["repeated"] = bench.machine.repeated
    result["foreign_percent"] = bench.machine.foreign_spread()
    tables = {}  # a table whose parts did not run stays as it is
    if any(part in result for part in COMPARED):
        tables["compare"] = markdown(result)
    if "limits" in result:
        tables["limits"] = limits_markdown(result)
    for mark, text in tables.items():
        (args.work_dir / f"{mark}.json").write_text(json.dumps(result, indent=1) + "\n")
        (args.work_dir / f"{mark}.md").write_text(text)
        print("\n" + text)
        if args.docs:
            put_into(args.docs, mark, text)


if __name__ == "__main__":
    main()
