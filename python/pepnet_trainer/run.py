"""Trainings: started, watched, and read back from their model_dir."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import tempfile
import warnings
from dataclasses import dataclass
from typing import Any, Iterator, Mapping, Sequence, Union

import pyarrow as pa
import pyarrow.parquet as pq

from . import checkpoint as checkpoint_files
from . import frames, program
from .config import Config, Edits, flags
from .frames import Frame, Rows
from .progress import Callback, Printer, StopTraining, Tail

CheckpointChoice = Union[str, "os.PathLike[str]", "Checkpoint", None]


@dataclass(frozen=True)
class Checkpoint:
    """A saved state of a run: its steps, its directory, and what the evaluation after it
    measured."""

    step: int
    path: pathlib.Path
    values: Mapping[str, float]

    def __fspath__(self) -> str:
        return str(self.path)


class Run:
    """A training by its model_dir: what it measured, its checkpoints, and what can be done with
    them.

    Run("runs/shop") opens one that was made earlier, by the command line as well.
    """

    def __init__(self, model_dir: str | os.PathLike[str]) -> None:
        self.model_dir = pathlib.Path(model_dir)
        if not _has_begun(self.model_dir):
            raise FileNotFoundError(
                f"{str(self.model_dir)!r} holds no pipeline.config: no training has begun there"
            )

    def __repr__(self) -> str:
        steps = list(self.checkpoints)
        return (
            f"Run({str(self.model_dir)!r}, status {self.status!r}, checkpoints after steps {steps})"
        )

    @property
    def config(self) -> Config:
        """The effective config of the run."""
        return Config.from_file(self.model_dir / "pipeline.config")

    @property
    def report(self) -> dict[str, Any]:
        """job_report.json: how the job stands or ended (docs/reliability.md)."""
        path = self.model_dir / "job_report.json"
        return json.loads(path.read_text()) if path.exists() else {}

    @property
    def status(self) -> str:
        """The state of the job, in one word of job_report.json."""
        return str(self.report.get("status", "unknown"))

    @property
    def log(self) -> str:
        """Everything that the program said in the trainings that train() started in this
        model_dir."""
        path = self.model_dir / "train.log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def metrics(self) -> Frame:
        """metrics.jsonl: one row per logged step, with losses, learning rates and rows per
        second."""
        records = list(self._records("metrics.jsonl"))
        for record in records:
            record.pop("why", None)  # the reasons of what is null
            for stage, seconds in record.pop("stage_seconds", {}).items():
                record[f"seconds_{stage}"] = seconds
        return _frame(records)

    @property
    def evaluations(self) -> Frame:
        """train_eval_result.txt: one row per evaluation, with every metric and loss."""
        return _frame(list(self._records("train_eval_result.txt")))

    def _records(self, name: str) -> Iterator[dict[str, Any]]:
        path = self.model_dir / name
        if path.exists():
            for line in path.read_text().splitlines():
                yield json.loads(line)

    @property
    def checkpoints(self) -> dict[int, Checkpoint]:
        """The checkpoints that are there, by their steps."""
        values = {
            record["global_step"]: record for record in self._records("train_eval_result.txt")
        }
        return {
            step: Checkpoint(
                step,
                path,
                {
                    name: value
                    for name, value in values.get(step, {}).items()
                    if name != "global_step"
                },
            )
            for step, path in checkpoint_files.checkpoints(self.model_dir).items()
        }

    @property
    def newest(self) -> Checkpoint:
        """The checkpoint with the most steps."""
        found = self.checkpoints
        if not found:
            raise FileNotFoundError(f"{str(self.model_dir)!r} holds no finished checkpoint")
        return found[max(found)]

    def best(self, metric: str | None = None, *, larger: bool = True) -> Checkpoint:
        """The checkpoint whose evaluation was best by a metric of `evaluations`.

        By default the one that the training kept (train_config.keep_best, best_checkpoint.json);
        without that the best by the mean of all AUCs. Warns where a better one has been deleted
        since (train_config.keep_checkpoint_max).
        """
        kept = self.model_dir / "best_checkpoint.json"
        if metric is None and kept.exists():
            step = json.loads(kept.read_text())["step"]
            if step not in self.checkpoints:
                raise FileNotFoundError(
                    f"{str(kept)!r} names step {step}, whose checkpoint is not there"
                )
            return self.checkpoints[step]
        scores: dict[int, float] = {}
        for record in self._records("train_eval_result.txt"):
            names = [metric] if metric else [name for name in record if name.startswith("auc_")]
            unknown = [name for name in names if name not in record]
            if unknown or not names:
                raise KeyError(
                    f"there is no metric {metric or 'auc_*'!r}; the evaluations have "
                    f"{', '.join(name for name in record if name != 'global_step')}"
                )
            values = [record[name] for name in names]
            if all(value is not None for value in values):
                scores[record["global_step"]] = sum(values) / len(values) * (1 if larger else -1)
        there = {step: found for step, found in self.checkpoints.items() if step in scores}
        if not there:
            raise ValueError(
                f"no checkpoint of {str(self.model_dir)!r} has been evaluated; train with eval="
            )
        best = max(there, key=lambda step: scores[step])
        overall = max(scores, key=lambda step: scores[step])
        if scores[overall] > scores[best]:
            warnings.warn(
                f"step {overall} was better than step {best}, but its checkpoint is gone "
                "(train_config.keep_checkpoint_max)",
                stacklevel=2,
            )
        return there[best]

    def predict(
        self,
        rows: Rows | Any,
        *,
        checkpoint: CheckpointChoice = None,
        columns: Sequence[str] | None = None,
        keep: Sequence[str] = (),
        workers: int = 1,
    ) -> Frame:
        """Probabilities and logits of every row, in its order; a DataFrame keeps its index.

        `columns` chooses among probs_<task> and logits_<task>; `keep` copies columns of the rows.
        `rows` may be paths.
        """
        with self._job(rows, checkpoint, workers) as (arguments, data, scratch):
            output = scratch / "predict"
            extra: list[object] = ["--predict_input_path", data, "--predict_output_path", output]
            if columns:
                extra += ["--output_columns", ",".join(frames.names(columns))]
            if keep:
                extra += ["--reserved_columns", ",".join(frames.names(keep))]
            program.run_program("predict", *arguments, *extra, ranks=workers)
            # Nothing of the result may be mapped from a file that is gone in a moment.
            table = pq.read_table(output, memory_map=False)
        return frames.to_frame(table, None if frames.is_path(rows) else rows)

    def evaluate(
        self, rows: Rows | Any, *, checkpoint: CheckpointChoice = None, workers: int = 1
    ) -> dict[str, float]:
        """Metrics and losses of a checkpoint (by default the newest) on other rows, which have the
        labels."""
        with self._job(rows, checkpoint, workers) as (arguments, data, _):
            output = program.run_program(
                "eval", *arguments, "--eval_input_path", data, ranks=workers
            )
        lines = [line for line in output.splitlines() if line.startswith("{")]
        values: dict[str, float] = json.loads(lines[-1])
        return values

    def export(
        self,
        export_dir: str | os.PathLike[str] | None = None,
        formats: Sequence[str] = ("safetensors", "onnx"),
        *,
        checkpoint: CheckpointChoice = None,
        edits: Edits | None = None,
        own_domain: bool = False,
    ) -> pathlib.Path:
        """Writes a checkpoint (by default the newest) for other programs and returns the directory,
        which must not exist: by default <model_dir>/export-<step>. load_torch() and Scorer read it.

        With domain_input_name in the config, a Scorer gives the outputs of every domain,
        probs_<task>_0, ...; `own_domain` adds those of each row's own domain, probs_<task>, which
        load_torch() gives in any case.
        """
        chosen = (
            checkpoint_files.resolve(checkpoint) if checkpoint is not None else self.newest.path
        )
        if export_dir is None:
            export_dir = self.model_dir / f"export-{chosen.name.rpartition('-')[2]}"
        program.run_program(
            "export",
            *flags(self.model_dir / "pipeline.config", edits),
            "--model_dir",
            self.model_dir,
            "--checkpoint_path",
            chosen,
            "--export_dir",
            export_dir,
            "--format",
            ",".join(frames.names(formats)),
            *(["--own_domain"] if own_domain else []),
        )
        return pathlib.Path(export_dir)

    @contextlib.contextmanager
    def _job(
        self, rows: Any, checkpoint: CheckpointChoice, workers: int
    ) -> Iterator[tuple[list[object], str, pathlib.Path]]:
        """(flags, input path, scratch directory) of a command over rows."""
        with tempfile.TemporaryDirectory(prefix="pepnet-") as name:
            scratch = pathlib.Path(name)
            config = self.config
            names = dict.fromkeys(("--predict_input_path", "--eval_input_path"), "the rows")
            names |= {"--output_columns": "columns=", "--checkpoint_path": "checkpoint="}
            if frames.is_path(rows):
                data, edits = frames.paths_text(rows), _kind_edit(frames.paths_text(rows), config)
            else:
                table = frames.fit(frames.to_arrow(rows), config.id_columns())
                data = str(frames.write_rows(table, scratch, "rows"))
                names[data] = frames.kind_of(rows)
                edits = _kind_edit(data, config)
            arguments = flags(self.model_dir / "pipeline.config", edits)
            arguments += ["--model_dir", self.model_dir]
            if checkpoint is not None:
                arguments += ["--checkpoint_path", os.fspath(checkpoint)]
            if workers > 1:
                arguments += ["--placement", "colocated"]
            with program.called(names):
                yield arguments, data, scratch


def _frame(records: list[dict[str, Any]]) -> Frame:
    return frames.to_frame(pa.Table.from_pylist(records))


def _kind_edit(paths: str, config: Config) -> dict[str, Any]:
    """The edits that name the kind of the input files by their ending."""
    last = paths.split(",")[-1].strip()
    if last.endswith(".parquet"):
        return {"data_config.dataset_type": "ParquetDataset"}
    if last.endswith(".csv"):
        edits: dict[str, Any] = {"data_config.dataset_type": "CsvDataset"}
        # The config of rows that have names has no say in how a CSV file tells them.
        if config.parsed().message("data_config").first("dataset_type") == "ParquetDataset":
            edits["data_config.with_header"] = True
        return edits
    return {}


def _free(model_dir: pathlib.Path) -> pathlib.Path:
    """`model_dir`, or the first of model_dir-2, model_dir-3, ... that holds no checkpoint."""
    candidate, number = model_dir, 2
    while any(candidate.glob("model.ckpt-*")):
        candidate = model_dir.with_name(f"{model_dir.name}-{number}")
        number += 1
    return candidate


def train(
    config: Config | str | os.PathLike[str],
    train: Rows | Any = None,
    eval: Rows | Any = None,
    edits: Edits | None = None,
    model_dir: str | os.PathLike[str] | None = None,
    workers: int = 1,
    servers: int | None = None,
    *,
    hostfile: str | os.PathLike[str] | None = None,
    continue_train: bool = False,
    seed: int | None = None,
    threads: int | None = None,
    progress: bool | Callback = True,
    flags: Sequence[object] = (),
) -> Run:
    """Trains and returns the run. An error of the program is a PepnetError with its last sentence.

    `config` is a Config or the path of one. `train` and `eval` are rows or paths; unset, the
    config's paths. Rows are written to <model_dir>/data, so that the run can go on with them.
    `edits` change fields of the config: {"train_config.num_epochs": 5}. `model_dir` is by default
    the config's, with a number behind it where that already holds checkpoints. With several
    `workers` mpirun starts them: each serves a part of the tables as well, or `servers` more ranks
    do. `progress` prints, or is called with each record of metrics.jsonl and train_eval_result.txt;
    a callback that raises StopTraining, or Ctrl-C, ends the training with a checkpoint. `flags` are
    more flags of `pepnet train`.
    """
    if not isinstance(config, Config):
        config = Config.from_file(config)
    if workers < 1:
        raise ValueError(f"workers is {workers}, it must be 1 or more")
    chosen = dict(edits or {})
    message = config.parsed()
    if train is None and not (chosen.get("train_input_path") or message.first("train_input_path")):
        raise ValueError(
            "there are no rows to train with: give train=, or a config with train_input_path"
        )
    if model_dir is not None:
        directory = pathlib.Path(model_dir)
    else:
        named = chosen.pop("model_dir", None) or message.first("model_dir")
        if not named:
            raise ValueError("the config names no model_dir; give one")
        directory = pathlib.Path(named) if continue_train else _free(pathlib.Path(named))
    with _nothing_left_if_refused(directory) as made, config.as_file() as path:
        inputs: dict[str, str] = {}
        names = {"--train_input_path": "train=", "--eval_input_path": "eval="}
        names |= {"--continue_train": "continue_train=True", "--model_dir": "model_dir="}
        for name, rows in (("train", train), ("eval", eval)):
            if rows is None:
                continue
            if frames.is_path(rows):
                inputs[name] = frames.paths_text(rows)
            else:
                table = frames.fit(frames.to_arrow(rows), config.id_columns())
                inputs[name] = str(frames.write_rows(table, directory / "data", name, made))
                names[inputs[name]] = f"{frames.kind_of(rows)} given as {name}="
        kinds = {name: _kind_edit(text, config) for name, text in inputs.items()}
        if len(kinds) == 2 and kinds["train"] != kinds["eval"]:
            raise ValueError(
                "train and eval must be files of one kind: "
                "CSV files, or Parquet files and rows in memory"
            )
        for edit in kinds.values():
            chosen.update(edit)
        if train is not None and eval is None:
            # Rows that are trained on have nothing to do with the config's evaluation.
            chosen.setdefault("eval_input_path", "")
        arguments: list[object] = ["train", *_flags(path, chosen), "--model_dir", directory, *flags]
        for name, text in inputs.items():
            arguments += [f"--{name}_input_path", text]
        if continue_train:
            arguments.append("--continue_train")
        if seed is not None:
            arguments += ["--seed", seed]
        if threads is not None:
            arguments += ["--threads", threads]
        ranks = workers
        if servers is not None:
            arguments += ["--num_servers", servers]
            ranks = workers + servers if workers > 1 or hostfile is not None else 1
        elif workers > 1:
            arguments += ["--placement", "colocated"]
        job = program.Program(
            arguments, ranks=ranks, hostfile=None if hostfile is None else os.fspath(hostfile)
        )
        # A training that goes on counts the passes of earlier ones, too, whose number the config
        # does not tell.
        epochs = (lambda: 0) if continue_train else (lambda: _epochs(directory))
        with program.called(names):
            printer = Printer(epochs=epochs, log=lambda: job.lines)
            _watch(job, directory, printer if progress is True else progress)
    return Run(directory)


_flags = flags  # train() has an argument of this name


def _has_begun(directory: pathlib.Path) -> bool:
    """Has a training begun there? It writes its effective config first."""
    return (directory / "pipeline.config").exists()


@contextlib.contextmanager
def _nothing_left_if_refused(directory: pathlib.Path) -> Iterator[list[pathlib.Path]]:
    """Gives the list for frames.write_rows(); what is in it is removed again where an error ends a
    training that has not begun."""
    made: list[pathlib.Path] = []
    try:
        yield made
    except BaseException:
        if not _has_begun(directory):
            frames.remove(made)
        raise


def _step(record: Mapping[str, Any]) -> int:
    return int(record.get("step", record.get("global_step", 0)))


def _epochs(directory: pathlib.Path) -> int:
    """The passes of a training by its effective config; 0 where its steps are counted."""
    train = Config.from_file(directory / "pipeline.config").parsed().message("train_config")
    return 0 if train.first("num_steps", 0) else int(train.first("num_epochs", 0))


def _watch(job: program.Program, directory: pathlib.Path, progress: Callback | bool) -> None:
    """Tells what the job writes until it ends, and keeps its log."""
    callback = progress if callable(progress) else None
    printer = callback if isinstance(callback, Printer) else None
    tails = [Tail(directory / "metrics.jsonl"), Tail(directory / "train_eval_result.txt")]
    stopped = False
    failure: BaseException | None = None
    running = True
    while running:
        try:
            running = job.running(wait_s=0.2)
            if callback is not None and failure is None:
                for record in sorted((record for tail in tails for record in tail), key=_step):
                    callback(record)
        except KeyboardInterrupt:
            if stopped:  # asked a second time
                job.kill()
                raise
            stopped = True
            job.stop()
        except StopTraining:  # a callback may say so of every record that comes before the end
            if not stopped:
                job.stop()
            stopped = True
        except Exception as error:  # of the callback
            failure = error
            job.stop()
    if printer is not None:
        printer.close()
    status = job.finish()
    if _has_begun(directory):
        with open(directory / "train.log", "a") as file:
            file.write(job.log)
    if failure is not None:
        raise failure
    job.check(
        *((program.STOPPED_ON_REQUEST,) if stopped or status == program.STOPPED_ON_REQUEST else ())
    )
    if status == program.STOPPED_ON_REQUEST and printer is not None:
        print(
            f"stopped with a checkpoint; go on with model_dir={str(directory)!r} "
            "and continue_train=True"
        )
