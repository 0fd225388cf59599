#!/usr/bin/env python3
"""Usage: bad_input_test.py BUILD [--show] [TABLE...]

Runs the tables of this folder (*.cases) through the command line. A table has headings and cases:

    = COMMAND LINE                 of the cases below; JSON, CONFIG and FILE stand for what the
                                   case prepares
    PREPARATION ~ FRAGMENT         one case; ' ;; ' separates several preparations

Each case gets a directory of its own with a job (job.config, train.csv), its trained model and
weights.safetensors, prepares one fault in it, and runs the command there. It must end with status 1
or 2 within LIMIT_S of processor time; the last line of stderr is one sentence that begins with
"pepnet: " and holds the fragment; nothing else on stderr looks like a crash, no core is left, and
the directory is as before. A training may leave its model_dir `new` or its report in `model`, but
no checkpoint and nothing half written there; an import the lock of its model_dir.

Preparations (texts may hold Python's escapes):
    nothing                        the command alone is wrong
    config FROM => TO              in job.config, the first FROM; an empty FROM: TO goes to the end
    json TEXT                      the value of --edit_config_json
    file NAME = TEXT               a file; NAME * COUNT = TEXT repeats the text
    cell COLUMN = TEXT             of the third row of train.csv
    line TEXT                      one more line of train.csv
    header FROM => TO              in the first line of train.csv
    column NAME TYPE JSON          of train.parquet, which holds train.csv's rows with the columns'
                                   types; "column NAME" removes it
    cut FILE BYTES, flip FILE BYTE, empty FILE, remove FILE, append FILE = TEXT
                                   damages a file; below model/: the checkpoint
    manifest MEMBER.MEMBER = JSON  of the checkpoint, with a checksum that fits; likewise trainer
    tensors JSON | BYTES           weights.safetensors: this header, so many bytes
    fifo NAME, folder NAME, link NAME = TARGET
With --show each case prints what the program said.
"""
import concurrent.futures
import csv
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile

LIMIT_S = 10  # of processor time; the program answers in half a second
BUSY_S = 60  # until then it must have ended, however busy the machine is
MOST_BYTES = 2500  # of the last line
CRASHES = ("terminate called", "Check failed", "AddressSanitizer", "runtime error:",
           "Segmentation fault", "Aborted", "*** ")

CONFIG = r"""
train_input_path: "train.csv"
eval_input_path: "train.csv"
model_dir: "model"
train_config {
  sparse_optimizer { adagrad_optimizer { lr: 0.05 } constant_learning_rate {} }
  dense_optimizer { adam_optimizer { lr: 0.002 } constant_learning_rate {} }
  num_epochs: 1
  use_tensorboard: false
}
data_config {
  batch_size: 8
  dataset_type: CsvDataset
  with_header: true
  fg_mode: FG_DAG
  label_fields: ["clk", "buy", "dom"]
  sample_weight_fields: "sw"
  num_workers: 1
}
feature_configs { id_feature { feature_name: "uid" expression: "user:uid"
  num_buckets: 50 embedding_dim: 4 } }
feature_configs { id_feature { feature_name: "iid" expression: "item:iid"
  num_buckets: 40 embedding_dim: 4 default_value: "7" } }
feature_configs { id_feature { feature_name: "hist" expression: "user:hist"
  num_buckets: 40 embedding_dim: 4 embedding_name: "iid_emb" separator: "|" } }
feature_configs { id_feature { feature_name: "tags" expression: "item:tags"
  num_buckets: 20 embedding_dim: 4 weighted: true separator: "|" } }
feature_configs {
  id_feature { feature_name: "word" expression: "item:word" vocab_list: ["red", "green"]
    embedding_dim: 4 } }
feature_configs { raw_feature { feature_name: "price" expression: "item:price"
  boundaries: [5, 10, 20] embedding_dim: 4 } }
feature_configs { raw_feature { feature_name: "score" expression: "item:score"
  value_dim: 2 separator: "|" } }
model_config {
  feature_groups { group_name: "all"
    feature_names: ["uid", "iid", "hist", "tags", "word", "price", "score"] group_type: DEEP }
  feature_groups { group_name: "uia" feature_names: ["uid", "iid"] group_type: DEEP }
  pepnet {
    ppnet_hidden_units: [6, 3]
    domain_input_name: "dom" task_domain_num: 3
    task_towers { tower_name: "ctr" label_name: "clk" sample_weight_name: "sw"
      mlp { hidden_units: [4] } losses { binary_cross_entropy {} } metrics { auc {} } }
    task_towers { tower_name: "cvr" label_name: "buy"
      mlp { hidden_units: [4] } losses { binary_cross_entropy {} } metrics { auc {} }
      task_space_indicator_label: "clk" in_task_space_weight: 1 out_task_space_weight: 0 }
  }
}
"""
COLUMNS = ["clk", "buy", "dom", "sw", "uid", "iid", "hist", "tags", "word", "price", "score"]


