"""Configs: read, checked by the program, built feature by feature, or made from a DataFrame."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import tempfile
from dataclasses import dataclass, field
from typing import Any, Iterable, Iterator, Mapping, Sequence

from . import program
from .text_format import Message, parse, quote, scalar_text

Edits = Mapping[str, Any]


@dataclass(frozen=True)
class Config:
    """A pipeline config as text. `notes` are the sentences that from_dataframe() has to say about
    the data."""

    text: str
    notes: tuple[str, ...] = ()
    path: pathlib.Path | None = field(default=None, compare=False)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Config:
        """The config of a file. JSON (a name that ends in .json) is turned into text by the
        program."""
        path = pathlib.Path(path)
        if not path.exists():
            raise FileNotFoundError(
                f"there is no config {str(path)!r} (the current directory is {os.getcwd()!r})"
            )
        text = (
            program.run_program("check-config", "--pipeline_config_path", path)
            if path.suffix == ".json"
            else path.read_text()
        )
        return cls(text, path=path)

    @classmethod
    def from_dataframe(
        cls,
        data: Any,
        labels: Sequence[str],
        domain: str | None = None,
        uia: Sequence[str] | None = None,
        *,
        ids: Iterable[str] = (),
        numbers: Iterable[str] = (),
        ignore: Iterable[str] = (),
        train_path: str | None = None,
        eval_path: str | None = None,
        model_dir: str = "runs/model",
    ) -> Config:
        """A config that trains at once, from the columns of a DataFrame (an Arrow table, paths) and
        their statistics.

        `labels` are columns of 0 and 1; `domain` is the scene, which opens EPNet's gates; `uia` are
        the user's and the item's columns, which open PPNet's (unset: chosen by their names; empty:
        no PPNet). `ids` and `numbers` say what a column holds where its name and values do not;
        `ignore` leaves columns out; all take patterns ("feat_*"). Names may be a list or one text,
        "click,buy". What cannot be decided is a ValueError that says what to add.
        """
        from . import suggest

        return suggest.suggest(
            data,
            labels=labels,
            domain=domain,
            uia=uia,
            ids=ids,
            numbers=numbers,
            ignore=ignore,
            train_path=train_path,
            eval_path=eval_path,
            model_dir=model_dir,
        )

    def __str__(self) -> str:
        return self.text

    def save(self, path: str | os.PathLike[str]) -> pathlib.Path:
        """Writes the text to a file, for `pepnet train --pipeline_config_path`."""
        path = pathlib.Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.text)
        return path

    def parsed(self) -> Message:
        """The text as nested messages."""
        return parse(self.text)

    def check(self, edits: Edits | None = None) -> Config:
        """The effective config, with every default, as `pepnet check-config` prints it; a refusal
        is a PepnetError."""
        with self.as_file() as path:
            return Config(program.run_program("check-config", *flags(path, edits)))

    @contextlib.contextmanager
    def as_file(self) -> Iterator[pathlib.Path]:
        """A context with the path of a file that holds the text. Errors of the program in it name
        this config's own file, or "the config"."""
        with tempfile.TemporaryDirectory(prefix="pepnet-") as directory:
            path = pathlib.Path(directory) / "pipeline.config"
            path.write_text(self.text)
            name = "the config" if self.path is None else str(self.path)
            with program.called({str(path): name, "--edit_config_json": "edits="}):
                yield path

    @property
    def labels(self) -> list[str]:
        """The columns of data_config.label_fields."""
        return list(self.parsed().message("data_config").all("label_fields"))

    def features(self) -> list[tuple[str, Message]]:
        """(kind, message) of each feature, as ("id_feature", ...)."""
        return [
            (kind, values[0])
            for entry in self.parsed().all("feature_configs")
            for kind, values in entry.items()
        ]

    def columns(self) -> dict[str, str]:
        """The column of each id and raw feature that is no sequence."""
        return {
            feature.first("feature_name"): column_of(feature, self.encoded())
            for kind, feature in self.features()
            if kind in ("id_feature", "raw_feature")
        }

    def id_columns(self) -> set[str]:
        """The columns that are read as ids."""
        return {
            column_of(feature, self.encoded())
            for kind, feature in self.features()
            if kind == "id_feature"
        }

    def encoded(self) -> bool:
        """Do the columns hold finished ids (FG_NONE)?"""
        data = self.parsed().message("data_config")
        if "fg_encoded" in data:
            return bool(data.first("fg_encoded"))
        return data.first("fg_mode", "FG_NONE") in ("FG_NONE", 1)


def column_of(feature: Message, encoded: bool) -> str:
    """The column that a feature reads: behind the colon of its expression, or named like it."""
    expression = feature.first("expression", "")
    return str(
        feature.first("feature_name") if encoded or not expression else expression.split(":", 1)[-1]
    )


def flags(config_path: pathlib.Path, edits: Edits | None = None) -> list[object]:
    """The flags that name a config and its edits."""
    result: list[object] = ["--pipeline_config_path", config_path]
    if edits:
        result += ["--edit_config_json", json.dumps(dict(edits), default=str)]
    return result


