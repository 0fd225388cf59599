"""The engine of scripts/dev/flip_bytes.sh (which see). Needs nothing beyond Python's standard
library."""

import argparse
import collections
import concurrent.futures
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

from torture import CONFIG

LIMIT_S = 120  # a command that outlasts this is a hang


def make_job(directory, build):
    """A small job and its two checkpoints, the way users make them. Returns the training
    command."""
    draw = random.Random(1)
    with open(f"{directory}/job.config", "w") as out:
        out.write(CONFIG % dict(dir=directory, batch=4, epochs=1, cadence=20, keep=10, window=1,
                                shuffle="true", sparse="adagrad_optimizer { lr: 0.05 }",
                                dense="adam_optimizer { lr: 0.002 }"))
    for file in range(2):
        with open(f"{directory}/train-{file}.csv", "w") as out:
            out.write("clk,buy,uid,iid,dom,price\n")
            for _ in range(80):
                clk = int(draw.random() < 0.3)
                out.write(f"{clk},{clk & int(draw.random() < 0.4)},{draw.randrange(60)},"
                          f"{draw.randrange(50)},{draw.randrange(3)},{draw.random():.4f}\n")
    train = [f"{build}/pepnet", "train", "--pipeline_config_path", f"{directory}/job.config",
             "--threads=1", "--num_servers=2", "--model_dir"]
    done = run(train + [f"{directory}/model"])
    if done.returncode != 0:
        sys.exit(f"the job failed: {done.stderr}")
    return train


def run(command):
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace",
                              timeout=LIMIT_S)
    except subprocess.TimeoutExpired as late:
        return subprocess.CompletedProcess(command, 124, "", f"outlasted {late.timeout} s")


def files_below(directory):
    found = []
    for folder, _, names in os.walk(directory):
        found += [os.path.relpath(os.path.join(folder, name), directory) for name in names]
    return sorted(found)


def listing(directory):
    return sorted((name, os.path.getsize(f"{directory}/{name}")) for name in files_below(directory))


class Damage:
    """One damage of one file: a flipped bit, a cut, or its removal."""

    def __init__(self, kind, file, place, bit=0):
        self.kind, self.file, self.place, self.bit = kind, file, place, bit

    def apply(self, checkpoint):
        path = f"{checkpoint}/{self.file}"
        if self.kind == "removed":
            os.remove(path)
        elif self.kind == "cut":
            os.truncate(path, self.place)
        else:
            with open(path, "r+b") as file:
                file.seek(self.place)
                byte = file.read(1)[0]
                file.seek(self.place)
                file.write(bytes([byte ^ (1 << self.bit)]))

    def undo(self, checkpoint, whole):
        shutil.copyfile(f"{whole}/{self.file}", f"{checkpoint}/{self.file}")

    def __str__(self):
        return f"{self.file}: {self.kind} at byte {self.place}, bit {self.bit}"


def all_damages(checkpoint, every, seed):
    damages = []
    for file in files_below(checkpoint):
        draw = random.Random(f"{seed}/{file}")
        places = range(0, os.path.getsize(f"{checkpoint}/{file}"), every)
        damages += [Damage("flipped", file, place, draw.randrange(8)) for place in places]
        damages += [Damage("cut", file, place) for place in places]
        damages.append(Damage("removed", file, 0))
    return damages


def refused(result, file):
    """"" if the command refused the checkpoint, naming the file; else what it did."""
    if result.returncode == 0:
        return "was accepted"
    if result.returncode != 1:
        return f"ended with status {result.returncode}: {result.stderr[-300:]}"
    last = result.stderr.strip().split("\n")[-1]
    return ("" if last.startswith("pepnet: ") and os.path.basename(file) in last
            else f"the message does not name the file: {last}")