# ---- the job -------------------------------------------------------------------------------------


def rows():
    draw = random.Random(1)
    for _ in range(20):
        clk = int(draw.random() < 0.4)
        yield [str(clk), str(clk * draw.randrange(2)), str(draw.randrange(3)),
               f"{draw.random():.2f}", str(draw.randrange(50)), str(draw.randrange(40)),
               f"{draw.randrange(40)}|{draw.randrange(40)}", f"{draw.randrange(20)}:0.5",
               draw.choice(["red", "green"]), f"{30 * draw.random():.2f}",
               f"{draw.random():.2f}|1"]


def write(path, text):
    with open(path, "w", newline="") as out:
        out.write(text)


def make_job(directory, build):
    write(f"{directory}/job.config", CONFIG)
    write(f"{directory}/train.csv",
          "\n".join([",".join(COLUMNS)] + [",".join(row) for row in rows()]) + "\n")
    for command in ("train --pipeline_config_path job.config --threads 1",
                    "export --pipeline_config_path job.config --export_dir ex"):
        done = run(f"{build}/pepnet {command}", directory)
        if done.returncode != 0:
            sys.exit(f"the job that all cases begin with fails: {done.stderr}")
    os.rename(f"{directory}/ex/model.safetensors", f"{directory}/weights.safetensors")
    shutil.rmtree(f"{directory}/ex")


def run(command, directory):
    limits = f"ulimit -c 0; ulimit -v 8000000; ulimit -t {LIMIT_S}; "
    try:
        return subprocess.run(["bash", "-c", limits + command], cwd=directory, capture_output=True,
                              timeout=BUSY_S, stdin=subprocess.DEVNULL, text=True, errors="replace")
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"outlasted {BUSY_S} s")


# ---- preparations --------------------------------------------------------------------------------


def unescaped(text):
    return text.encode("latin-1", "backslashreplace").decode("unicode_escape").encode("latin-1")


def change_csv(path, change):
    with open(path, newline="") as file:
        lines = file.read().split("\n")
    change(lines)
    write(path, "\n".join(lines))


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def set_member(root, path, value):
    *way, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    for step in way:
        root = root[step]
    if value == "":
        del root[last]
    else:
        root[last] = json.loads(value, parse_constant=float)


def to_tuples(value):
    """The entries of a map are pairs for pyarrow."""
    return ([tuple(entry) for entry in value]
            if isinstance(value, list) and value and isinstance(value[0], list)
            and len(value[0]) == 2 and isinstance(value[0][0], str) else value)


