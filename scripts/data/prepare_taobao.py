#!/usr/bin/env python3
"""Turns the public Ali_Display_Ad_Click files into Parquet for the Taobao configs.

Usage: python3 scripts/data/prepare_taobao.py --input_dir data/ali_display_ad_click
                    --output_dir data/taobao

Input, CSV with header, as published:
  raw_sample.csv     user,time_stamp,adgroup_id,pid,nonclk,clk
                     26 million impressions of 8 days
  ad_feature.csv     adgroup_id,cate_id,campaign_id,customer,brand,price
                     brand may be NULL
  user_profile.csv   userid,cms_segid,...,new_user_class_level
                     empty cells; not every user
  behavior_log.csv   user,time_stamp,btag,cate,brand
                     723 million rows of 22 days

Output: output_dir/train/day-<date>.parquet for all days but the last,
output_dir/test/day-<date>.parquet for the last. Rows stand in time order (rows of one second in the
order of raw_sample.csv), in row groups of 65,536. Days are those
of --utc_offset_hours. The columns are those of configs/pepnet_taobao.config and
configs/pepnet_taobao_example.config, and
time_stamp:

  tag_category_list, tag_brand_list
                      the last actions of the user before the impression: the categories and the
                      brands of the newest --list_length behaviours (viewed, put in the cart, liked,
                      bought) whose time_stamp is strictly smaller, oldest first, joined with '|'.
                      Repeats stay; null if there are none.
  clk                 as published.
  buy                 1 if and only if the impression was clicked and its user bought (btag buy)
                      something of the ad's category and brand at time t with time_stamp < t <=
                      time_stamp + --buy_window_hours. A purchase counts for every click that it
                      follows. An ad without a brand has buy = 0: nothing says that the purchase was
                      of its brand. The log ends with the last day, so the last window sees fewer
                      purchases.
  missing values      of the profile (empty cell, or no profile at all) take the last bucket of the
                      config, which no published value uses. There are two exceptions, where the
                      last bucket is a real value: final_gender_code and brand take 0.

Memory stays bounded: impressions and behaviours are first spread by user over --partitions
temporary files below output_dir, then each partition is worked on by itself. The result does not
depend on --partitions. Nothing appears in output_dir unless everything went well. What the
published files take, by a run on generated ones of 1/36 of their size on two cores: 40 minutes, 1.3
GB of memory, 20 GB of disk on the way and 7 GB at the end.
"""
import argparse
import contextlib
import datetime
import json
import os
import pathlib
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

# Rows of each table of the configs (num_buckets): every value must be smaller.
BUCKETS = {
    "user_id": 1141730, "cms_segid": 98, "cms_group_id": 14, "final_gender_code": 3, "age_level": 8,
    "pvalue_level": 5, "shopping_level": 5, "occupation": 3, "new_user_class_level": 6,
    "adgroup_id": 846812, "cate_id": 12961, "campaign_id": 423438, "customer": 255877,
    "brand": 461498,
}
PROFILE = ["cms_segid", "cms_group_id", "final_gender_code", "age_level", "pvalue_level",
           "shopping_level", "occupation", "new_user_class_level"]
AD = ["cate_id", "campaign_id", "customer", "brand"]
# The value that replaces a missing one. No real value may be this one.
MISSING = {**{name: BUCKETS[name] - 1 for name in PROFILE}, "final_gender_code": 0, "brand": 0}

BEHAVIOURS = ["pv", "cart", "fav", "buy"]
IMPRESSION = np.dtype([("row", "<i8"), ("time", "<i8"), ("user", "<i4"), ("ad", "<i4"),
                       ("pid", "<i4"), ("clk", "i1")])
BEHAVIOUR = np.dtype([("time", "<i8"), ("user", "<i4"), ("cate", "<i4"), ("brand", "<i4"),
                      ("buy", "i1")])
ROW_GROUP = 65536
# Partitions are cut into slices of time; a slice of all partitions is sorted in memory.
SLICE_SECONDS = 3600
BLOCK_BYTES = 16 << 20  # of CSV text at a time


