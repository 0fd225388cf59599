"""Statistics of a column from its values and its name, without decisions (those are
suggest.py's)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

BUCKETS = 20  # of a column of numbers
SEPARATORS = ("\x1d", "\x03", "|", ";", ",")

# Names that tell.
ID_NAME = re.compile(
    r"(^|_)(u|i|p|q|g|c)?(id|ids|uid|iid|pid|gid|sku|code|zip|zipcode|key|hash|cate|category"
    r"|categories|brand|shop|store|city|region|state|country|device|os|browser|campaign|customer"
    r"|author|seller|creator|user|item|product|film|movie|adgroup|tag|tags|genre|genres|type|class"
    r"|level|segment|group|channel|tab|scene|page|slot|gender|sex|occupation|language|weekday|hour"
    r"|month|position)$"
)
NUMBER_NAME = re.compile(
    r"(^|_)(price|prices|amount|cost|count|counts|cnt|num|number|age|year|years|duration|length"
    r"|size|score|rate|ratio|avg|mean|sum|total|days|hours|minutes|seconds|ms|quantity|qty|views"
    r"|clicks|height|width|weight|percent|pct|distance|revenue|sales|balance|income|salary"
    r"|followers|likes|rating|ratings|stars)(_\w+)?$"
    r"|^(num|n|count|avg|mean|sum|total|max|min)_"
)
USER_NAME = re.compile(
    r"^(user|uid|user_?id|viewer_?id|customer_?id|member_?id|visitor_?id|account_?id|buyer_?id)$"
)
ITEM_NAME = re.compile(
    r"^(item|iid|item_?id|product_?id|sku|adgroup_?id|ad_?id|movie_?id|film_?id|video_?id"
    r"|article_?id|goods_?id|doc_?id|song_?id|track_?id|song|photo_?id|news_?id)$"
)
TIME_TEXT = re.compile(r"\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}.*)?$")
TIME_NAME = re.compile(r"(^|_)(time|timestamp|ts|date|datetime|at)(_(s|ms|us|ns))?$")
_WEIGHTED = re.compile(r"[^:]+:\d+\.\d+$")


@dataclass
class Column:
    """A column of the rows: as the program reads it, and the type that it had."""

    name: str
    values: pa.ChunkedArray
    original: pa.DataType
    rows: int

    @property
    def missing(self) -> int:
        """The number of empty cells."""
        return int(self.values.null_count)

    @property
    def present(self) -> np.ndarray:
        """The cells that are not empty, as a mask."""
        mask: np.ndarray = self.values.is_valid().to_numpy()
        return mask


def nice(number: float) -> int:
    """The next of 1, 2, 5, 10, ... from `number` on."""
    power = 10 ** math.floor(math.log10(max(number, 1)))
    return int(next(step * power for step in (1, 2, 5, 10) if step * power >= number))


def embedding_dim(words: int) -> int:
    """The width of a table's rows: 4 for a handful of words, 32 for a million."""
    return 4 if words <= 10 else 8 if words <= 200 else 16 if words <= 200_000 else 32


def auc(positive: np.ndarray, scores: np.ndarray) -> float:
    """The fraction of pairs of a positive and a negative row that the scores order rightly, a tie
    counting half."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if positives == 0 or negatives == 0:
        return 0.5
    return float(
        (ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    )


def value_auc(codes: np.ndarray, label: np.ndarray) -> float:
    """Measures how well a column alone tells the label: the AUC, on one half of the rows, of each
    value's mean label on the other half."""
    odd = np.arange(len(codes)) % 2 == 1
    size = int(codes.max(initial=0)) + 1
    counts = np.bincount(codes[~odd], minlength=size)
    sums = np.bincount(codes[~odd], weights=label[~odd], minlength=size)
    prior = label[~odd].mean() if (~odd).any() else 0.5
    means = (sums + prior) / (counts + 1)
    return auc(label[odd] > 0, means[codes[odd]])


def words_of(tokens: dict[str, int]) -> dict[str, int]:
    """The words of tokens that are all "word:1.5", with their rows; else the tokens."""
    if not all(map(_WEIGHTED.match, tokens)):
        return tokens
    words: dict[str, int] = {}
    for token, count in tokens.items():
        word = token.rpartition(":")[0]
        words[word] = words.get(word, 0) + count
    return words


def find_separator(words: list[str], counts: np.ndarray) -> tuple[str | None, dict[str, int]]:
    """The separator of cells with several tokens, if there is one, and the rows of each token."""
    plain = {word: int(count) for word, count in zip(words, counts) if word}
    best: tuple[str | None, dict[str, int]] = (None, plain)
    for separator in SEPARATORS:
        with_it = sum(1 for word in plain if separator in word)
        if with_it < max(2, 0.1 * len(plain)) and not (separator in "\x1d\x03" and with_it):
            continue
        tokens: dict[str, int] = {}
        for word, count in plain.items():
            for token in filter(None, word.split(separator)):
                tokens[token] = tokens.get(token, 0) + count
        # A list is made of words that come again in other lists: fewer words than cells.
        if len(words_of(tokens)) <= 0.7 * len(plain) and len(words_of(tokens)) < len(
            words_of(best[1])
        ):
            best = (separator, tokens)
    return best


def quantile_boundaries(column: Column, buckets: int = BUCKETS) -> list[float]:
    """Boundaries between quantiles: half-way between neighbouring values, rounded so that people
    can read them.

    A value that fills a bucket alone, as the zero of a column of amounts, has a boundary on both
    sides.
    """
    numbers = np.sort(column.values.drop_null().to_numpy().astype(np.float64))
    unique, counts = np.unique(numbers, return_counts=True)
    # Places in `unique`; a boundary lies before each.
    if len(unique) <= buckets:
        places = set(range(1, len(unique)))
    else:
        quantiles = numbers[np.arange(1, buckets) * len(numbers) // buckets]
        places = set(np.searchsorted(unique, quantiles).tolist())
        for place in np.flatnonzero(counts > len(numbers) / buckets).tolist():
            places |= {place, place + 1}
    result: list[float] = []
    for place in sorted(places - {0, len(unique)}):
        low, high = unique[place - 1], unique[place]
        middle = (low + high) / 2
        for digits in range(2, 9):
            # As the program reads it, a float32, it must still part the two.
            readable = float(f"{middle:.{digits}g}")
            if low < np.float32(readable) <= high and low < readable <= high:
                result.append(readable)
                break
    return result


def entropy_of(rate: float) -> float:
    """The loss of a model that always says `rate`, which is right: what a task begins with."""
    return -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate)) if 0 < rate < 1 else 1.0
