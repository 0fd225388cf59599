#!/usr/bin/env python3
"""Turns the census-income files of the UCI KDD archive into Parquet for
configs/pepnet_census.config.

Usage: python3 scripts/data/prepare_census.py --input_dir data/census-income
                    --output_dir data/census

Input, as published: census-income.data (199,523 people) and census-income.test (99,762); 42 columns
without header, separated by comma and blank. The files are yours to get.
Output: train.parquet and test.parquet, in the order of the input, with the columns below. The
labels are the two tasks of the MMoE benchmark; the column that each is made of is left out, and so
is the instance weight:

  income_over_50k   int64   1 for "50000+.", 0 for "- 50000."
  never_married     int64   1 for the marital status "Never married"
  age, wage_per_hour, capital_gains, capital_losses, stock_dividends, num_employers, weeks_worked
  int64
  all others        string  as they stand, without blanks around them; "?" and "Not in universe" are
                    values like others
"""
import argparse
import json
import os
import pathlib
import re
import tempfile

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

COLUMNS = """\
age class_worker industry_code occupation_code education wage_per_hour enrolled \
marital_status major_industry
major_occupation race hispanic_origin sex union_member unemployment_reason employment \
capital_gains capital_losses
stock_dividends tax_filer region_previous state_previous household_detail household_summary \
instance_weight
migration_msa migration_region migration_within_region same_house_1_year sunbelt_previous \
num_employers
family_under_18 country_father country_mother country_self citizenship own_business \
veteran_questionnaire
veteran_benefits weeks_worked year income""".split()
NUMBERS = ["age", "wage_per_hour", "capital_gains", "capital_losses", "stock_dividends",
           "num_employers", "weeks_worked"]
NOT_FEATURES = ["marital_status", "instance_weight", "income"]
INCOME = {"-50000": 0, "50000+": 1}


def read(path):
    """All columns as text without blanks around it, labels added."""
    try:
        table = pa.csv.read_csv(
            path, read_options=pa.csv.ReadOptions(column_names=COLUMNS),
            convert_options=pa.csv.ConvertOptions(
                column_types={name: pa.string() for name in COLUMNS}))
    except FileNotFoundError:
        raise SystemExit(f"there is no {path}") from None
    except pa.ArrowInvalid as error:
        raise SystemExit(f"{path} does not have {len(COLUMNS)} columns in every row: "
                         f"{error}") from None
    text = {name: pc.utf8_trim_whitespace(table[name]) for name in COLUMNS}
    columns = {name: values for name, values in text.items() if name not in NOT_FEATURES}
    for name in NUMBERS:
        wrong = pc.index(pc.match_substring_regex(text[name], r"^-?[0-9]+$"), False).as_py()
        if wrong >= 0:
            raise SystemExit(f"{path}, row {wrong + 1}: {name} is '{text[name][wrong]}'; "
                             "expected a whole number")
        columns[name] = text[name].cast(pa.int64())
    income = []
    for row, value in enumerate(text["income"].to_pylist(), start=1):
        label = INCOME.get(re.sub(r"[ .]", "", value))
        if label is None:
            raise SystemExit(f"{path}, row {row}: the income is '{value}'; "
                             "expected '- 50000.' or '50000+.'")
        income.append(label)
    columns["income_over_50k"] = pa.array(income, pa.int64())
    columns["never_married"] = pc.equal(text["marital_status"], "Never married").cast(pa.int64())
    return pa.table(columns)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input_dir", type=pathlib.Path, required=True)
    parser.add_argument("--output_dir", type=pathlib.Path, required=True)
    args = parser.parse_args()

    tables = {"train": read(args.input_dir / "census-income.data"),
              "test": read(args.input_dir / "census-income.test")}
    args.output_dir.mkdir(parents=True, exist_ok=True)
    report = {}
    # All or nothing.
    with tempfile.TemporaryDirectory(prefix=".census-", dir=args.output_dir) as scratch:
        for name, table in tables.items():
            pq.write_table(table, pathlib.Path(scratch) / f"{name}.parquet", row_group_size=65536)
            report[name] = {"rows": table.num_rows,
                            **{label: round(pc.mean(table[label]).as_py(), 4)
                               for label in ("income_over_50k", "never_married")}}
        for name in tables:
            os.replace(pathlib.Path(scratch) / f"{name}.parquet",
                       args.output_dir / f"{name}.parquet")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