# ---- reading -------------------------------------------------------------------------------------


def blocks(path, columns):
    """Yields (number of the block's first data row, {name: array}) for the columns of a CSV file
    with header.

    `columns` maps names to Arrow types. Empty cells and NULL are null. Names may be quoted and
    padded with blanks.
    """
    with open(path, encoding="utf-8") as file:
        names = [name.strip().strip('"').strip()
                 for name in file.readline().rstrip("\r\n").split(",")]
    absent = [name for name in columns if name not in names]
    if absent:
        raise SystemExit(f"{path}: there is no column {absent[0]}; "
                         f"the first line names {', '.join(names)}")
    reader = pa.csv.open_csv(
        path,
        read_options=pa.csv.ReadOptions(column_names=names, skip_rows=1, block_size=BLOCK_BYTES),
        convert_options=pa.csv.ConvertOptions(column_types=columns, include_columns=list(columns),
                                              null_values=["", "NULL"], strings_can_be_null=True))
    first = 1
    for batch in reader:
        yield first, {name: batch.column(i) for i, name in enumerate(columns)}
        first += batch.num_rows


def numbers(path, first, name, column, low=0, high=1 << 62, missing=None):
    """The column as int64. A null becomes `missing`; a null without it, or a value outside [low,
    high), ends the run."""
    empty = column.is_null().to_numpy(zero_copy_only=False)
    values = column.fill_null(0).to_numpy()
    wrong = ~empty & ((values < low) | (values >= high))
    if missing is None:
        wrong |= empty
    else:
        wrong |= ~empty & (values == missing)
    if wrong.any():
        at = int(np.argmax(wrong))
        seen = "empty" if empty[at] else values[at]
        stands_for = ("" if missing is None
                      else f", but not {missing}, which stands for a missing value")
        raise SystemExit(f"{path}, row {first + at}: {name} is {seen}; "
                         f"expected {low} to {high - 1}{stands_for}")
    return values if missing is None else np.where(empty, missing, values)


class Lookup:
    """Columns of a small table by a unique key."""

    def __init__(self, path, key_column, key, names, integers, floats=()):
        types = ({name: pa.int64() for name in (key_column, *integers)}
                 | {name: pa.float64() for name in floats})
        parts = {name: [] for name in (key_column, *integers, *floats)}
        for first, columns in blocks(path, types):
            parts[key_column].append(numbers(path, first, key_column, columns[key_column],
                                             0, BUCKETS[key]))
            for name in integers:
                parts[name].append(numbers(path, first, name, columns[name],
                                           0, BUCKETS[name], MISSING.get(name)))
            for name in floats:
                if columns[name].null_count:
                    row = first + pc.index(columns[name].is_null(), True).as_py()
                    raise SystemExit(f"{path}, row {row}: {name} is empty; expected a number")
                parts[name].append(columns[name].to_numpy())
        keys = np.concatenate(parts[key_column]) if parts[key_column] else np.zeros(0, np.int64)
        order = np.argsort(keys, kind="stable")
        self.keys = keys[order]
        twice = self.keys[1:][self.keys[1:] == self.keys[:-1]]
        if len(twice):
            raise SystemExit(f"{path}: {key_column} {twice[0]} stands there twice; "
                             "expected one row for each")
        self.columns = {name: np.concatenate(parts[name])[order] if len(keys) else np.zeros(0)
                        for name in names}

    def find(self, keys):
        """Positions of the keys, and whether each is there (the position means nothing where it is
        not)."""
        if len(self.keys) == 0:
            return np.zeros(len(keys), np.int64), np.zeros(len(keys), bool)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return at, self.keys[at] == keys


# ---- first pass: by user -------------------------------------------------------------------------