class Tester:
    """Works on its own copy of the model_dir."""

    def __init__(self, directory, model_dir, newest, train, build):
        self.own = tempfile.mkdtemp(dir=directory)
        self.model_dir, self.newest, self.train, self.build = model_dir, newest, train, build
        shutil.copytree(model_dir, f"{self.own}/model")

    def inspect(self, damage):
        checkpoint = f"{self.own}/model/{self.newest}"
        damage.apply(checkpoint)
        result = run([f"{self.build}/pepnet", "inspect", "--verify", checkpoint])
        damage.undo(checkpoint, f"{self.model_dir}/{self.newest}")
        return refused(result, damage.file)

    def resume(self, damage):
        checkpoint = f"{self.own}/model/{self.newest}"
        damage.apply(checkpoint)
        ignored = ("job_report.json",)
        before = [entry for entry in listing(f"{self.own}/model") if entry[0] not in ignored]
        result = run(self.train + [f"{self.own}/model", "--continue_train"])
        after = [entry for entry in listing(f"{self.own}/model") if entry[0] not in ignored]
        damage.undo(checkpoint, f"{self.model_dir}/{self.newest}")
        return refused(result, damage.file) or (
            "" if before == after else f"model_dir changed: {set(before) ^ set(after)}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    parser.add_argument("--every", type=int, required=True)
    parser.add_argument("--sample", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    flags = parser.parse_args()
    begin = time.time()
    with tempfile.TemporaryDirectory(prefix="pepnet-flip-") as directory:
        train = make_job(directory, flags.build)
        model_dir = f"{directory}/model"
        newest = max((name for name in os.listdir(model_dir) if name.startswith("model.ckpt-")),
                     key=lambda name: int(name[11:]))
        checkpoint = f"{model_dir}/{newest}"
        if run([f"{flags.build}/pepnet", "inspect", "--verify", checkpoint]).returncode != 0:
            sys.exit("the whole checkpoint was refused, so a refusal would prove nothing")
        damages = all_damages(checkpoint, flags.every, flags.seed)
        total_bytes = sum(size for _, size in listing(checkpoint))
        print(f"{newest}: {len(files_below(checkpoint))} files, {total_bytes} bytes; "
              f"{len(damages)} damages", flush=True)

        workers = os.cpu_count() or 1
        counts, failures = collections.Counter(), []
        def work(share):
            tester = Tester(directory, model_dir, newest, train, flags.build)
            results = []
            for number, damage in share:
                results.append((damage, "inspect", tester.inspect(damage)))
                if number % flags.sample == 0 or damage.kind == "removed":
                    results.append((damage, "continue_train", tester.resume(damage)))
            return results
        numbered = list(enumerate(damages))
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            for results in pool.map(work, [numbered[i::workers] for i in range(workers)]):
                for damage, command, wrong in results:
                    counts[damage.file, damage.kind, command] += 1
                    if wrong:
                        failures.append(f"{command}: {damage}: {wrong}")

        columns = [("flipped", "inspect"), ("cut", "inspect"), ("removed", "inspect")]
        print(f"\n{'file':44} {'bytes':>7} {'flipped':>8} {'cut':>6} {'removed':>8} {'resumed':>8}")
        totals = collections.Counter()
        for file in files_below(checkpoint):
            row = [counts[file, kind, command] for kind, command in columns]
            row.append(sum(counts[file, kind, "continue_train"] for kind, _ in columns))
            totals.update(dict(enumerate(row)))
            print(f"{file:44} {os.path.getsize(f'{checkpoint}/{file}'):7} "
                  f"{row[0]:8} {row[1]:6} {row[2]:8} {row[3]:8}")
        print(f"{'all':44} {total_bytes:7} {totals[0]:8} {totals[1]:6} {totals[2]:8} {totals[3]:8}")
    for failure in failures[:20]:
        print(f"NOT REFUSED BY NAME: {failure}")
    print(json.dumps({"seed": flags.seed, "every": flags.every, "damages": len(damages),
                      "resumes": totals[3], "not_refused_by_name": len(failures),
                      "seconds": round(time.time() - begin)}))
    return 1 if failures or not damages else 0


if __name__ == "__main__":
    sys.exit(main())
