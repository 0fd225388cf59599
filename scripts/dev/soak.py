#!/usr/bin/env python3
"""Usage: scripts/dev/soak.py [--build DIR] [--seconds S] [--seed N] [--servers N] [--workers N]

Trains for a long time, many small steps, with what wears a program out: a checkpoint and an
evaluation every few seconds, tables whose rows come and go, and ranks that are stopped (SIGSTOP)
for up to two seconds, one after another. Then looks whether anything grew: the resident memory,
threads and descriptors of each rank are read every second; the most memory and the fewest threads
and descriptors (those of evaluations and checkpoints come and go) of the last fifth of the time are
held against those of the second fifth. In the end the job is asked to stop (SIGUSR1), its last
checkpoint is verified, and nothing may be left of its temporary files.

  --build DIR   default build/release     --seconds S   default 1800     --seed N   of rows and
                stops (default 1)
  --servers N   default 2; 0: one process --workers N   default 2

Prints a table. Exit status 1 if anything grew, was left, or ended otherwise than it should. Needs
nothing beyond Python's standard library.
"""
import argparse
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import torture

ROWS = 20_000
SAVE_EVERY_STEPS = 1_000
# The allocator keeps what the largest checkpoint or evaluation so far has needed, and that comes
# late now and then.
GROWTH_MB = 8.0


def write_rows(path, draw, rows):
    with open(path, "w") as out:
        out.write("clk,buy,uid,iid,dom,price\n")
        for _ in range(rows):
            clk = int(draw.random() < 0.3)
            out.write(f"{clk},{clk & int(draw.random() < 0.4)},"
                      f"{int(draw.paretovariate(0.5)) % 100_000},"
                      f"{draw.randrange(5000)},{draw.randrange(3)},{draw.random():.4f}\n")


