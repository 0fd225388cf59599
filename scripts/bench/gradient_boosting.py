#!/usr/bin/env python3
"""LightGBM on the same columns: what most people try first.

Usage: python3 scripts/bench/gradient_boosting.py --data_dir data/movielens
                                              --tasks like:like love:love:like
                                              --ignore rating timestamp occupation_id

Needs lightgbm and scikit-learn beside numpy and pyarrow: pip install lightgbm scikit-learn.

Reads data_dir/train*.parquet and test*.parquet (or .csv with a header line). Every column that is
neither a label nor ignored is a feature: floating point columns are numbers, all others categories;
of a '|'-joined string the first part is the category, and the number of parts a number. The last
tenth of the training rows stops the boosting early.

A task is name:label or name:label:space; with a space label it is trained on the rows where that
label is positive. Prints one JSON object: auc_<name> over all test rows, and auc_<name>_in_space
over the test rows in that space.
"""
import argparse
import json
import time

import lightgbm
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from baseline_rows import Rows, add_arguments


def encode_column(train, test):
    """Yields (name's ending, is it a category, training values, test values) of a column, float64,
    NaN where missing."""
    if pa.types.is_floating(train.type):
        yield "", False, train.to_numpy(), test.to_numpy()
        return
    if pa.types.is_string(train.type) or pa.types.is_large_string(train.type):
        parts = [pc.split_pattern(column, "|") for column in (train, test)]
        counts = [pc.list_value_length(column).to_numpy().astype(np.float64) for column in parts]
        if max(counts[0], default=0) > 1:
            yield ".parts", False, *counts
        train, test = (pc.list_element(column, 0) for column in parts)
    known = train.combine_chunks().dictionary_encode().dictionary
    # Values that training has not met are missing.
    yield "", True, *(pc.index_in(column, known).to_numpy().astype(np.float64)
                      for column in (train, test))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--rounds", type=int, default=500, help="trees at most")
    parser.add_argument("--learning_rate", type=float, default=0.05)
    args = parser.parse_args()

    rows = Rows(args)
    names, categories, columns = [], [], []
    for name in rows.columns:
        for ending, category, *values in encode_column(rows.train[name], rows.test[name]):
            names.append(name + ending)
            columns.append(values)
            if category:
                categories.append(name + ending)
    x_train, x_test = (np.column_stack([column[part] for column in columns]) for part in (0, 1))

    start = time.perf_counter()
    report = {"lightgbm": lightgbm.__version__, "train_rows": rows.train.num_rows,
              "features": names}
    for name, label, space in rows.tasks:
        y_train, _ = rows.labels(label)
        inside = np.flatnonzero(rows.inside(rows.train, space))
        fitted, watched = inside[: len(inside) * 9 // 10], inside[len(inside) * 9 // 10 :]
        described = {"feature_name": names, "categorical_feature": categories}
        data = lightgbm.Dataset(x_train[fitted], y_train[fitted], **described)
        model = lightgbm.train(
            {"objective": "binary", "metric": "auc", "learning_rate": args.learning_rate,
             "seed": args.seed, "verbose": -1},
            data, args.rounds,
            valid_sets=[lightgbm.Dataset(x_train[watched], y_train[watched], reference=data)],
            callbacks=[lightgbm.early_stopping(30, verbose=False)])
        report |= rows.aucs(name, label, space, model.predict(x_test))
        report[f"trees_{name}"] = model.best_iteration
    report["seconds"] = round(time.perf_counter() - start, 1)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
