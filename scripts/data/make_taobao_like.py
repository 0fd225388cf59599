#!/usr/bin/env python3
"""Makes click and purchase logs in the shape of the Taobao display advertising data, with a known
truth.

Usage: python3 scripts/data/make_taobao_like.py --out_dir data/taobao_like [--rows 2000000]
                                           [--test_rows 200000] [--seed 1] [--files 4]
                                           [--format parquet|csv] [--user_exponent 0.7]
                                           [--ad_exponent 1.0]

Writes out_dir/train-00000.parquet, ..., out_dir/test-00000.parquet and
out_dir/clicked-00000.parquet, the test rows with clk = 1, where cvr is at home (or .csv with a
header line). Then prints one JSON object: label rates and `best_auc`, the AUC of the true
probabilities on the test rows:

  ctr                AUC of P(clk) over all rows
  cvr_all_rows       AUC of P(buy | clk) against buy over all rows, clicked or not: what pepnet's
                     auc_cvr measures
  cvr_clicked_rows   the same over clicked rows only
  ctcvr_all_rows     AUC of P(clk) P(buy | clk) against buy over all rows

No model beats ctr, cvr_clicked_rows and ctcvr_all_rows by more than chance. cvr_all_rows is what a
perfect conversion model reaches there; it is no bound, since a score that also leans on P(clk)
ranks purchases among all rows better.

Users and ads are drawn from Zipf distributions. Everything else about a user or an ad is a hash of
its id and the seed, so no table of users or ads is kept, and the same seed gives the same truth for
any number of rows. A row's randomness depends on (seed, split, block of 2^17 rows; the last block's
also on its size). Ids start at 0 and stay below the vocabulary sizes of the original data.

The truth, with d = occupation (the domain) and unit-variance effects:
  logit P(clk)       = bias + user + c1[d] ad + c2[d] segment . category + c3[d] history . category
                     + pid
  logit P(buy | clk) = bias + v0 user' + v1[d] ad' + v2[d] segment . category' - v3[d] log price
`user` and `ad` come mostly from attributes, partly from the id alone. `history` is the sum of the n
categories in the row's tag_category_list divided by sqrt(n); a tag brand belongs to the category at
the same place.
"""
import argparse
import json
import math
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

USERS, ADS, CATEGORIES, CAMPAIGNS, CUSTOMERS, BRANDS = (
    1141730, 846812, 12961, 423438, 255877, 461498)
SEGMENTS, GROUPS, AGES, PVALUES, SHOPPING, OCCUPATIONS, USER_CLASSES = 98, 14, 8, 5, 5, 3, 6
PIDS = np.array(["430548_1007", "430539_1007"])
BLOCK = 1 << 17
LATENT, HISTORY, BRANDS_PER_CATEGORY = 4, 5, 32

# c1, c2, c3 of each domain.
CTR_DOMAIN = np.array([[1.0, 0.9, 0.4], [0.6, -0.7, 1.1], [1.3, 0.3, -0.6]])
# v1, v2, v3 of each domain.
CVR_DOMAIN = np.array([[0.8, 0.7, 0.3], [1.1, -0.6, 0.6], [0.4, 0.9, 0.1]])


# ---- hashing -------------------------------------------------------------------------------------