class Case:
    """One line of a table."""

    def __init__(self, table, number, command, preparations, fragment):
        self.name = f"{table}:{number}"
        self.command, self.preparations, self.fragment = command, preparations, fragment
        self.words = {}  # of the command line

    def checkpoint(self, directory):
        model = f"{directory}/model"
        return max((f"{model}/{name}" for name in os.listdir(model)
                    if name.startswith("model.ckpt-")), key=len)

    def path(self, directory, name):
        return (f"{self.checkpoint(directory)}/{name[6:]}" if name.startswith("model/")
                else f"{directory}/{name}")

    def prepare(self, directory):
        for preparation in self.preparations:
            kind, _, rest = preparation.partition(" ")
            if kind != "nothing":
                getattr(self, "prepare_" + kind)(directory, rest)

    def prepare_config(self, directory, rest):
        before, after = rest.split("=> ", 1) if rest.endswith("=> ") else rest.split("=>", 1)
        before, after = before.strip(), unescaped(after.strip()).decode("latin-1")
        if before not in CONFIG:
            sys.exit(f"{self.name}: job.config has no {before}")
        text = CONFIG.replace(before, after, 1) if before else CONFIG + after + "\n"
        with open(f"{directory}/job.config", "wb") as out:
            out.write(text.encode("latin-1"))

    def prepare_json(self, _, rest):
        self.words["JSON"] = "'" + unescaped(rest).decode("latin-1").replace("'", "'\\''") + "'"

    def prepare_file(self, directory, rest):
        name, text = rest.split(" = ", 1)
        name, _, count = name.partition(" * ")
        with open(self.path(directory, name), "wb") as out:
            out.write(unescaped(text) * (int(count) if count else 1))

    def prepare_append(self, directory, rest):
        name, text = rest.split(" = ", 1)
        with open(self.path(directory, name), "ab") as out:
            out.write(unescaped(text))

    def prepare_cell(self, directory, rest):
        column, _, text = rest.partition(" =")

        def change(lines):
            cells = lines[3].split(",")
            cells[COLUMNS.index(column)] = unescaped(text[1:]).decode("latin-1")
            lines[3] = ",".join(cells)
        change_csv(f"{directory}/train.csv", change)

    def prepare_line(self, directory, rest):
        with open(f"{directory}/train.csv", "ab") as out:
            out.write(unescaped(rest) + b"\n")

    def prepare_header(self, directory, rest):
        before, after = rest.split(" => ")

        def change(lines):
            if before not in lines[0]:
                sys.exit(f"{self.name}: the header has no {before}")
            lines[0] = lines[0].replace(before, unescaped(after).decode("latin-1"), 1)
        change_csv(f"{directory}/train.csv", change)

    def prepare_column(self, directory, rest):
        import pyarrow as pa
        import pyarrow.parquet as pq
        with open(f"{directory}/train.csv", newline="") as file:
            cells = list(csv.DictReader(file))[:3]
        types = dict(clk=pa.int64(), buy=pa.int64(), dom=pa.int64(), sw=pa.float32(),
                     uid=pa.int64(), iid=pa.int64(), price=pa.float64())
        arrays = {name: pa.array([row[name] for row in cells]).cast(types.get(name, pa.string()))
                  for name in COLUMNS}
        name, _, wanted = rest.partition(" ")
        if wanted:
            type_name, values = wanted.split(" ", 1)
            arrays[name] = pa.array([to_tuples(value) for value in json.loads(values)],
                                    eval(type_name, {"pa": pa}))
        else:
            del arrays[name]
        pq.write_table(pa.table(arrays), f"{directory}/train.parquet")

    def prepare_cut(self, directory, rest):
        name, size = rest.split()
        os.truncate(self.path(directory, name), int(size))

    def prepare_flip(self, directory, rest):
        name, place = rest.split()
        with open(self.path(directory, name), "r+b") as file:
            file.seek(int(place))
            byte = file.read(1)[0]
            file.seek(int(place))
            file.write(bytes([byte ^ 1]))

    def prepare_empty(self, directory, rest):
        os.truncate(self.path(directory, rest), 0)

    def prepare_remove(self, directory, rest):
        path = self.path(directory, rest)
        shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)

    def prepare_manifest(self, directory, rest):
        path = f"{self.checkpoint(directory)}/manifest.json"
        with open(path, encoding="utf-8") as file:
            manifest = json.load(file)
        del manifest["checksum"]
        if rest:
            member, _, value = rest.partition(" =")
            set_member(manifest, member, value.strip())
        body = json.dumps(manifest, indent=2)[:-2]
        write(path, f'{body},\n  "checksum": "{crc32c(body.encode()):08x}"\n}}\n')

    def prepare_trainer(self, directory, rest):
        path = f"{self.checkpoint(directory)}/trainer.json"
        with open(path, encoding="utf-8") as file:
            trainer = json.load(file)
        member, _, value = rest.partition(" =")
        set_member(trainer, member, value.strip())
        write(path, json.dumps(trainer))
        self.fit(directory, "trainer.json")

    def fit(self, directory, name):
        """The manifest's entry of a file is made right again."""
        checkpoint = self.checkpoint(directory)
        with open(f"{checkpoint}/{name}", "rb") as file:
            contents = file.read()
        with open(f"{checkpoint}/manifest.json", encoding="utf-8") as file:
            files = json.load(file)["files"]
        place = [entry["file"] for entry in files].index(name)
        self.prepare_manifest(directory, f"files.{place}.bytes = {len(contents)}")
        self.prepare_manifest(directory, f'files.{place}.crc32c = "{crc32c(contents):08x}"')

    def prepare_tensors(self, directory, rest):
        header, size = rest.rsplit(" | ", 1)
        with open(f"{directory}/weights.safetensors", "wb") as out:
            out.write(struct.pack("<Q", len(header)) + header.encode("latin-1") + bytes(int(size)))

    def prepare_fifo(self, directory, rest):
        if os.path.exists(self.path(directory, rest)):
            os.remove(self.path(directory, rest))
        os.mkfifo(self.path(directory, rest))

    def prepare_folder(self, directory, rest):
        os.makedirs(self.path(directory, rest))

    def prepare_link(self, directory, rest):
        name, target = rest.split(" = ")
        if os.path.lexists(self.path(directory, name)):
            os.remove(self.path(directory, name))
        os.symlink(target, self.path(directory, name))

    # ---- the verdict -----------------------------------------------------------------------------

    def command_line(self, build):
        words = [self.words.get(word, word) for word in self.command.split(" ")]
        return f"{build}/pepnet " + " ".join(words)

    def faults(self, done, before, after):
        """Returns the faults of the program's answer, as a list of sentences."""
        wrong = []
        if done.returncode not in (1, 2):
            wrong.append(f"status {done.returncode}, expected 1 or 2")
        last = done.stderr.rstrip("\n").split("\n")[-1]
        if not last.startswith("pepnet: "):
            wrong.append("the last line does not begin with 'pepnet: '")
        if self.fragment not in last:
            wrong.append(f"the last line lacks '{self.fragment}'")
        if len(last) > MOST_BYTES or not last.isprintable():
            wrong.append(
                f"the last line is {len(last)} characters long or holds control characters")
        wrong += [f"stderr has '{text}'" for text in CRASHES if text in done.stderr]
        left = [name for name in after
                if after[name] != before.get(name) and not self.may_stay(name)]
        wrong += ([f"{name} was made or changed" for name in left]
                  + [f"{name} is gone" for name in before if name not in after])
        return wrong

    def may_stay(self, name):
        """Names the files that a training leaves in a model_dir of its own."""
        half = ("model.ckpt", ".tmp", ".nonce", "core")
        if self.command.startswith("train "):
            return (name.startswith(("new", "model/job_report.json"))
                    and not any(part in name for part in half))
        return self.command.startswith("import ") and name in ("new", "new/.lock")

    def check(self, base, build):
        with tempfile.TemporaryDirectory(prefix="pepnet-bad-") as directory:
            shutil.copytree(base, directory, dirs_exist_ok=True, symlinks=True)
            self.prepare(directory)
            before = listing(directory)
            done = run(self.command_line(build), directory)
            return done, self.faults(done, before, listing(directory))


