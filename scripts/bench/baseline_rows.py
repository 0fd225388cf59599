"""Shared code of the baselines on tables of columns: files, the tasks of the command line, and the
AUCs that they print."""
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from sklearn.metrics import roc_auc_score


def read_split(data_dir, name):
    paths = sorted(data_dir.glob(f"{name}*.parquet"))
    if paths:
        return pa.concat_tables([pq.read_table(path) for path in paths])
    paths = sorted(data_dir.glob(f"{name}*.csv"))
    if not paths:
        raise SystemExit(f"{data_dir} holds no {name}*.parquet and no {name}*.csv")
    return pa.concat_tables([pyarrow.csv.read_csv(path) for path in paths])


def add_arguments(parser):
    parser.add_argument("--data_dir", type=pathlib.Path, required=True)
    parser.add_argument("--tasks", nargs="+", default=["ctr:clk", "cvr:buy:clk"])
    parser.add_argument("--ignore", nargs="*", default=[], help="columns that are no features")
    parser.add_argument("--seed", type=int, default=1)


class Rows:
    """The rows of a data_dir to train and to test with, the columns that are features, and the
    tasks."""

    def __init__(self, args):
        # name, label, space or None.
        self.tasks = [(task.split(":") + [None])[:3] for task in args.tasks]
        self.train, self.test = (read_split(args.data_dir, "train"),
                                 read_split(args.data_dir, "test"))
        labels = {name for _, label, space in self.tasks for name in (label, space) if name}
        self.columns = [name for name in self.train.column_names
                        if name not in labels and name not in args.ignore]

    def labels(self, label):
        """(of the training rows, of the test rows), 0 or 1."""
        return [(part[label].to_numpy() == 1).astype(np.int32) for part in (self.train, self.test)]

    def inside(self, part, space):
        """A mask of the rows of a part that are in a task's space."""
        return part[space].to_numpy() > 0 if space else np.ones(part.num_rows, dtype=bool)

    def aucs(self, name, label, space, scores):
        """auc_<name> of the test rows, and with a space auc_<name>_in_space."""
        _, labels = self.labels(label)
        report = {f"auc_{name}": float(roc_auc_score(labels, scores))}
        if space:
            inside = self.inside(self.test, space)
            report[f"auc_{name}_in_space"] = float(roc_auc_score(labels[inside], scores[inside]))
        return report