class Hash:
    """Deterministic pseudo-random functions of (seed, purpose, ids)."""

    def __init__(self, seed):
        self.seed = np.uint64(seed)

    def bits(self, purpose, *ids):
        """64 bits per element (the finaliser of splitmix64, chained over the ids)."""
        salt = np.uint64(int.from_bytes(purpose.encode()[:8].ljust(8, b"\0"), "little"))
        with np.errstate(over="ignore"):
            state = self._mix(np.atleast_1d(self.seed * np.uint64(0x9E3779B97F4A7C15) ^ salt))
            for part in ids:
                state = self._mix(
                    state + np.asarray(part).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
        return state

    @staticmethod
    def _mix(x):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))

    def uniform(self, purpose, *ids):
        return (self.bits(purpose, *ids) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def normal(self, purpose, *ids):
        """Sum of the four 16-bit parts: close enough to normal, mean 0, variance 1."""
        bits = self.bits(purpose, *ids)
        total = sum(((bits >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.float64)
                    for shift in (0, 16, 32, 48))
        return (total / 65536 - 2) * math.sqrt(3)

    def level(self, size, skew, purpose, *ids):
        """0 .. size-1; with skew > 1 the low ones are more frequent."""
        return (size * self.uniform(purpose, *ids) ** skew).astype(np.int64)


def zipf_ids(uniform, count, exponent):
    """Ids 0 .. count-1, the k-th most frequent with probability about k^-exponent, in no order of
    popularity."""
    if abs(exponent - 1) < 1e-9:
        rank = (count + 1.0) ** uniform
    else:
        power = 1 - exponent
        rank = (((count + 1.0) ** power - 1) * uniform + 1) ** (1 / power)
    rank = np.clip(rank.astype(np.int64), 1, count) - 1
    multiplier = 2654435761 % count
    while math.gcd(multiplier, count) != 1:
        multiplier += 1
    return (rank * multiplier + 12345) % count


# ---- the truth -----------------------------------------------------------------------------------


class World:
    """Attributes of users and ads, and the true probabilities."""

    def __init__(self, seed, args):
        self.hash, self.args = Hash(seed), args
        index = np.arange(LATENT)
        self.category_vector = self.hash.normal("catevec", np.arange(CATEGORIES)[:, None], index)
        self.segment_vector = (self.hash.normal("segvec", np.arange(SEGMENTS)[:, None], index)
                               / math.sqrt(LATENT))
        self.buy_segment_vector = (self.hash.normal("segvec2", np.arange(SEGMENTS)[:, None], index)
                                   / math.sqrt(LATENT))
        self.click_bias = self.buy_bias = 0.0
        sample = self.draw(np.random.default_rng([seed, 2, 0]), BLOCK)
        self.click_bias = solve_bias(sample["click_logit"], args.click_rate)
        clicked = 1 / (1 + np.exp(-(sample["click_logit"] + self.click_bias)))
        self.buy_bias = solve_bias(sample["buy_logit"], args.buy_rate, weights=clicked)

    def users(self, user):
        h = self.hash
        columns = {
            "cms_segid": h.level(SEGMENTS, 1.5, "segment", user),
            "final_gender_code": 1 + (h.uniform("gender", user) < 0.64).astype(np.int64),
            "age_level": h.level(AGES, 1.0, "age", user),
            "pvalue_level": h.level(PVALUES, 1.2, "pvalue", user),
            "shopping_level": h.level(SHOPPING, 0.6, "shopping", user),
            "occupation": h.level(OCCUPATIONS, 1.4, "occupat", user),
            "new_user_class_level": h.level(USER_CLASSES, 1.0, "userclas", user),
        }
        columns["cms_group_id"] = (
            (columns["age_level"] + 7 * (columns["final_gender_code"] - 1)) % GROUPS)
        return columns

    def ads(self, ad):
        h = self.hash
        category = h.level(CATEGORIES, 3.0, "category", ad)
        campaign = h.level(CAMPAIGNS, 1.0, "campaign", ad)
        log_price = h.normal("price", category) * 0.8 + h.normal("price", ad) * 0.6
        return {
            "cate_id": category, "campaign_id": campaign,
            "customer": h.level(CUSTOMERS, 1.0, "customer", campaign),
            "brand": self.brand(category, h.level(BRANDS_PER_CATEGORY, 2.0, "brandno", ad)),
            "price": np.round(np.exp(4.5 + log_price), 2),
        }, log_price

    def brand(self, category, number):
        return self.hash.level(BRANDS, 1.0, "brand", category, number)

    def effect(self, purpose, attributes, own):
        """Unit variance: 80 % from the attributes in equal parts, 20 % from the id alone."""
        parts = sum(self.hash.normal(purpose, np.full_like(values, k), values)
                    for k, values in enumerate(attributes))
        return (math.sqrt(0.8 / len(attributes)) * parts
                + math.sqrt(0.2) * self.hash.normal(purpose, own))

    def draw(self, random, rows):
        """One block of rows: columns, the lists' cells (history, kept), and both logits."""
        user = zipf_ids(random.random(rows), USERS, self.args.user_exponent)
        ad = zipf_ids(random.random(rows), ADS, self.args.ad_exponent)
        users = self.users(user)
        ads, log_price = self.ads(ad)
        pid = (random.random(rows) < 0.4).astype(np.int64)

        # The user's favourite categories; a row remembers each with probability 0.6, and some users
        # have none.
        slots = np.arange(HISTORY)
        history = self.hash.level(CATEGORIES, 3.0, "favour", user[:, None], slots)
        kept = ((random.random((rows, HISTORY)) < 0.6)
                & (self.hash.uniform("nofavour", user) > 0.1)[:, None])
        history_brand = self.brand(
            history,
            self.hash.level(BRANDS_PER_CATEGORY, 2.0, "favbrand", user[:, None], slots))

        category, domain, segment = ads["cate_id"], users["occupation"], users["cms_segid"]
        vector = self.category_vector[category]
        # Dividing a sum of n independent vectors by sqrt(n) keeps the size of the effect.
        root = np.sqrt(np.maximum(kept.sum(axis=1), 1))
        remembered = np.einsum("rhl,rh->rl", self.category_vector[history], kept) / root[:, None]
        c, v = CTR_DOMAIN[domain], CVR_DOMAIN[domain]
        user_keys = [users["age_level"], users["shopping_level"], segment]
        ad_keys = [category, ads["brand"], ads["campaign_id"]]
        click_logit = (0.7 * self.effect("clkuser", user_keys, user)
                       + c[:, 0] * self.effect("clkad", ad_keys, ad)
                       + c[:, 1] * np.einsum("rl,rl->r", self.segment_vector[segment], vector)
                       + c[:, 2] * np.einsum("rl,rl->r", remembered, vector) / math.sqrt(LATENT)
                       + 0.3 * pid)
        buy_logit = (0.6 * self.effect("buyuser", user_keys, user)
                     + v[:, 0] * self.effect("buyad", ad_keys, ad)
                     + v[:, 1] * np.einsum("rl,rl->r", self.buy_segment_vector[segment], vector)
                     - v[:, 2] * log_price)
        return {"user_id": user, **users, "adgroup_id": ad, **ads, "pid": pid,
                "history": history, "kept": kept, "history_brand": history_brand,
                "click_logit": self.args.signal * click_logit + self.click_bias,
                "buy_logit": self.args.signal * buy_logit + self.buy_bias}

    def block(self, split, number, rows):
        """Arrow table of one block and the true probabilities of clk and of buy given clk."""
        random = np.random.default_rng([int(self.hash.seed), split, number])
        drawn = self.draw(random, rows)
        p_click, p_buy = (1 / (1 + np.exp(-drawn[name])) for name in ("click_logit", "buy_logit"))
        clk = (random.random(rows) < p_click).astype(np.int64)
        buy = clk * (random.random(rows) < p_buy)
        names = ["user_id", "cms_segid", "cms_group_id", "final_gender_code", "age_level",
                 "pvalue_level", "shopping_level", "occupation", "new_user_class_level",
                 "adgroup_id", "cate_id", "campaign_id", "customer", "brand", "price"]
        columns = {name: pa.array(drawn[name]) for name in names}
        columns["pid"] = pa.array(PIDS[drawn["pid"]])
        columns["tag_category_list"] = joined(drawn["history"], drawn["kept"])
        columns["tag_brand_list"] = joined(drawn["history_brand"], drawn["kept"])
        columns["clk"], columns["buy"] = pa.array(clk), pa.array(buy)
        return pa.table(columns), p_click, p_buy


def joined(values, kept):
    """Kept values of each row as "a|b|c", "" if there are none."""
    offsets = np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int32)
    lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(values[kept]).cast(pa.string()))
    return pc.binary_join(lists, "|")