def listing(directory):
    """Name -> kind, size and time of change, of everything below."""
    found = {}
    for folder, folders, names in os.walk(directory):
        for name in folders + names:
            path = os.path.join(folder, name)
            about = os.lstat(path)
            size = 0 if os.path.isdir(path) else (about.st_size, about.st_mtime_ns)
            found[os.path.relpath(path, directory)] = (about.st_mode, size)
    return found


def read_table(path):
    command = None
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            line = line.rstrip("\n")
            if line.startswith("="):
                command = line[2:]
            elif line and not line.startswith("#"):
                preparation, separator, fragment = line.rpartition(" ~ ")
                if not separator or command is None:
                    sys.exit(f"{path}:{number}: "
                             "expected 'PREPARATION ~ FRAGMENT' below a line '= COMMAND'")
                yield Case(os.path.basename(path), number, command, preparation.split(" ;; "),
                           fragment)


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--show"]
    show = len(arguments) < len(sys.argv) - 1
    if not arguments:
        sys.exit(__doc__)
    build, *tables = arguments
    folder = os.path.dirname(os.path.abspath(__file__))
    names = sorted(name for name in os.listdir(folder) if name.endswith(".cases"))
    cases = [case for name in names if not tables or name in tables
             for case in read_table(os.path.join(folder, name))]
    failed = 0
    with tempfile.TemporaryDirectory(prefix="pepnet-bad-") as base:
        make_job(base, os.path.abspath(build))
        # Two at a time: each is one process for half a second.
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for case, (done, wrong) in zip(
                    cases, pool.map(lambda case: case.check(base, os.path.abspath(build)), cases)):
                failed += bool(wrong)
                said = done.stderr.rstrip("\n").split("\n")[-1][:700]
                if wrong or show:
                    print(f"{case.name}: {' ;; '.join(case.preparations)[:150]}: "
                          f"{'; '.join(wrong) or 'right'}\n    {said}")
    print(f"{len(cases)} bad inputs, {failed} answered wrongly")
    sys.exit(1 if failed or not cases else 0)


if __name__ == "__main__":
    main()
