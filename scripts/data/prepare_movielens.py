#!/usr/bin/env python3
"""Turns RecBole's ml-100k example data into train.parquet and test.parquet for
configs/pepnet_movielens.config.

Usage: python3 scripts/data/prepare_movielens.py --input_dir data/ml-100k
                    --output_dir data/movielens

Input: ml-100k.inter, ml-100k.user and ml-100k.item, tab separated, with headers such as
"user_id:token". Output, one row per rating, oldest first; the newest --test_fraction of all ratings
is the test set:

  user_id, item_id   int64   dense, 0 .. n-1, in the order of the original ids
  age                int64
  gender             string  M or F
  occupation         string
  occupation_id      int64   dense, alphabetical: the domain
  zip_prefix         string  first character of the zip code: a digit, or a letter outside the
                     United States
  release_year       int64   null if unknown
  genres             string  joined with '|'
  like, love         int64   rating >= 4, rating == 5
  rating, timestamp  int64   not used by the config
"""
import argparse
import json
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def read_table(path):
    """Columns by name (without the type behind the colon), each a list of strings."""
    with open(path, encoding="utf-8") as file:
        names = [field.split(":")[0] for field in file.readline().rstrip("\n").split("\t")]
        rows = [line.rstrip("\n").split("\t") for line in file if line.strip()]
    for number, row in enumerate(rows, start=2):
        if len(row) != len(names):
            raise SystemExit(f"{path}, line {number}: {len(row)} fields, "
                             f"the header has {len(names)}")
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def dense_ids(values, key=int):
    """Value -> position among the sorted distinct values."""
    return {value: i for i, value in enumerate(sorted(set(values), key=key))}


def pick(values, rows):
    return [values[row] for row in rows]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input_dir", type=pathlib.Path, required=True)
    parser.add_argument("--output_dir", type=pathlib.Path, required=True)
    parser.add_argument("--test_fraction", type=float, default=0.2)
    args = parser.parse_args()

    ratings, users, items = (read_table(args.input_dir / f"ml-100k.{kind}")
                             for kind in ("inter", "user", "item"))
    user_ids, item_ids = dense_ids(users["user_id"]), dense_ids(items["item_id"])
    occupation_ids = dense_ids(users["occupation"], key=str)
    user_row = {user: row for row, user in enumerate(users["user_id"])}
    item_row = {item: row for row, item in enumerate(items["item_id"])}

    # Oldest first; ratings of one second keep the order of the file.
    timestamp = np.array(ratings["timestamp"], dtype=np.float64).astype(np.int64)
    order = np.argsort(timestamp, kind="stable")
    user = pick(ratings["user_id"], order)
    item = pick(ratings["item_id"], order)
    rating = np.array(ratings["rating"], dtype=np.float64).astype(np.int64)[order]
    of_user = [user_row[u] for u in user]
    of_item = [item_row[i] for i in item]

    years = [int(year) if year.isdigit() else None for year in items["release_year"]]
    genres = ["|".join(names.split()) for names in items["class"]]
    occupation = pick(users["occupation"], of_user)
    table = pa.table({
        "user_id": pa.array([user_ids[u] for u in user], pa.int64()),
        "item_id": pa.array([item_ids[i] for i in item], pa.int64()),
        "age": pa.array([int(age) for age in pick(users["age"], of_user)], pa.int64()),
        "gender": pa.array(pick(users["gender"], of_user), pa.string()),
        "occupation": pa.array(occupation, pa.string()),
        "occupation_id": pa.array([occupation_ids[name] for name in occupation], pa.int64()),
        "zip_prefix": pa.array([code[:1].upper() for code in pick(users["zip_code"], of_user)],
                               pa.string()),
        "release_year": pa.array(pick(years, of_item), pa.int64()),
        "genres": pa.array(pick(genres, of_item), pa.string()),
        "like": pa.array((rating >= 4).astype(np.int64)),
        "love": pa.array((rating == 5).astype(np.int64)),
        "rating": pa.array(rating),
        "timestamp": pa.array(timestamp[order]),
    })

    args.output_dir.mkdir(parents=True, exist_ok=True)
    test_rows = round(table.num_rows * args.test_fraction)
    split = {"train": table.slice(0, table.num_rows - test_rows),
             "test": table.slice(table.num_rows - test_rows)}
    report = {"users": len(user_ids), "items": len(item_ids), "occupations": list(occupation_ids)}
    for name, part in split.items():
        pq.write_table(part, args.output_dir / f"{name}.parquet", row_group_size=16384)
        labels = {label: round(float(np.mean(part[label].to_numpy())), 4)
                  for label in ("like", "love")}
        report[name] = {"rows": part.num_rows, "users": len(part["user_id"].unique()),
                        "items": len(part["item_id"].unique()), **labels}
    known = set(split["train"]["user_id"].unique().to_pylist())
    report["test"]["rows_of_users_seen_in_train"] = sum(
        u in known for u in split["test"]["user_id"].to_pylist())
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