def solve_bias(logits, rate, weights=None):
    """The bias at which the (weighted) mean probability is `rate`."""
    low, high = -30.0, 30.0
    for _ in range(60):
        middle = (low + high) / 2
        too_low = np.average(1 / (1 + np.exp(-(logits + middle))), weights=weights) < rate
        low, high = (middle, high) if too_low else (low, middle)
    return low


def auc(labels, scores):
    """Exact AUC, a tie counting half; None if a class is missing."""
    positives, negatives = int(labels.sum()), int((1 - labels).sum())
    if positives == 0 or negatives == 0:
        return None
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[labels == 1].sum() - positives * (positives + 1) / 2)
                 / (positives * negatives))


# ---- files ---------------------------------------------------------------------------------------


class Writer:
    def __init__(self, path, schema, file_format):
        self.writer = (pq.ParquetWriter(path, schema) if file_format == "parquet"
                       else pyarrow.csv.CSVWriter(path, schema))
        self.row_groups = {"row_group_size": 65536} if file_format == "parquet" else {}

    def write(self, table):
        self.writer.write_table(table, **self.row_groups)

    def close(self):
        self.writer.close()


def write_file(path, table, file_format):
    writer = Writer(path, table.schema, file_format)
    writer.write(table)
    writer.close()


def write_split(world, name, split, rows, files, args, consume):
    """Rows in blocks, cut into `files` files of nearly equal size; `consume` sees every block."""
    bounds = [rows * i // files for i in range(files + 1)]
    schema = world.block(split, 0, 1)[0].schema
    done, file, writer = 0, 0, None
    for number in range((rows + BLOCK - 1) // BLOCK):
        table, p_click, p_buy = world.block(split, number, min(BLOCK, rows - number * BLOCK))
        consume(table, p_click, p_buy)
        start = 0
        while start < table.num_rows:
            if writer is None:
                writer = Writer(args.out_dir / f"{name}-{file:05d}.{args.format}", schema,
                                args.format)
            take = min(table.num_rows - start, bounds[file + 1] - done)
            writer.write(table.slice(start, take))
            start, done = start + take, done + take
            if done == bounds[file + 1]:
                writer.close()
                writer, file = None, file + 1


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out_dir", type=pathlib.Path, required=True)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--test_rows", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--files", type=int, default=4,
                        help="files of the training rows; the test rows are one file")
    parser.add_argument("--format", choices=["parquet", "csv"], default="parquet")
    parser.add_argument("--user_exponent", type=float, default=0.7)
    parser.add_argument("--ad_exponent", type=float, default=1.0)
    parser.add_argument("--click_rate", type=float, default=0.055)
    parser.add_argument("--buy_rate", type=float, default=0.2, help="purchases per click")
    parser.add_argument("--signal", type=float, default=0.8,
                        help="scale of both logits: more signal, higher best AUC")
    args = parser.parse_args()
    if args.rows < args.files or args.files < 1 or args.test_rows < 1:
        raise SystemExit("--rows must be at least --files, --files and --test_rows at least 1")

    args.out_dir.mkdir(parents=True, exist_ok=True)
    world = World(args.seed, args)
    report = {}
    for split, (name, rows, files) in enumerate([("train", args.rows, args.files),
                                                 ("test", args.test_rows, 1)]):
        counts = np.zeros(2, dtype=np.int64)
        truth, clicked = [], []

        def consume(table, p_click, p_buy):
            labels = [table[label].to_numpy() for label in ("clk", "buy")]
            counts[:] += [int(label.sum()) for label in labels]
            if name == "test":
                truth.append((*labels, p_click, p_buy))
                clicked.append(table.filter(pc.equal(table["clk"], 1)))

        write_split(world, name, split, rows, files, args, consume)
        report[name] = {"rows": rows, "files": files, "clk_rate": round(counts[0] / rows, 5),
                        "buy_rate": round(counts[1] / rows, 5)}
        if truth:
            write_file(args.out_dir / f"clicked-00000.{args.format}", pa.concat_tables(clicked),
                       args.format)
            clk, buy, p_click, p_buy = (np.concatenate(parts) for parts in zip(*truth))
            report["best_auc"] = {"ctr": auc(clk, p_click), "cvr_all_rows": auc(buy, p_buy),
                                  "cvr_clicked_rows": auc(buy[clk == 1], p_buy[clk == 1]),
                                  "ctcvr_all_rows": auc(buy, p_click * p_buy)}
    print(json.dumps({"seed": args.seed, **report}))


if __name__ == "__main__":
    main()
