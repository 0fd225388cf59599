"""The engine of scripts/dev/torture.sh (which see). Needs nothing beyond Python's standard
library."""

import argparse
import collections
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HANG_S = 120  # a job that outlasts this is a hang
POINTS = ["before_write", "mid_write", "after_write", "before_fsync", "after_fsync",
          "before_rename", "after_rename"]

CONFIG = """
train_input_path: "%(dir)s/train-*.csv"
eval_input_path: "%(dir)s/train-*.csv"
model_dir: "%(dir)s/model"
train_config {
  sparse_optimizer { %(sparse)s constant_learning_rate {} }
  dense_optimizer { %(dense)s constant_learning_rate {} }
  num_epochs: %(epochs)d
  save_checkpoints_steps: %(cadence)d
  keep_checkpoint_max: %(keep)d
  gradient_accumulation_steps: %(window)d
}
data_config {
  batch_size: %(batch)d
  dataset_type: CsvDataset
  with_header: true
  fg_mode: FG_DAG
  label_fields: ["clk", "buy"]
  num_workers: 1
  shuffle: %(shuffle)s
  shuffle_buffer_size: 4
}
feature_configs {
  id_feature { feature_name: "uid" expression: "user:uid" num_buckets: 60 embedding_dim: 4 } }
feature_configs {
  id_feature { feature_name: "iid" expression: "item:iid" num_buckets: 50 embedding_dim: 4 } }
feature_configs {
  id_feature { feature_name: "dom" expression: "context:dom" num_buckets: 3 embedding_dim: 4 } }
feature_configs { raw_feature { feature_name: "price" expression: "item:price" } }
model_config {
  feature_groups { group_name: "all" feature_names: ["uid", "iid", "price"] group_type: DEEP }
  feature_groups { group_name: "domain" feature_names: ["dom"] group_type: DEEP }
  feature_groups { group_name: "uia" feature_names: ["uid", "iid"] group_type: DEEP }
  pepnet {
    epnet_hidden_unit: 8
    ppnet_hidden_units: [8, 4]
    ppnet_dropout_ratio: 0.1
    task_towers { tower_name: "ctr" label_name: "clk" mlp { hidden_units: [8] } metrics { auc {} }
      losses { binary_cross_entropy {} } }
    task_towers { tower_name: "cvr" label_name: "buy" mlp { hidden_units: [6] } metrics { auc {} }
      losses { binary_cross_entropy {} } }
  }
}
"""