class Partitions:
    """Records of one kind in one temporary file per partition, in the order of their coming."""

    def __init__(self, directory, kind, count):
        self.paths = [directory / f"{kind}-{number:05d}" for number in range(count)]

    def __enter__(self):
        self.stack = contextlib.ExitStack()
        self.files = [self.stack.enter_context(open(path, "wb")) for path in self.paths]
        return self

    def __exit__(self, *error):
        self.stack.close()

    def append(self, records):
        partition = records["user"] % len(self.paths)
        order = np.argsort(partition, kind="stable")
        ends = np.cumsum(np.bincount(partition, minlength=len(self.paths)))
        for number, end in enumerate(ends):
            start = ends[number - 1] if number else 0
            records[order[start:end]].tofile(self.files[number])


def spread_impressions(path, directory, count):
    """Returns the partitions' paths and the pid texts by number."""
    pids = {}
    types = {"user": pa.int64(), "time_stamp": pa.int64(), "adgroup_id": pa.int64(),
             "pid": pa.string(), "clk": pa.int64()}
    with Partitions(directory, "impressions", count) as partitions:
        for first, columns in blocks(path, types):
            records = np.empty(len(columns["user"]), IMPRESSION)
            records["row"] = first + np.arange(len(records))
            records["time"] = numbers(path, first, "time_stamp", columns["time_stamp"])
            records["user"] = numbers(path, first, "user", columns["user"], 0, BUCKETS["user_id"])
            records["ad"] = numbers(path, first, "adgroup_id", columns["adgroup_id"],
                                    0, BUCKETS["adgroup_id"])
            records["clk"] = numbers(path, first, "clk", columns["clk"], 0, 2)
            encoded = columns["pid"].dictionary_encode()
            texts = [pids.setdefault(text, len(pids)) for text in encoded.dictionary.to_pylist()]
            if columns["pid"].null_count:
                raise SystemExit(f"{path}: a pid between rows {first} and "
                                 f"{first + len(records) - 1} is empty")
            records["pid"] = np.array(texts, np.int32)[encoded.indices.to_numpy()]
            partitions.append(records)
    return partitions.paths, list(pids)


def spread_behaviours(path, directory, count):
    types = {"user": pa.int64(), "time_stamp": pa.int64(), "btag": pa.string(), "cate": pa.int64(),
             "brand": pa.int64()}
    # The range of the temporary files; categories and brands of behaviours are hashed by the
    # config.
    limit = 1 << 31
    lowest = -(1 << 62)
    with Partitions(directory, "behaviours", count) as partitions:
        for first, columns in blocks(path, types):
            records = np.empty(len(columns["user"]), BEHAVIOUR)
            # A few published times lie far outside the 22 days; they are taken as they are.
            records["time"] = numbers(path, first, "time_stamp", columns["time_stamp"], lowest)
            records["user"] = numbers(path, first, "user", columns["user"], 0, limit)
            records["cate"] = numbers(path, first, "cate", columns["cate"], 0, limit)
            records["brand"] = numbers(path, first, "brand", columns["brand"], 0, limit)
            known = pc.is_in(columns["btag"], value_set=pa.array(BEHAVIOURS))
            if not pc.all(known).as_py():
                at = pc.index(known, False).as_py()
                raise SystemExit(f"{path}, row {first + at}: "
                                 f"btag is {columns['btag'][at].as_py()!r}; "
                                 f"expected one of {', '.join(BEHAVIOURS)}")
            records["buy"] = pc.equal(columns["btag"], "buy").to_numpy(zero_copy_only=False)
            partitions.append(records)
    return partitions.paths


# ---- second pass: one partition at a time --------------------------------------------------------


def ranks(values, queries):
    """Position among the sorted distinct values, of values and of queries (-1: not among them)."""
    distinct, of_values = np.unique(values, return_inverse=True)
    if len(distinct) == 0:
        return of_values, np.full(len(queries), -1, np.int64)
    at = np.minimum(np.searchsorted(distinct, queries), len(distinct) - 1)
    return of_values, np.where(distinct[at] == queries, at, -1)


