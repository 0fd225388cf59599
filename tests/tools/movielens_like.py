"""Rows in the shape of configs/pepnet_movielens.config, from a seed; some cells are empty or hold
unknown words."""

import random

import pyarrow as pa
import pyarrow.parquet as pq

GENRES = ["Action", "Comedy", "Drama", "Film-Noir", "War", "NewGenre"]
TEXTS = ("gender", "zip_prefix", "genres")


def columns(rows, seed=5):
    draw = random.Random(seed)
    print("seed", seed)
    return {
        "user_id": [draw.randrange(943) for _ in range(rows)],
        "item_id": [draw.randrange(1682) for _ in range(rows)],
        "age": [draw.randrange(7, 74) for _ in range(rows)],
        "gender": [draw.choice(["M", "F", "X"]) for _ in range(rows)],
        "occupation_id": [draw.randrange(21) for _ in range(rows)],
        "zip_prefix": [draw.choice("0123456789VT") for _ in range(rows)],
        "release_year": [draw.choice([None, *range(1922, 1999)]) for _ in range(rows)],
        "genres": ["|".join(draw.sample(GENRES, draw.randrange(4))) for _ in range(rows)],
        "like": [draw.randrange(2) for _ in range(rows)],
        "love": [draw.randrange(2) for _ in range(rows)],
    }


def write(path, cells):
    types = {name: pa.string() if name in TEXTS else pa.int64() for name in cells}
    pq.write_table(pa.table({name: pa.array(values, types[name])
                             for name, values in cells.items()}), path)
