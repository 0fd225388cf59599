#!/usr/bin/env python3
"""Logistic regression on the same ids: the baseline a network has to beat.

Usage: python3 scripts/bench/logistic_regression.py --data_dir data/taobao_like
                    [--solver sgd|liblinear] [--bits 22]
       python3 scripts/bench/logistic_regression.py --data_dir data/movielens
                                              --tasks like:like love:love:like
                                              --ignore rating timestamp occupation_id

Needs scikit-learn beside numpy and pyarrow: pip install scikit-learn.

Reads data_dir/train*.parquet and test*.parquet (or .csv with a header line). Every column that is
neither a label nor ignored is a feature: each value of it, and each part of a '|'-joined string, is
one-hot encoded by hashing (column, value) into 2^--bits weights; a floating point column is cut
into quarter steps of its natural logarithm first.

A task is name:label or name:label:space; with a space label it is trained on the rows where that
label is positive. Prints one JSON object: auc_<name> over all test rows, and auc_<name>_in_space
over the test rows in that space.
"""
import argparse
import json
import time
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse
from baseline_rows import Rows, add_arguments
from sklearn.linear_model import LogisticRegression, SGDClassifier


def hash_values(values, column, bits):
    """Feature number of each of the distinct values (an Arrow array) of a column."""
    if pa.types.is_integer(values.type):
        mixed = values.to_numpy().astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    else:
        mixed = np.array([zlib.crc32(text.encode()) for text in values.to_pylist()],
                         dtype=np.uint64)
        mixed = mixed * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= np.full(1, zlib.crc32(column.encode()), dtype=np.uint64) << np.uint64(29)
    mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0xBF58476D1CE4E5B9)
    return (mixed >> np.uint64(64 - bits)).astype(np.int32)


def encode_column(table, column, bits):
    """(rows, feature numbers) of one column; nulls and empty strings have none."""
    values = pa.concat_arrays(table[column].chunks)
    rows = np.arange(len(values))
    if pa.types.is_floating(values.type):
        values = pc.cast(
            pc.floor(pc.multiply(pc.ln(pc.max_element_wise(values, 1e-9)), 4.0)), pa.int64())
    if pa.types.is_string(values.type):
        lists = pc.split_pattern(values, "|")
        rows, values = pc.list_parent_indices(lists).to_numpy(), pc.list_flatten(lists)
        keep = pc.not_equal(values, "").to_numpy(zero_copy_only=False)
    else:
        keep = pc.is_valid(values).to_numpy(zero_copy_only=False)
    encoded = values.filter(pa.array(keep)).dictionary_encode()
    if len(encoded) == 0:
        return rows[:0], np.zeros(0, dtype=np.int32)
    return rows[keep], hash_values(encoded.dictionary, column, bits)[encoded.indices.to_numpy()]


def encode(table, columns, bits):
    parts = [encode_column(table, column, bits) for column in columns]
    rows, features = (np.concatenate(part) for part in zip(*parts))
    ones = np.ones(len(rows), dtype=np.float32)
    return scipy.sparse.csr_matrix((ones, (rows, features)), shape=(table.num_rows, 1 << bits))


def fit(args, x, y):
    if args.solver == "liblinear":
        return LogisticRegression(solver="liblinear", C=args.c, random_state=args.seed).fit(x, y)
    return SGDClassifier(loss="log_loss", alpha=args.alpha, max_iter=args.epochs, tol=None,
                         average=True, random_state=args.seed).fit(x, y)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--bits", type=int, default=22)
    parser.add_argument("--solver", choices=["sgd", "liblinear"], default="sgd")
    parser.add_argument("--epochs", type=int, default=5, help="sgd: passes over the data")
    parser.add_argument("--alpha", type=float, default=1e-6, help="sgd: regularisation")
    parser.add_argument("--c", type=float, default=0.1, help="liblinear: inverse regularisation")
    args = parser.parse_args()

    rows = Rows(args)
    start = time.perf_counter()
    x_train, x_test = (encode(part, rows.columns, args.bits) for part in (rows.train, rows.test))
    report = {"solver": args.solver, "train_rows": rows.train.num_rows, "features": rows.columns}
    for name, label, space in rows.tasks:
        y_train, _ = rows.labels(label)
        inside = rows.inside(rows.train, space)
        scores = fit(args, x_train[inside], y_train[inside]).decision_function(x_test)
        report |= rows.aucs(name, label, space, scores)
    report["seconds"] = round(time.perf_counter() - start, 1)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