class Keys:
    """(group, time) packed into one int64 that sorts like the pair. Times beyond those of `times`
    move to its ends."""

    def __init__(self, times, groups):
        self.low, self.high = int(times.min()), int(times.max())
        self.span = self.high - self.low + 2
        if groups * self.span >= 1 << 62:
            raise SystemExit(f"the times of a partition spread over {self.span} seconds, "
                             f"too many for its {groups} users or purchases; raise --partitions")

    def pack(self, group, time):
        return (group * self.span
                + (np.minimum(np.maximum(time, self.low - 1), self.high) - self.low + 1))


def newest_before(impressions, behaviours, length):
    """For each impression the range [begin, end) of behaviours (sorted by user and time) that its
    lists hold."""
    zero = np.zeros(len(impressions), np.int64)
    if len(behaviours) == 0:
        return zero, zero
    of_behaviour, user = ranks(behaviours["user"], impressions["user"])
    # Every time that is compared is inside the span, so that moving times to its ends never
    # happens.
    keys = Keys(np.concatenate([behaviours["time"], impressions["time"]]),
                int(of_behaviour.max()) + 1)
    packed = keys.pack(of_behaviour, behaviours["time"])
    end = np.searchsorted(packed, keys.pack(user, impressions["time"]), side="left")
    start = np.searchsorted(of_behaviour, user, side="left")
    begin = np.maximum(start, end - length)
    known = user >= 0
    return np.where(known, begin, 0), np.where(known, end, 0)


def joined(values, begin, end):
    """values[begin:end] of each row as 'a|b|c', null if empty."""
    counts = end - begin
    offsets = np.concatenate([[0], np.cumsum(counts)])
    index = np.arange(offsets[-1]) + np.repeat(begin - offsets[:-1], counts)
    tokens = pa.array(values[index]).cast(pa.string())
    lists = pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), tokens)
    return pc.if_else(pa.array(counts > 0), pc.binary_join(lists, "|"),
                      pa.scalar(None, pa.string()))


def bought(impressions, cate, brand, behaviours, window_seconds):
    """The label `buy`; the rule is in the head of this file."""
    buy = np.zeros(len(impressions), np.int64)
    wanted = np.flatnonzero((impressions["clk"] == 1) & (brand != MISSING["brand"]))
    # Purchases of categories and brands that no ad can have need no key.
    purchases = behaviours[(behaviours["buy"] == 1) & (behaviours["cate"] < BUCKETS["cate_id"]) &
                           (behaviours["brand"] < BUCKETS["brand"])]
    if len(wanted) == 0 or len(purchases) == 0:
        return buy

    def what(user, cate, brand):  # users are ranks here, so that this stays far below 2^63
        return (user.astype(np.int64) * BUCKETS["cate_id"] + cate) * BUCKETS["brand"] + brand

    of_purchase, user = ranks(purchases["user"], impressions["user"][wanted])
    wanted, user = wanted[user >= 0], user[user >= 0]
    group, wanted_group = ranks(what(of_purchase, purchases["cate"], purchases["brand"]),
                                what(user, cate[wanted], brand[wanted]))
    wanted, wanted_group = wanted[wanted_group >= 0], wanted_group[wanted_group >= 0]
    keys = Keys(purchases["time"], int(group.max()) + 1)
    packed = np.sort(keys.pack(group, purchases["time"]))
    time = impressions["time"][wanted]
    after = np.searchsorted(packed, keys.pack(wanted_group, time), side="right")
    until = np.searchsorted(packed, keys.pack(wanted_group, time + window_seconds), side="right")
    buy[wanted] = until > after
    return buy