class Job:
    """One drawn job in its own directory: rows, config, and how its processes are started."""

    def __init__(self, draw, build, directory):
        self.build, self.directory = build, directory
        self.one_process = draw.random() < 0.6
        self.servers = draw.randint(1, 3)
        self.workers = 1 if self.one_process else draw.randint(1, 3)
        self.colocated = not self.one_process and draw.random() < 0.4
        if self.colocated:
            self.servers = self.workers = draw.randint(2, 3)
        self.ranks = (1 if self.one_process
                      else self.workers if self.colocated else self.servers + self.workers)
        self.batch = draw.choice([3, 4, 8])
        rows = draw.randint(150, 260)
        self.steps_per_epoch = -(-rows // (self.batch * self.workers))
        epochs = max(2, -(-200 // self.steps_per_epoch))
        self.steps = self.steps_per_epoch * epochs
        self.cadence = draw.choice([7, 15, 31])
        self.text = CONFIG % dict(
            dir=directory, batch=self.batch, epochs=epochs, cadence=self.cadence,
            keep=draw.choice([2, 10]), window=draw.choice([1, 1, 3]),
            shuffle=draw.choice(["true", "false"]),
            sparse=draw.choice(["sgd_optimizer { lr: 0.1 }", "adagrad_optimizer { lr: 0.05 }",
                                "adam_optimizer { lr: 0.005 }"]),
            dense=draw.choice(["adam_optimizer { lr: 0.002 }",
                               "sgd_optimizer { lr: 0.02 momentum: 0.5 }"]))
        with open(f"{directory}/job.config", "w") as out:
            out.write(self.text)
        for file in range(2):
            with open(f"{directory}/train-{file}.csv", "w") as out:
                out.write("clk,buy,uid,iid,dom,price\n")
                for _ in range(rows // 2 if file == 0 else rows - rows // 2):
                    clk = int(draw.random() < 0.3)
                    out.write(f"{clk},{clk & int(draw.random() < 0.4)},{draw.randrange(60)},"
                              f"{draw.randrange(50)},{draw.randrange(3)},{draw.random():.4f}\n")

    def command(self, model_dir, *extra):
        pepnet = [f"{self.build}/pepnet", "train",
                  "--pipeline_config_path", f"{self.directory}/job.config", "--threads=1",
                  "--seed=5", f"--num_servers={self.servers}", "--model_dir", model_dir, *extra]
        if self.colocated:
            pepnet.append("--placement=colocated")
        if self.one_process:
            return pepnet
        return ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(self.ranks), *pepnet]

    def describe(self):
        kind = "one process" if self.one_process else "colocated" if self.colocated else "mpirun"
        return (f"{kind}, {self.workers} worker(s), {self.servers} server(s), batch {self.batch}, "
                f"{self.steps} steps, save every {self.cadence}")


def environment():
    return dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")


def start(command, log):
    return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                            env=environment(), start_new_session=True)


def family(pid):
    """pid and all its descendants: ranks lie in process groups of their own."""
    children = collections.defaultdict(list)
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as stat:
                    children[int(stat.read().rsplit(")", 1)[1].split()[1])].append(int(entry))
            except OSError:
                continue  # it has just ended
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo += children[found[-1]]
    return found


def rank_of(pid):
    try:
        with open(f"/proc/{pid}/environ", "rb") as text:
            match = re.search(rb"(?:^|\0)OMPI_COMM_WORLD_RANK=(\d+)", text.read())
        with open(f"/proc/{pid}/comm") as comm:
            return int(match.group(1)) if match and comm.read().strip() == "pepnet" else None
    except OSError:
        return None


def kill(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it was faster


def wait(process):
    """The exit status; None after HANG_S seconds (all its processes are killed then)."""
    try:
        return process.wait(timeout=HANG_S)
    except subprocess.TimeoutExpired:
        kill(family(process.pid))
        process.wait()
        return None


def newest(model_dir):
    names = os.listdir(model_dir) if os.path.isdir(model_dir) else []
    steps = [int(name[11:]) for name in names if re.fullmatch(r"model\.ckpt-\d+", name)]
    return max(steps, default=-1)


class Tally:
    def __init__(self):
        self.kills = collections.Counter()
        self.missed = self.wrong = self.hangs = self.failures = self.otherwise = 0


def disturb(draw, job, model_dir, log, tally, undisturbed_s):
    """One killed run. Returns True if the kill came before the job's end."""
    resume = ["--continue_train"]
    def role(rank):
        if job.colocated:
            return "rank 0 (colocated)" if rank == 0 else "colocated rank"
        return "rank 0 (worker)" if rank == 0 else "worker" if rank < job.workers else "server"

    victim = draw.randrange(job.ranks)
    who = "one process" if job.one_process else role(victim)
    way = draw.choice(["time", "point", "step"] if job.one_process
                      else ["time", "point", "step", "whole job"])
    if way in ("time", "whole job"):
        process = start(job.command(model_dir, *resume), log)
        delay = draw.uniform(0.2, 0.8) * undisturbed_s
        try:
            process.wait(timeout=delay)
        except subprocess.TimeoutExpired:
            pids = family(process.pid)
            if not job.one_process and way == "time":
                pids = [pid for pid in pids if rank_of(pid) == victim]
            elif way == "whole job":
                who = "whole job"
            kill(pids)
        status = wait(process)
        kind = f"{who}, random time"
    else:
        if way == "point":
            point = draw.choice(POINTS)
            # A server writes its tables, rank 0 everything else; another worker writes nothing.
            writers = range(1, job.ranks) if job.colocated else range(job.workers, job.ranks)
            rank = 0 if job.one_process else draw.choice([0, *writers])
            who = who if job.one_process else role(rank)
            most = 4 if "rename" in point else 15 if "write" in point else 25
            fault = f"kill:rank={rank},point={point},nth={draw.randint(1, most)}"
            kind = f"{who}, {point}"
        else:
            step = max(0, newest(model_dir)) + draw.randint(1, job.cadence + 5)
            fault = f"kill:rank={victim},step={step}"
            kind = f"{who}, in a step"
        process = start(job.command(model_dir, *resume, "--inject", fault), log)
        status = wait(process)
    if status is None:
        tally.hangs += 1
        print(f"  HANG: {kind}", flush=True)
        return True
    if status == 0:
        tally.missed += 1  # the job was done before the kill
        return False
    tally.kills[kind] += 1
    # For example a rank that reported the loss before mpirun did.
    tally.otherwise += status not in (137, -signal.SIGKILL)
    return True


def one_round(number, draw, build, tally, stop_at):
    directory = tempfile.mkdtemp(prefix="pepnet-torture-")
    try:
        job = Job(draw, build, directory)
        print(f"round {number}: {job.describe()}", flush=True)
        with open(f"{directory}/log", "w+") as log:
            begin = time.time()
            expected = f"{directory}/undisturbed"
            if wait(start(job.command(expected), log)) != 0:
                log.seek(0)
                print("".join(log.readlines()[-20:]), flush=True)
                tally.failures += 1
                return
            took = time.time() - begin
            with open(f"{expected}/train_eval_result.txt") as lines:
                last = [line.split(",", 1)[1] for line in lines.readlines()[-2:]]
            if last[0] == last[1]:
                tally.failures += 1  # a run that learns nothing would equal any other
                print("  the undisturbed run has stopped learning", flush=True)
                return
            model_dir = f"{directory}/killed"
            kills, wanted, killed = 0, draw.randint(12, 20), True
            while killed and kills < wanted and time.time() < stop_at:
                killed = disturb(draw, job, model_dir, log, tally, took)
                kills += killed
            status = wait(start(job.command(model_dir, "--continue_train"), log)) if killed else 0
            name = f"model.ckpt-{job.steps}"
            if status != 0:
                tally.hangs += status is None
                tally.failures += status is not None
                print(f"  the last resume ended with status {status}", flush=True)
            else:
                diff = subprocess.run([f"{build}/pepnet", "inspect", f"{expected}/{name}",
                                       "--diff", f"{model_dir}/{name}"],
                                      capture_output=True, text=True, timeout=HANG_S)
                with (open(f"{expected}/train_eval_result.txt") as a,
                      open(f"{model_dir}/train_eval_result.txt") as b):
                    same_log = a.read() == b.read()
                if diff.stdout.split("\n")[-3:-2] != ["equal"] or not same_log:
                    tally.wrong += 1
                    results = "equal" if same_log else "differs"
                    print(f"  WRONG RESTORE: train_eval_result.txt {results}\n"
                          f"{diff.stdout}{diff.stderr}", flush=True)
                    status = 1
                else:
                    print(f"  {kills} kills, then bit for bit the undisturbed run", flush=True)
            if status != 0:
                kept = f"{directory}-kept"
                log.flush()
                shutil.copytree(directory, kept)
                print(f"  everything is kept in {kept}", flush=True)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--seed", type=int, required=True)
    flags = parser.parse_args()
    print(f"seed {flags.seed}", flush=True)
    begin = time.time()
    stop_at = begin + flags.seconds if flags.seconds > 0 else float("inf")
    tally = Tally()
    rounds = 0
    for number in range(1, flags.rounds + 1):
        if time.time() > stop_at:
            break
        one_round(number, random.Random(f"{flags.seed}/{number}"), flags.build, tally, stop_at)
        rounds = number
    total = sum(tally.kills.values())
    print(f"\n{'kill':42} {'count':>6}")
    for kind, count in sorted(tally.kills.items()):
        print(f"{kind:42} {count:6}")
    for name, count in [("kills", total),
                        ("of these with a status other than SIGKILL's", tally.otherwise),
                        ("runs that ended before their kill", tally.missed), ("rounds", rounds),
                        ("wrong restores", tally.wrong), ("hangs", tally.hangs),
                        ("other failures", tally.failures)]:
        print(f"{name:42} {count:6}")
    print(json.dumps({"seed": flags.seed, "rounds": rounds, "kills": total,
                      "wrong_restores": tally.wrong, "hangs": tally.hangs,
                      "failures": tally.failures, "seconds": round(time.time() - begin)}))
    return 1 if tally.wrong or tally.hangs or tally.failures or total == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
