"""The first value of a row: a function of (seed, table, id) alone, with which ids without a row are
answered.

What ps/table/row_initializer.h computes, for tables that grow. Uniform and constant values are the
same bits, normal ones the same but for the last bits of sine, cosine and logarithm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .text_format import Message, shortest

MASK = (1 << 64) - 1
TABLE_INIT = 1  # RandomPurpose::kTableInit of common/base/random.h
DYNAMIC_BOUND = 0.01  # of the initial values of a dynamic_table


def _mix64(x: int) -> int:
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK
    return x ^ (x >> 31)


def _combined(a: int, b: int) -> int:
    return _mix64((a + 0x9E3779B97F4A7C15 + _mix64(b)) & MASK)


def _hash_name(text: str) -> int:
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = (h ^ byte) * 0x100000001B3 & MASK
    return _mix64(h)


def _philox(key: int, ids: np.ndarray, blocks: int) -> np.ndarray:
    """The words of Philox4x32-10 of counters (id, block) as [ids, 4 * blocks] uint64 below 2^32."""
    low32 = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    high = np.ascontiguousarray(ids, np.int64).view(np.uint64)
    shape = (len(high), blocks)
    c0 = np.broadcast_to(np.arange(blocks, dtype=np.uint64), shape)
    c1 = np.zeros(shape, np.uint64)
    c2 = np.broadcast_to((high & low32)[:, None], shape)
    c3 = np.broadcast_to((high >> half)[:, None], shape)
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (
            (p1 >> half) ^ c1 ^ np.uint64(k0),
            p1 & low32,
            (p0 >> half) ^ c3 ^ np.uint64(k1),
            p0 & low32,
        )
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=2).reshape(len(high), 4 * blocks)


def _rounded(kind: str, x: np.ndarray) -> np.ndarray:
    """To the nearest values that a row of that data_type can have.

    As ps/table/store/value_codec.h rounds them.
    """
    rounded: np.ndarray
    if kind == "FP16":
        rounded = np.clip(x, -65504, 65504).astype(np.float16).astype(np.float32)
        return rounded
    if kind == "BF16":
        bits = x.view(np.uint32)
        sign, size = bits & np.uint32(0x80000000), bits & np.uint32(0x7FFFFFFF)
        size = (size + np.uint32(0x7FFF) + (size >> np.uint32(16) & np.uint32(1))) & np.uint32(
            0xFFFF0000
        )
        rounded = (sign | np.minimum(size, np.uint32(0x7F7F0000))).view(np.float32)
        return rounded
    if kind == "INT8":  # 127 steps of a power of two, one for each row
        largest = np.abs(x).max(axis=1, keepdims=True).view(np.uint32).astype(np.int64)
        exponent = (largest >> 23) - 127 - 6 + ((largest & 0x7FFFFF) > 0x7E0000)
        step = np.ldexp(1.0, np.clip(exponent, -126, 121))
        rounded = (np.clip(np.rint(x / step), -127, 127) * step).astype(np.float32)
        return rounded
    if kind == "FP32":
        return x
    raise ValueError(f"the data_type {kind!r} is unknown here; expected FP32, BF16, FP16 or INT8")


@dataclass(frozen=True)
class Initializer:
    """uniform: from a to b. normal: mean a, deviation b. constant: a."""

    kind: str
    a: float
    b: float = 0.0


@dataclass(frozen=True)
class InitialRows:
    """The initial values of a table's rows. `table` is its name as in checkpoints; `seed` that of
    the training, None if it is not known: then an id without a row is an error."""

    table: str
    width: int
    initializer: Initializer
    data_type: str = "FP32"
    seed: int | None = None

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """[ids, width] float32 of int64 ids."""
        return _rounded(self.data_type, self._exact(ids))

    def _exact(self, ids: np.ndarray) -> np.ndarray:
        init = self.initializer
        if init.kind == "constant":
            return np.full((len(ids), self.width), init.a, np.float32)
        if self.seed is None:
            raise ValueError(
                f"id {int(ids[0])} has no row in table {self.table!r}, and its initial value needs "
                "the seed of the training, which the export's export.json tells and which is not "
                "there; keep that file"
            )
        key = _combined(_mix64((self.seed + 0x9E3779B97F4A7C15) & MASK), TABLE_INIT)
        key = _combined(_combined(key, _hash_name(self.table)), 0)
        units = (_philox(key, ids, -(-self.width // 4)) >> np.uint64(8)).astype(
            np.float64
        ) * 2.0**-24
        if init.kind == "uniform":
            u = units[:, : self.width].astype(np.float32)
            return np.float32(init.a) + np.float32(init.b - init.a) * u
        # Box-Muller: elements 2k and 2k + 1 share their two words.
        radius = init.b * np.sqrt(-2 * np.log(1 - units[:, 0::2]))
        angle = 2 * np.pi * units[:, 1::2]
        pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=2)
        return (init.a + pairs.reshape(units.shape)[:, : self.width]).astype(np.float32)


def grows(feature: Message) -> bool:
    """Is the feature's table one whose rows come and go with the ids that occur
    (docs/dynamic_tables.md)?"""
    return any(name in feature for name in ("dynamic_table", "zch", "dynamicemb"))


def initializer_of(feature: Message, width: int) -> Initializer:
    """The initial values of the rows of a feature's dynamic table. Only uniform, normal and
    constant values are made."""
    rows, initializer = _of_table(feature, width)
    text = feature.first("init_fn", "")
    return _of_function(text, rows, width) if text else initializer


def _of_table(feature: Message, width: int) -> tuple[int, Initializer]:
    """(expected rows, the initial values without init_fn)"""
    if "dynamic_table" in feature:
        table = feature.message("dynamic_table")
        rows = int(table.first("expected_rows") or table.first("max_rows"))
        return rows, Initializer("uniform", -DYNAMIC_BOUND, DYNAMIC_BOUND)
    if "zch" in feature:
        rows = int(feature.message("zch").first("zch_size"))
        return rows, Initializer("uniform", -math.sqrt(1 / rows), math.sqrt(1 / rows))
    rows = int(feature.message("dynamicemb").first("max_capacity"))
    args = feature.message("dynamicemb").message("initializer_args")
    mode, bound = args.first("mode") or "UNIFORM", math.sqrt(1 / rows)
    if mode == "UNIFORM":
        low, high = (
            shortest(args.first(name)) if name in args else None for name in ("lower", "upper")
        )
        return rows, Initializer(
            "uniform", -bound if low is None else low, bound if high is None else high
        )
    if mode == "NORMAL":
        deviation = shortest(args.first("std_dev")) if "std_dev" in args else math.sqrt(1 / width)
        return rows, Initializer("normal", shortest(args.first("mean", 0.0)), deviation)
    return rows, Initializer("constant", shortest(args.first("value", 0.0)))


def _of_function(text: str, rows: int, width: int) -> Initializer:
    """Of an init_fn such as nn.init.uniform_,a=-0.01,b=0.01."""
    name, *parts = (part.strip() for part in text.split(","))
    arguments = {
        key.strip(): value.strip()
        for key, _, value in (part.partition("=") for part in parts if part)
    }

    def number(key: str, default: float) -> float:
        return float(arguments.get(key, default))

    function = name.removeprefix("nn.init.")
    if function == "uniform_":
        return Initializer("uniform", number("a", 0), number("b", 1))
    if function == "normal_":
        return Initializer("normal", number("mean", 0), number("std", 1))
    if function in ("constant_", "zeros_", "ones_"):
        return Initializer("constant", number("val", function == "ones_"))
    if function.startswith("xavier_"):
        deviation = number("gain", 1) * math.sqrt(2 / (rows + width))
    elif function.startswith("kaiming_"):
        kind = arguments.get("nonlinearity", "leaky_relu").strip("'\"")
        gains = {
            "tanh": 5 / 3,
            "relu": math.sqrt(2),
            "leaky_relu": math.sqrt(2 / (1 + number("a", 0) ** 2)),
            "selu": 0.75,
        }
        fan = rows if arguments.get("mode", "").strip("'\"") == "fan_out" else width
        deviation = gains.get(kind, 1) / math.sqrt(fan)
    else:
        raise ValueError(
            f"a table that grows begins its rows with {name}, which a torch module does not "
            "compute; expected nn.init.uniform_, normal_, constant_, xavier_ or kaiming_, "
            "or score with pepnet predict"
        )
    if function.endswith("uniform_"):
        return Initializer("uniform", -math.sqrt(3) * deviation, math.sqrt(3) * deviation)
    return Initializer("normal", 0, deviation)
