#!/usr/bin/env python3
"""Says which configs of TorchEasyRec pass here: `pepnet check-config`, and five steps of training
on rows made up for them.

Usage: .venv/bin/python3 scripts/config_coverage.py DIRECTORY [--pepnet build/release/pepnet]
                    [--steps 5] [--keep DIRECTORY]

Takes every *.config below DIRECTORY. A config of another model gets a pepnet in its place, in a
temporary file, with what it has of

  features   the DEEP and WIDE groups become the group "all", with their sequence groups and
             encoders; a SEQUENCE group becomes a sequence group that is pooled. The last id feature
             is the "domain", the first two are "uia".
  towers     its task towers: names, labels, losses, metrics, weights, mlp; without any, one tower
             of its own losses.

Everything else stays as it is. The rows are drawn for the features' definitions; a vocab_file that
is not there is made up as well. Prints a table in Markdown: the config, its model, whether the
check and the training pass, and the first reason why not; then the totals. The status is 0 if every
config was tried, whatever the outcome.
"""
import argparse
import collections
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

BATCH, TIMEOUT_S = 32, 120
NOT_MODELS = {"feature_groups", "num_class", "losses", "metrics", "train_metrics",
              "variational_dropout", "kernel", "use_pareto_loss_weight", "summaries_set"}
OF_TOWERS = ["tower_name", "label_name", "losses", "metrics", "train_metrics", "num_class", "mlp",
             "weight", "sample_weight_name", "task_space_indicator_label", "in_task_space_weight",
             "out_task_space_weight"]
TOKEN = re.compile(r"""\s+|\#[^\n]*|(?P<text>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')"""
                   r"|(?P<word>[\w.+-]+)|(?P<mark>[{}<>\[\]:,;])")


# ---- protobuf's text format, without a schema ----------------------------------------------------

class Message:
    """Fields in order; a value is a Message or a scalar as it is written."""

    def __init__(self, fields=()):
        self.fields = list(fields)

    def all(self, name):
        return [value for key, value in self.fields if key == name]

    def get(self, name, default=None):
        return next(iter(reversed(self.all(name))), default)

    def text(self, name, default=""):
        return unquoted(self.get(name, f'"{default}"'))

    def number(self, name, default=0):
        return float(self.get(name, default))

    def set(self, name, *values):
        self.fields = ([field for field in self.fields if field[0] != name]
                       + [(name, value) for value in values])

    def write(self, indent=0):
        lines = []
        for name, value in self.fields:
            if isinstance(value, Message):
                lines += [f"{' ' * indent}{name} {{", value.write(indent + 2), f"{' ' * indent}}}"]
            else:
                lines.append(f"{' ' * indent}{name}: {value}")
        return "\n".join(line for line in lines if line)


def unquoted(scalar):
    """Text of a scalar; escapes as in Python, which is near enough for names and separators."""
    if scalar[:1] not in "\"'":
        return scalar
    return scalar[1:-1].encode("latin-1", "backslashreplace").decode("unicode_escape")


def quoted(text):
    return json.dumps(text)


class Parser:
    def __init__(self, text):
        self.tokens, at = [], 0
        while at < len(text):
            found = TOKEN.match(text, at)
            if not found:
                line = text.count("\n", 0, at) + 1
                raise ValueError(f"line {line}: cannot read {text[at:at + 20]!r}")
            if found.lastgroup:
                self.tokens.append(found[0])
            at = found.end()
        self.tokens.reverse()

    def parse(self):
        message = self.message(None)
        return message

    def take(self, what=None):
        token = self.tokens.pop() if self.tokens else ""
        if what is not None and token != what:
            raise ValueError(f"expected {what!r}, got {token!r}")
        return token

    def peek(self):
        return self.tokens[-1] if self.tokens else ""

    def message(self, end):
        message = Message()
        while self.peek() != (end or ""):
            if not self.tokens:
                raise ValueError(f"the file ends where {end!r} is expected")
            name = self.take()
            if not re.fullmatch(r"\w+", name):
                raise ValueError(f"expected the name of a field, got {name!r}")
            if self.peek() == ":":
                self.take()
            if self.peek() == "[":
                self.take()
                while self.peek() != "]":
                    message.fields.append((name, self.value()))
                    if self.peek() == ",":
                        self.take()
                self.take("]")
            else:
                message.fields.append((name, self.value()))
            if self.peek() in (",", ";"):
                self.take()
        if end:
            self.take(end)
        return message

    def value(self):
        token = self.take()
        if token in ("{", "<"):
            return self.message("}" if token == "{" else ">")
        if token in ("", "}", ">", "]", ":", ",", ";"):
            raise ValueError(f"expected a value, got {token!r}")
        while token[0] in "\"'" and self.peek()[:1] in ("'", '"'):  # texts side by side are one
            token = quoted(unquoted(token) + unquoted(self.take()))
        return token