def write_job(directory, draw):
    write_rows(f"{directory}/train-0.csv", draw, ROWS)
    write_rows(f"{directory}/eval.csv", draw, ROWS // 20)
    text = torture.CONFIG % dict(
        dir=directory, batch=8, epochs=1_000_000, cadence=SAVE_EVERY_STEPS, keep=3, window=1,
        shuffle="true", sparse="adagrad_optimizer { lr: 0.02 }",
        dense="adam_optimizer { lr: 0.001 }")
    for old, new in [('eval_input_path: "%s/train-*.csv"' % directory,
                      'eval_input_path: "%s/eval.csv"' % directory),
                     ("num_buckets: 60", 'dynamic_table { max_rows: 2048 eviction: "SCORE" '
                                         "half_life_steps: 2000 admit_after_steps: 2 }"),
                     ("num_buckets: 50", "dynamic_table { expected_rows: 4096 ttl_steps: 4000 }"),
                     ("num_epochs", "log_step_count_steps: 500\n  num_epochs")]:
        assert old in text, old
        text = text.replace(old, new)
    path = f"{directory}/job.config"
    pathlib.Path(path).write_text(text)
    return path


class Rank:
    def __init__(self, name, pid):
        self.name, self.pid, self.samples = name, pid, []  # (time, MB, threads, descriptors)

    def sample(self, now):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        resident, threads = (int(re.search(rf"{name}:\s+(\d+)", status)[1])
                             for name in ("VmRSS", "Threads"))
        self.samples.append((now, resident / 1024, threads,
                             len(os.listdir(f"/proc/{self.pid}/fd"))))

    def summary(self, begin, end):
        """The most memory, the fewest threads and descriptors between two times."""
        within = [sample[1:] for sample in self.samples if begin <= sample[0] <= end]
        memory, threads, descriptors = zip(*within) if within else ((0,), (0,), (0,))
        return max(memory), min(threads), min(descriptors)


def ranks_of(process, workers, alone):
    """The ranks of a running job, once all are there."""
    if alone:
        return [Rank("one process", process.pid)]
    found = {torture.rank_of(pid): pid for pid in torture.family(process.pid)}
    return [Rank(f"worker {rank}" if rank < workers else f"server {rank - workers}", pid)
            for rank, pid in sorted(found.items(),
                                    key=lambda one: -1 if one[0] is None else one[0])
            if rank is not None]


def count_lines(path):
    return path.read_text().count("\n") if path.exists() else 0


def left_over(model_dir, temporary):
    """Files that a job must not leave."""
    unfinished = [str(path) for path in model_dir.rglob("*")
                  if ".tmp" in path.name or ".partial" in path.name]
    return unfinished + [str(path) for path in temporary.iterdir()
                         if not path.name.startswith(("ompi.", "openmpi-"))]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--servers", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    flags = parser.parse_args()
    alone = flags.servers == 0
    draw = random.Random(flags.seed)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="pepnet-soak-"))
    model_dir, temporary = directory / "model", directory / "tmp"
    temporary.mkdir()
    # A directory of the job's own: what it leaves there is seen in the end.
    os.environ["TMPDIR"] = str(temporary)
    command = [f"{flags.build}/pepnet", "train",
               "--pipeline_config_path", write_job(str(directory), draw), "--threads=1", "--seed=5",
               "--model_dir", str(model_dir)]
    count = 1 if alone else flags.servers + flags.workers
    if not alone:
        command = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(count), *command,
                   f"--num_servers={flags.servers}"]
    faults, stops = [], 0
    with open(directory / "log", "w+") as log:
        process = torture.start(command, log)
        begin = time.monotonic()
        ranks = []
        while len(ranks) < count or not (model_dir / "metrics.jsonl").exists():
            ranks = ranks_of(process, flags.workers, alone)
            if process.poll() is not None or time.monotonic() - begin > torture.HANG_S:
                sys.exit(f"the job did not start; see {directory}/log")
            time.sleep(0.2)
        begin = now = time.monotonic()
        stopped_until, stopped = begin + 2, None
        while now < begin + flags.seconds and process.poll() is None:
            for rank in ranks:
                rank.sample(now)
            time.sleep(min(1.0, max(0.05, stopped_until - time.monotonic())))
            now = time.monotonic()
            if now >= stopped_until:
                if stopped is not None:
                    os.kill(stopped.pid, signal.SIGCONT)
                    stopped, stopped_until = None, now + draw.uniform(1, 4)
                else:
                    stopped, stopped_until = draw.choice(ranks), now + draw.uniform(0.1, 2)
                    os.kill(stopped.pid, signal.SIGSTOP)
                    stops += 1
        if stopped is not None:
            os.kill(stopped.pid, signal.SIGCONT)
        if process.poll() is not None:
            faults.append(f"the job ended by itself, with status {process.returncode}")
        else:
            for rank in ranks:
                os.kill(rank.pid, signal.SIGUSR1)
        status = torture.wait(process)
        if status != 75:
            faults.append(f"the job ended with status {status}, expected 75: stopped on request")

    fifth = flags.seconds / 5
    windows = [(begin + fifth, begin + 2 * fifth), (begin + 4 * fifth, begin + flags.seconds)]
    print(f"{'rank':12} {'MB: second fifth':>17} {'last fifth':>11} {'threads':>12} "
          f"{'descriptors':>14}")
    for rank in ranks:
        early, late = (rank.summary(*window) for window in windows)
        print(f"{rank.name:12} {early[0]:17.1f} {late[0]:11.1f} {early[1]:5d} -> {late[1]:3d} "
              f"{early[2]:7d} -> {late[2]:3d}")
        if late[0] > early[0] + GROWTH_MB:
            faults.append(f"{rank.name} grew by {late[0] - early[0]:.1f} MB")
        for what, before, after in (("threads", early[1], late[1]),
                                    ("descriptors", early[2], late[2])):
            if after > before:
                faults.append(f"{rank.name} has {after} {what}, {before} before")
    newest = model_dir / f"model.ckpt-{torture.newest(model_dir)}"
    verified = subprocess.run([f"{flags.build}/pepnet", "inspect", newest, "--verify"],
                              capture_output=True, text=True)
    if verified.returncode != 0:
        faults.append(f"{newest} is damaged: {verified.stderr.strip().splitlines()[-1:]}")
    faults += [f"left over: {path}" for path in left_over(model_dir, temporary)]
    steps = torture.newest(model_dir)
    done = {"seconds": round(flags.seconds), "steps": steps,
            "checkpoints": steps // SAVE_EVERY_STEPS + 1,
            "evaluations": count_lines(model_dir / "train_eval_result.txt"),
            "stops": stops, "faults": len(faults)}
    if done["evaluations"] < 2:
        faults.append("fewer than two evaluations: too short to tell anything")
    for fault in faults:
        print("FAULT", fault)
    print(json.dumps(done))
    if faults:
        print(f"everything is kept in {directory}")
        return 1
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