def joined_rows(impressions, behaviours, ads, profiles, pids, args):
    """The output rows of one partition, in (time, row) order, as tables of at most ROW_GROUP rows;
    what was missing."""
    impressions = impressions[np.lexsort((impressions["row"], impressions["time"]))]
    # Stable: one second keeps its order.
    behaviours = behaviours[np.lexsort((behaviours["time"], behaviours["user"]))]
    at_ad, known_ad = ads.find(impressions["ad"])
    if not known_ad.all():
        raise SystemExit("raw_sample.csv shows adgroup_id "
                         f"{impressions['ad'][np.argmin(known_ad)]}, which ad_feature.csv "
                         "does not have; are both files complete?")
    at_profile, known_profile = profiles.find(impressions["user"])
    begin, end = newest_before(impressions, behaviours, args.list_length)
    ad = {name: ads.columns[name][at_ad] for name in (*AD, "price")}
    buy = bought(impressions, ad["cate_id"], ad["brand"], behaviours,
                 round(args.buy_window_hours * 3600))
    columns = {"user_id": impressions["user"].astype(np.int64)}
    for name in PROFILE:
        columns[name] = np.full(len(impressions), MISSING[name], np.int64)
        columns[name][known_profile] = profiles.columns[name][at_profile[known_profile]]
    columns |= {"adgroup_id": impressions["ad"].astype(np.int64), **ad}
    pid = pa.array(pids).take(pa.array(impressions["pid"]))
    missing = {"rows_without_profile": int((~known_profile).sum()),
               "rows_without_brand": int((ad["brand"] == 0).sum()),
               "rows_without_history": int((begin == end).sum())}

    def slices():
        for start in range(0, len(impressions), ROW_GROUP):
            stop = min(start + ROW_GROUP, len(impressions))
            yield pa.table({
                **{name: values[start:stop] for name, values in columns.items()},
                "pid": pid[start:stop],
                **{name: joined(behaviours[kind], begin[start:stop], end[start:stop])
                   for name, kind in (("tag_category_list", "cate"), ("tag_brand_list", "brand"))},
                "clk": impressions["clk"][start:stop].astype(np.int64), "buy": buy[start:stop],
                "time_stamp": impressions["time"][start:stop],
                "row": impressions["row"][start:stop]})

    return slices(), missing


def write_partition(path, tables, index):
    """The rows as an Arrow file whose record batches do not cross a slice of time; index[slice]
    gets (path, batch)."""
    writer, batches = None, 0
    for table in tables:
        if writer is None:
            writer = pa.ipc.new_file(path, table.schema,
                                     options=pa.ipc.IpcWriteOptions(compression="lz4"))
        slices = table["time_stamp"].to_numpy() // SLICE_SECONDS
        cuts = [0, *(np.flatnonzero(np.diff(slices)) + 1), table.num_rows]
        for start, stop in zip(cuts, cuts[1:]):
            (batch,) = table.slice(start, stop - start).combine_chunks().to_batches()
            writer.write_batch(batch)
            index.setdefault(int(slices[start]), []).append((path, batches))
            batches += 1
    if writer is not None:
        writer.close()


# ---- third pass: by day --------------------------------------------------------------------------


class DayWriter:
    """One Parquet file; whole row groups whatever the pieces that come."""

    def __init__(self, path, schema):
        self.writer = pq.ParquetWriter(path, schema, compression="zstd")
        self.waiting, self.rows, self.clicks, self.purchases = [], 0, 0, 0

    def write(self, table):
        self.waiting.append(table)
        self.rows += table.num_rows
        self.clicks += pc.sum(table["clk"]).as_py()
        self.purchases += pc.sum(table["buy"]).as_py()
        self.flush(ROW_GROUP)

    def flush(self, at_least):
        table = pa.concat_tables(self.waiting)
        while table.num_rows and table.num_rows >= at_least:
            self.writer.write_table(table.slice(0, ROW_GROUP), row_group_size=ROW_GROUP)
            table = table.slice(ROW_GROUP)
        self.waiting = [table]

    def close(self):
        self.flush(1)
        self.writer.close()
        return {"rows": self.rows, "clk_rate": round(self.clicks / self.rows, 5),
                "buy_rate": round(self.purchases / self.rows, 6)}