class ConfigBuilder:
    """Writes a config feature by feature; text() is what a person would have typed.

    builder = ConfigBuilder(train_path="train.parquet", model_dir="runs/shop")
    builder.id_feature("user_id", hash_bucket_size=100000, embedding_dim=16)
    builder.raw_feature("price", boundaries=[1, 10, 100], embedding_dim=8)
    builder.group("all", ["user_id", "price"])
    builder.task("click", hidden_units=[32, 16])
    config = builder.build()
    """

    def __init__(
        self,
        train_path: str | None = None,
        eval_path: str | None = None,
        model_dir: str = "runs/model",
        *,
        batch_size: int = 1024,
        num_epochs: int = 1,
        sparse_lr: float = 0.02,
        dense_lr: float = 0.001,
        csv: bool = False,
    ) -> None:
        self.train_path = train_path
        self.eval_path = eval_path
        self.model_dir = model_dir
        self.batch_size = batch_size
        self.num_epochs = num_epochs
        self.sparse_lr = sparse_lr
        self.dense_lr = dense_lr
        self.csv = csv
        self.epnet_hidden_unit: int | None = None
        self.ppnet_hidden_units: Sequence[int] = (64, 32)
        self.dropout = 0.1
        # A feature by whose values evaluations are measured as well.
        self.slice_by: str | None = None
        self.preface: list[str] = []
        self.epochs_comment = ""
        self.data_comments: list[str] = []
        self.notes: list[str] = []
        self._features: list[str] = []
        self._names: set[str] = set()
        self._groups: dict[str, list[str]] = {}
        self._group_comments: dict[str, str] = {}
        self._tasks: list[str] = []
        self._labels: list[str] = []

    def id_feature(self, name: str, *, comment: str = "", **fields: Any) -> ConfigBuilder:
        """A feature whose cells name rows of a table: one of hash_bucket_size, num_buckets,
        vocab_list, ..., and embedding_dim (docs/config.md, IdFeature). `expression` is
        "context:<name>" unless given."""
        return self._feature("id_feature", name, comment, fields)

    def raw_feature(self, name: str, *, comment: str = "", **fields: Any) -> ConfigBuilder:
        """A feature of numbers: with boundaries and embedding_dim, or straight into the network
        (docs/config.md, RawFeature)."""
        return self._feature("raw_feature", name, comment, fields)

    def _feature(
        self, kind: str, name: str, comment: str, fields: Mapping[str, Any]
    ) -> ConfigBuilder:
        if name in self._names:
            raise ValueError(f"the feature {name!r} is there twice")
        self._names.add(name)
        values = {"feature_name": name, "expression": f"context:{name}", **fields}
        head = [f"  # {line}" for line in comment.splitlines()]
        body = f"{kind} {{ {_fields(values)} }}"
        if len(body) > 116:
            body = f"{kind} {{\n" + "\n".join(f"    {line}" for line in _lines(values)) + "\n  }"
        inside = "\n".join([*head, f"  {body}"])
        self._features.append(
            f"feature_configs {{\n{inside}\n}}"
            if head or "\n" in body
            else f"feature_configs {{ {body} }}"
        )
        return self

    def group(self, name: str, features: Sequence[str], comment: str = "") -> ConfigBuilder:
        """The features of a group: "all" (what the model reads), "domain" (EPNet's gates), "uia"
        (PPNet's gates)."""
        unknown = [feature for feature in features if feature not in self._names]
        if unknown:
            raise ValueError(
                f"group {name!r} names the feature(s) {', '.join(unknown)}, which are not there yet"
            )
        self._groups[name] = list(features)
        self._group_comments[name] = comment
        return self

    def task(
        self,
        label: str,
        *,
        name: str | None = None,
        hidden_units: Sequence[int] = (32, 16),
        weight: float | None = None,
        within: str | None = None,
        grouped_auc: str | None = None,
        comment: str = "",
    ) -> ConfigBuilder:
        """A tower that predicts a label of 0 and 1. `within` names the label outside of which rows
        do not count: the tower then predicts the probability given that one."""
        self._label(label)
        lines = [f"      # {line}" for line in comment.splitlines()]
        lines += [f"      tower_name: {quote(name or label)}", f"      label_name: {quote(label)}"]
        if hidden_units:
            dropout = f" dropout_ratio: {scalar_text(self.dropout)}" if self.dropout else ""
            lines.append(f"      mlp {{ hidden_units: {_list(hidden_units)}{dropout} }}")
        lines.append("      metrics { auc { thresholds: 1000 } }")
        if grouped_auc:
            lines.append(
                f"      metrics {{ grouped_auc {{ grouping_key: {quote(grouped_auc)} }} }}"
            )
        lines.append("      losses { binary_cross_entropy {} }")
        if weight is not None:
            lines.append(f"      weight: {scalar_text(weight)}")
        if within is not None:
            self._label(within)
            lines += [
                f"      task_space_indicator_label: {quote(within)}",
                "      in_task_space_weight: 1",
                "      out_task_space_weight: 0",
            ]
        self._tasks.append("    task_towers {\n" + "\n".join(lines) + "\n    }")
        return self

    def _label(self, name: str) -> None:
        if name not in self._labels:
            self._labels.append(name)

    def text(self) -> str:
        """The config as text."""
        sparse_lr, dense_lr = scalar_text(self.sparse_lr), scalar_text(self.dense_lr)
        lines = [f"# {line}".rstrip() for entry in self.preface for line in entry.splitlines()]
        if lines:
            lines.append("")
        if self.train_path is not None:
            lines.append(f"train_input_path: {quote(self.train_path)}")
        if self.eval_path is not None:
            lines.append(f"eval_input_path: {quote(self.eval_path)}")
        lines += [
            f"model_dir: {quote(self.model_dir)}",
            "",
            "train_config {",
            (
                f"  sparse_optimizer {{ adagrad_optimizer {{ lr: {sparse_lr} }} "
                "constant_learning_rate {} }"
            ),
            (
                f"  dense_optimizer {{ adam_optimizer {{ lr: {dense_lr} }} "
                "constant_learning_rate {} }"
            ),
            f"  num_epochs: {self.num_epochs}"
            + (f"  # {self.epochs_comment}" if self.epochs_comment else ""),
            "  save_checkpoints_epochs: 1",
            "  keep_checkpoint_max: 3",
            "}",
            "data_config {",
            *[f"  # {line}" for entry in self.data_comments for line in entry.splitlines()],
            f"  batch_size: {self.batch_size}",
        ]
        lines += (
            ["  dataset_type: CsvDataset", "  with_header: true"]
            if self.csv
            else ["  dataset_type: ParquetDataset"]
        )
        lines += [
            (
                "  fg_mode: FG_DAG  # the columns hold words and numbers; "
                "rows of tables are made of them here"
            ),
            f"  label_fields: {_list(self._labels)}",
            "  shuffle: true",
            "  shuffle_buffer_size: 200",
            "  num_workers: 2",
            "}",
        ]
        if self.slice_by is not None:
            lines += [
                (
                    f"eval_config {{  # each evaluation also by {self.slice_by}: "
                    "where is it badly ranked, or predicted too high?"
                ),
                f"  slice_by: {quote(self.slice_by)}",
                "}",
            ]
        lines += [
            "",
            *self._features,
            "",
            "model_config {",
        ]
        for name, features in self._groups.items():
            comment = self._group_comments[name]
            lines += [f"  # {line}" for line in comment.splitlines()]
            lines += [
                "  feature_groups {",
                f"    group_name: {quote(name)}",
                f"    feature_names: {_list(features, 4)}",
                "    group_type: DEEP",
                "  }",
            ]
        lines.append("  pepnet {")
        if "domain" in self._groups and self.epnet_hidden_unit:
            lines.append(f"    epnet_hidden_unit: {self.epnet_hidden_unit}")
        if "uia" in self._groups:
            lines.append(f"    ppnet_hidden_units: {_list(self.ppnet_hidden_units)}")
            if self.dropout:
                lines.append(f"    ppnet_dropout_ratio: {scalar_text(self.dropout)}")
        lines += [*self._tasks, "  }", "}"]
        return "\n".join(lines) + "\n"

    def build(self) -> Config:
        """The config; `check()` of it asks the program whether it is a good one."""
        if "all" not in self._groups:
            raise ValueError(
                "there is no group 'all': name the features that the model reads with "
                "group('all', [...])"
            )
        if not self._tasks:
            raise ValueError("there is no task: name a label with task('click')")
        return Config(self.text(), tuple(self.notes))


def _list(values: Sequence[Any], indent: int | None = None) -> str:
    text = "[" + ", ".join(scalar_text(value) for value in values) + "]"
    if indent is None or len(text) < 90:
        return text
    lines, line = [], ""
    for value in values:
        piece = scalar_text(value)
        if line and len(line) + len(piece) + 2 > 100:
            lines.append(line)
            line = ""
        line += (", " if line else "") + piece
    return "[\n" + ",\n".join(" " * (indent + 2) + one for one in [*lines, line]) + "]"


def _lines(fields: Mapping[str, Any]) -> Iterator[str]:
    line = ""
    for name, value in fields.items():
        piece = (
            f"{name}: {_list(value, 4)}"
            if isinstance(value, (list, tuple))
            else f"{name}: {scalar_text(value)}"
        )
        if line and (len(line) + len(piece) > 108 or "\n" in piece):
            yield line
            line = ""
        line += (" " if line else "") + piece
    yield line


def _fields(fields: Mapping[str, Any]) -> str:
    return " ".join(
        f"{name}: {_list(value) if isinstance(value, (list, tuple)) else scalar_text(value)}"
        for name, value in fields.items()
    )