# ---- another model's config with a pepnet --------------------------------------------------------

def model_of(model_config):
    return next((name for name, _ in model_config.fields if name not in NOT_MODELS), "none")


def names_of(feature, joint="__"):
    """(kind, message, the names that groups call its features by) of a feature_configs entry."""
    if not feature.fields:
        return "", feature, []
    kind, message = feature.fields[0]
    if kind != "sequence_feature":
        return kind, message, [message.text("feature_name")]
    return kind, message, [
        f"{message.text('sequence_name')}{joint}{inner.fields[0][1].text('feature_name')}"
        for inner in message.all("features")]


def joint_of(config):
    """The separator between the names of a sequence and of its features: "_" where groups list them
    so, as with RTP."""
    listed = set()
    for group in config.get("model_config", Message()).all("feature_groups"):
        for one in [group, *group.all("sequence_groups")]:
            listed |= set(map(unquoted, one.all("feature_names")))
    features = [names_of(feature, joint)
                for joint in ("__", "_") for feature in config.all("feature_configs")]
    usual = {name for _, _, names in features[:len(features) // 2] for name in names}
    rtp = {name for _, _, names in features[len(features) // 2:] for name in names} - usual
    return "_" if listed & rtp and not any("__" in name for name in listed & usual) else "__"


def find_towers(message):
    """The messages of the model that name a tower and a label, in order."""
    found = []
    for _, value in message.fields:
        if isinstance(value, Message):
            found += ([value] if value.get("tower_name") and value.get("label_name")
                      else find_towers(value))
    return found


def towers_of(config):
    model_config = config.get("model_config")
    towers = find_towers(model_config.get(model_of(model_config), Message()))
    if not towers:
        label = config.get("data_config", Message()).all("label_fields")[:1] or ['"label"']
        towers = [Message([("tower_name", '"task"'), ("label_name", label[0])]
                          + [field for field in model_config.fields
                             if field[0] in ("losses", "metrics", "num_class")])]
    kept = []
    for tower in towers:
        tower = Message([field for field in tower.fields if field[0] in OF_TOWERS])
        if not tower.get("losses"):
            tower.set("losses", Message([("binary_cross_entropy", Message())]))
        kept.append(tower)
    return kept


def main_group(groups):
    """The group "all": features of the DEEP and WIDE groups, and every sequence of any group."""
    group = Message([("group_name", '"all"')])
    for number, one in enumerate(groups):
        if one.text("group_type", "DEEP") not in ("SEQUENCE", "JAGGED_SEQUENCE"):
            group.fields += [("feature_names", name) for name in one.all("feature_names")
                             if name not in group.all("feature_names")]
            group.fields += [field for field in one.fields
                             if field[0] in ("sequence_groups", "sequence_encoders")]
            continue
        name = quoted(one.text("group_name", f"sequence_{number}"))
        group.fields.append(("sequence_groups", Message(
            [("group_name", name)] + [("feature_names", one) for one in one.all("feature_names")])))
        pooling = Message([("input", name), ("pooling_type", '"mean"')])
        group.fields.append(("sequence_encoders", Message([("pooling_encoder", pooling)])))
    group.set("group_type", "DEEP")
    return group


def with_pepnet(config):
    """The config with a pepnet in the place of its model."""
    old = config.get("model_config", Message())
    if model_of(old) == "pepnet":
        return config
    group = main_group(old.all("feature_groups"))
    joint = joint_of(config)
    ids = {name for feature in config.all("feature_configs")
           for kind, _, names in [names_of(feature, joint)]
           for name in names if kind == "id_feature"}
    ids = [name for name in group.all("feature_names") if unquoted(name) in ids]
    groups = [group]
    for name, members in (("domain", ids[-1:]), ("uia", ids[:2])):
        if members:
            groups.append(Message([("group_name", quoted(name))]
                                  + [("feature_names", one) for one in members]
                                  + [("group_type", "DEEP")]))
    pepnet = Message([("ppnet_hidden_units", "16"), ("ppnet_hidden_units", "8")] if ids else [])
    pepnet.fields += [("task_towers", tower) for tower in towers_of(config)]
    kept = [field for field in old.fields
            if field[0] in ("variational_dropout", "use_pareto_loss_weight")]
    swapped = Message(config.fields)
    swapped.set("model_config", Message([("feature_groups", one) for one in groups]
                                        + [("pepnet", pepnet)] + kept))
    return swapped


# ---- rows ----------------------------------------------------------------------------------------

class Rows:
    """Columns for the inputs of a config's features, drawn from one seed."""

    def __init__(self, config, count):
        self.random, self.count, self.columns = np.random.default_rng(1), count, {}
        data = config.get("data_config", Message())
        encoded = data.get("fg_encoded")
        self.final = encoded == "true" if encoded else data.text("fg_mode", "FG_NONE") == "FG_NONE"
        self.separator = data.text("fg_encoded_multival_sep", "\x03")
        self.joint = joint_of(config)
        for feature in config.all("feature_configs"):
            if feature.fields:
                self.add_feature(*feature.fields[0])
        self.add_labels(config, data)

    def add_feature(self, kind, message, sequence=None):
        if kind == "sequence_feature":
            for inner in message.all("features"):
                self.add_feature(*inner.fields[0], sequence=message)
            return
        prefix = f"{sequence.text('sequence_name')}{self.joint}" if sequence else ""
        if kind.startswith("sequence_"):
            kind, sequence = kind.removeprefix("sequence_"), message
        if self.final:
            self.add(prefix + message.text("feature_name"), lambda: self.tokens(kind, message),
                     sequence)
            return
        inputs = self.inputs(kind, message)
        sequences = set(map(unquoted, message.all("sequence_fields")))
        for expression, draw in inputs:
            side, _, column = unquoted(expression or '""').partition(":")
            if not column or side == "feature":
                continue
            by_element = sequence and (column in sequences if sequences
                                       else len(inputs) == 1 or side == "item")
            self.add(prefix * bool(by_element) + column, draw, sequence if by_element else None)

    def inputs(self, kind, message):
        """(input, what draws a cell of it) for each input of a feature."""
        number = lambda: round(float(self.random.random()) + 0.01, 4)
        word = lambda: f"w{self.random.integers(0, 5)}"
        tokens = any(message.get(name) for name in ("hash_bucket_size", "num_buckets", "vocab_list",
                                                    "vocab_dict", "vocab_file"))
        value = (lambda: self.token(message)) if tokens else number
        if kind == "lookup_feature":
            parts = lambda: message.text("value_separator", ",").join(
                str(value())
                for _ in range(1 if tokens else max(1, int(message.number("value_dim", 1)))))
            pairs = lambda: "\x1d".join(f"w{key}:{parts()}" for key in range(4))
            return [(message.get("map"), pairs), (message.get("key"), word)]
        if kind == "match_feature":
            inner = lambda: ",".join(f"w{skey}:{value()}" for skey in range(3))
            nested = lambda: "|".join(f"w{pkey}^{inner()}" for pkey in range(3))
            return [(message.get("nested_map"), nested), (message.get("pkey"), word),
                    (message.get("skey"), word)]
        if kind == "custom_feature":
            return [(one, word if message.text("operator_name") == "EditDistance" else number)
                    for one in message.all("expression")]
        if kind == "expr_feature":
            return [(one, number) for one in message.all("variables")]
        if kind in ("overlap_feature", "kv_dot_product"):
            terms = lambda: message.text("separator", "\x1d").join(word() for _ in range(3))
            return [(message.get("query"), terms),
                    (message.get("title") or message.get("document"), terms)]
        if kind == "combine_feature":
            words = [entry.text("key") for entry in message.all("value_map")]
            return [(message.get("expression"),
                     (lambda: str(self.random.choice(words))) if words else number)]
        if kind == "bool_mask_feature":
            values, mask = message.all("expression")[:2]
            return [(values, lambda: self.token(message)), (mask, lambda: "true")]
        return [(one, lambda: self.tokens(kind, message)) for one in message.all("expression")]

    def add(self, column, draw, sequence):
        if column in self.columns:
            return
        cells = [draw() for _ in range(self.count)]
        if sequence:
            delimiter = sequence.text("sequence_delim", ";")
            cells = [delimiter.join([str(cell)] + [str(draw())
                                                   for _ in range(self.random.integers(0, 4))])
                     for cell in cells]
        self.columns[column] = pa.array(cells)

    def tokens(self, kind, message):
        """One cell of a feature without sequence."""
        separator = self.separator if self.final else message.text("separator", "\x1d")
        if kind == "raw_feature":
            if self.final and message.get("boundaries"):
                return int(self.random.integers(0, len(message.all("boundaries")) + 1))
            width = int(message.number("value_dim", 1))
            values = [round(float(self.random.random()) + 0.01, 4) for _ in range(width)]
            return values[0] if width == 1 else separator.join(map(str, values))
        token = self.token(message)
        return f"{token}:0.5" if message.text("weighted", "false") == "true" else token

    def token(self, message):
        words = ([unquoted(word) for word in message.all("vocab_list")] or
                 [entry.text("key") for entry in message.all("vocab_dict")])
        if self.final:
            words = []
        if words:
            return str(self.random.choice(words))
        if message.get("vocab_file") and not self.final:
            return f"w{self.random.integers(0, 5)}"
        rows = message.number("num_buckets") or message.number("hash_bucket_size") or 4
        return int(self.random.integers(0, max(1, min(int(rows), 1000))))

    def add_labels(self, config, data):
        pepnet = config.get("model_config", Message()).get("pepnet", Message())
        classes = collections.defaultdict(lambda: 2)
        for tower in pepnet.all("task_towers"):
            classes[tower.text("label_name")] = max(2, int(tower.number("num_class", 1)))
        if pepnet.get("domain_input_name"):
            classes[pepnet.text("domain_input_name")] = int(pepnet.number("task_domain_num", 1))
        for label in map(unquoted, data.all("label_fields")):
            self.columns[label] = pa.array(self.random.integers(0, classes[label], self.count))
        for weight in map(unquoted, data.all("sample_weight_fields")):
            self.columns[weight] = pa.array(self.random.random(self.count) + 0.5)

    def write(self, path):
        pq.write_table(pa.table(self.columns), path)


def supply_vocabularies(message, directory):
    """Makes up each vocab_file that is not there."""
    for _, value in message.fields:
        if isinstance(value, Message):
            supply_vocabularies(value, directory)
    path = pathlib.Path(message.text("asset_dir")) / message.text("vocab_file")
    if message.get("vocab_file") and not path.exists():
        (directory / "vocabulary").write_text("".join(f"w{word}\n" for word in range(5)))
        message.set("vocab_file", quoted(str(directory / "vocabulary")))
        message.set("asset_dir")


# ---- the table -----------------------------------------------------------------------------------

def run(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return f"no end within {TIMEOUT_S} s"
    if done.returncode == 0:
        return ""
    lines = ([line for line in done.stderr.split("\n") if line.strip()]
             or [f"status {done.returncode} without a word"])
    return lines[-1]


def first_reason(said, path):
    """The cause in what check-config or train said last, without the place of the temporary
    file."""
    said = (said.rsplit("all of them above; the first: ", 1)[-1]
            .replace(str(path), "").removeprefix("pepnet: "))
    return re.sub(r"^:\d*:? ?|^: ", "", said).strip()


def try_config(path, pepnet, steps, directory):
    """(model, whether the check passes, whether it trains, the first reason)."""
    try:
        config = Parser(path.read_text()).parse()
        model = model_of(config.get("model_config", Message()))
        config = with_pepnet(config)
    # No text format; a scalar where a message belongs.
    except (ValueError, AttributeError) as error:
        return "?", False, False, f"not read: {error}"
    supply_vocabularies(config, directory)
    swapped = directory / "pipeline.config"
    swapped.write_text(config.write() + "\n")
    flags = ["--pipeline_config_path", swapped, "--train_input_path", directory / "train.parquet",
             "--model_dir", directory / "model"]
    # A command line may name the model_dir, too.
    elsewhere = json.dumps({"model_dir": str(directory / "model")})
    checked = run([pepnet, "check-config", "--pipeline_config_path", swapped,
                   "--edit_config_json", elsewhere])
    if checked:
        return model, False, False, first_reason(checked, swapped)
    Rows(config, BATCH * steps).write(directory / "train.parquet")
    edits = {"train_config.num_steps": steps, "train_config.num_epochs": None,
             "train_config.fine_tune_checkpoint": None,
             "data_config.batch_size": BATCH, "data_config.eval_batch_size": None,
             "data_config.dataset_type": "ParquetDataset", "eval_input_path": "",
             "train_config.use_tensorboard": False}
    trained = run([pepnet, "train", *flags, "--edit_config_json", json.dumps(edits)])
    return model, True, not trained, first_reason(trained, swapped)


def cell(text):
    return text.replace("|", "\\|")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--pepnet", type=pathlib.Path, default=pathlib.Path("build/release/pepnet"))
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--keep", type=pathlib.Path,
                        help="a directory for the changed configs, rows and runs")
    args = parser.parse_args()
    paths = sorted(args.directory.rglob("*.config"))
    if not paths:
        sys.exit(f"there is no *.config below {args.directory}")
    if not args.pepnet.is_file():
        sys.exit(f"there is no program {args.pepnet}; "
                 "build it with scripts/build.sh or name it with --pepnet")
    passed = trained = 0
    print("| config | model | check | train | first reason |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as scratch:
        for number, path in enumerate(paths):
            directory = (args.keep or pathlib.Path(scratch)).resolve() / f"{number:03}"
            directory.mkdir(parents=True)
            model, check, train, reason = try_config(path, args.pepnet, args.steps, directory)
            passed, trained = passed + check, trained + train
            words = ["ok" if check else "refused", "ok" if train else "fails" if check else "-"]
            name = path.relative_to(args.directory)
            print(f"| `{name}` | {model} | {words[0]} | {words[1]} | {cell(reason)} |", flush=True)
    print(f"\n{len(paths)} configs: {passed} pass the check, {trained} train {args.steps} steps.")


if __name__ == "__main__":
    main()