def write_days(index, directory, utc_offset_hours):
    """Writes directory/train and directory/test; returns what each day holds."""
    offset = round(utc_offset_hours * 3600)
    day_of = {number: (number * SLICE_SECONDS + offset) // 86400 for number in index}
    days = sorted(set(day_of.values()))
    if len(days) < 2:
        raise SystemExit(f"raw_sample.csv holds impressions of {len(days)} days; "
                         "expected at least 2, for the last is the test set")
    report = {}
    for day in days:
        split = "test" if day == days[-1] else "train"
        date = (datetime.date(1970, 1, 1) + datetime.timedelta(days=day)).isoformat()
        (directory / split).mkdir(exist_ok=True)
        writer = None
        for number in sorted(number for number in index if day_of[number] == day):
            pieces = []
            for path, batch in index[number]:
                with pa.memory_map(str(path)) as source:
                    pieces.append(pa.ipc.open_file(source).get_batch(batch))
            table = pa.Table.from_batches(pieces).sort_by([("time_stamp", "ascending"),
                                                           ("row", "ascending")])
            table = table.drop_columns(["row"])
            writer = writer or DayWriter(directory / split / f"day-{date}.parquet", table.schema)
            writer.write(table)
        report[f"{split}/day-{date}.parquet"] = writer.close()
    return report


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input_dir", type=pathlib.Path, required=True)
    parser.add_argument("--output_dir", type=pathlib.Path, required=True)
    parser.add_argument("--buy_window_hours", type=float, default=24)
    parser.add_argument("--list_length", type=int, default=50)
    parser.add_argument("--utc_offset_hours", type=float, default=8,
                        help="whole hours; the log is of China")
    parser.add_argument("--partitions", type=int, default=64)
    args = parser.parse_args(arguments)
    if not 1 <= args.partitions <= 500:
        raise SystemExit(f"--partitions is {args.partitions}; "
                         "expected 1 to 500: each is an open file")
    if args.list_length < 1 or args.buy_window_hours < 0:
        raise SystemExit("--list_length must be at least 1 and --buy_window_hours at least 0")
    if args.utc_offset_hours % 1:
        raise SystemExit(f"--utc_offset_hours is {args.utc_offset_hours}; expected whole hours")
    files = {name: args.input_dir / f"{name}.csv"
             for name in ("raw_sample", "ad_feature", "user_profile", "behavior_log")}
    for path in files.values():
        if not path.is_file():
            raise SystemExit(f"there is no {path}; "
                             "the four files of Ali_Display_Ad_Click go into --input_dir")
    for split in ("train", "test"):
        if (args.output_dir / split).exists():
            raise SystemExit(f"{args.output_dir / split} exists; "
                             "remove it or choose another --output_dir")

    args.output_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".taobao-", dir=args.output_dir) as scratch:
        scratch = pathlib.Path(scratch)
        ads = Lookup(files["ad_feature"], "adgroup_id", "adgroup_id", (*AD, "price"), AD, ["price"])
        profiles = Lookup(files["user_profile"], "userid", "user_id", PROFILE, PROFILE)
        print(f"{len(ads.keys)} ads, {len(profiles.keys)} profiles", flush=True)
        impression_paths, pids = spread_impressions(files["raw_sample"], scratch, args.partitions)
        print("impressions are spread; now the behaviours", flush=True)
        behaviour_paths = spread_behaviours(files["behavior_log"], scratch, args.partitions)
        index, missing = {}, {}
        for number, (impression_path, behaviour_path) in enumerate(
                zip(impression_paths, behaviour_paths)):
            impressions = np.fromfile(impression_path, IMPRESSION)
            behaviours = np.fromfile(behaviour_path, BEHAVIOUR)
            for path in (impression_path, behaviour_path):
                os.remove(path)
            tables, counts = joined_rows(impressions, behaviours, ads, profiles, pids, args)
            write_partition(scratch / f"rows-{number:05d}", tables, index)
            missing = {name: missing.get(name, 0) + count for name, count in counts.items()}
            print(f"partition {number + 1} of {args.partitions}: {len(impressions)} impressions, "
                  f"{len(behaviours)} behaviours", flush=True)
        report = write_days(index, scratch, args.utc_offset_hours)
        for split in ("train", "test"):
            os.rename(scratch / split, args.output_dir / split)
    print(json.dumps({**missing, "days": report}, indent=1))


if __name__ == "__main__":
    main()
