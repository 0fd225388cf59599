"""The features of an export: raw cells to what the network reads, as training did (docs/spec.md
section 3)."""

from __future__ import annotations

import bisect
import math
import pathlib
from typing import Any, Callable, Iterable, Iterator, Mapping, NamedTuple, Union

import torch

from .config import Config, column_of
from .initial_rows import Initializer, grows, initializer_of
from .onnx_inputs import elements_of, integer_of, real_of, std_hash, tokens_of
from .text_format import Message, shortest
from .vocabulary import vocabulary_of


ANY_ID = 1 << 62  # tokens are hashed modulo this where a table grows


class Ids(NamedTuple):
    """The rows of a table that each cell of a column names: those of cell i are
    ids[offsets[i]:offsets[i + 1]].

    Of a sequence the offsets are those of elements, and the elements of cell i are
    elements[i]:elements[i + 1].
    """

    ids: torch.Tensor
    offsets: torch.Tensor  # one more than there are cells, or elements
    weights: torch.Tensor | None
    elements: torch.Tensor | None = None

    def by_cell(self) -> Ids:
        """The ids of each cell, whichever elements they are in."""
        return (
            self
            if self.elements is None
            else Ids(self.ids, self.offsets[self.elements], self.weights)
        )


class Values(NamedTuple):
    """The elements of a sequence of numbers: those of cell i are values[elements[i]:elements[i +
    1]]."""

    values: torch.Tensor  # [elements, value_dim]
    elements: torch.Tensor


# Of one feature; numbers that are no sequence are [cells, value_dim].
Cells = Union[Ids, Values, torch.Tensor]
Encoded = Mapping[str, Cells]  # by feature


class SequenceCells(NamedTuple):
    """The rules by which the cells of a sequence are read."""

    prefix: str  # of the feature's and the column's name: "click__"
    delimiter: str  # of elements in a text
    max_elements: int  # that are read; 0: all


class Leaf(NamedTuple):
    """The input of a group from a feature: its values, or vectors from one of its tables."""

    feature: str
    # Named as in checkpoints: those of sequence groups are "sequence.<width>.<name>"; "": values.
    table: str
    width: int
    by_element: bool  # a vector for each element of a sequence, not for each row
    embedded: bool = False  # the values go through the feature's dense embedding


def _normalizer(text: str, feature: str) -> Callable[[float], float]:
    if not text:
        return lambda x: x
    if text.replace(" ", "").startswith("method=expression"):
        raise ValueError(
            f"feature {feature!r}: the normalizer {text!r} is a formula, which a torch module does "
            "not compute; score with Scorer or pepnet predict"
        )
    fields = dict(part.strip().split("=", 1) for part in text.split(","))
    method = fields.get("method")
    if method == "log10":
        threshold, default = float(fields["threshold"]), float(fields["default"])
        return lambda x: math.log10(x) if x > threshold else default
    if method == "zscore":
        mean, deviation = float(fields["mean"]), float(fields["standard_deviation"])
        return lambda x: (x - mean) / deviation
    if method == "minmax":
        low, high = float(fields["min"]), float(fields["max"])
        return lambda x: (x - low) / (high - low)
    raise ValueError(f"feature {feature!r}: the normalizer {text!r} is unknown here")


def _is_empty(cell: Any) -> bool:
    """Does a feature read its default value? A cell of separators alone is not empty, and has no
    token either."""
    return (
        len(cell) == 0
        if isinstance(cell, (str, bytes, list, tuple, Mapping))
        else not tokens_of(cell, None)
    )


def feature_messages(config: Config) -> Iterator[tuple[str, Message, SequenceCells | None]]:
    """(kind, message, how it is a sequence) of each feature; kinds are those of features that are
    no sequences."""
    features = config.features()
    joint = _joint(config)
    for kind, message in features:
        if kind == "sequence_feature":
            cells = SequenceCells(
                message.first("sequence_name") + joint,
                message.first("sequence_delim", ";"),
                int(message.first("sequence_length", 0)),
            )
            for entry in message.all("features"):
                for inner, values in entry.items():
                    yield inner, values[0], cells
        elif kind.startswith("sequence_"):
            delimiter, length = (
                message.first("sequence_delim", ";"),
                int(message.first("sequence_length", 0)),
            )
            yield kind.removeprefix("sequence_"), message, SequenceCells("", delimiter, length)
        else:
            yield kind, message, None


def _joint(config: Config) -> str:
    """The separator between the names of a sequence_feature and of its features: "_" where the
    groups list them so."""
    groups = config.parsed().message("model_config").all("feature_groups")
    groups = [*groups, *(one for group in groups for one in group.all("sequence_groups"))]
    listed = {name for group in groups for name in group.all("feature_names")}
    pairs, plain = [], set()
    for kind, message in config.features():
        if kind != "sequence_feature":
            plain.add(message.first("feature_name"))
            continue
        inner = [values[0] for entry in message.all("features") for values in entry.values()]
        pairs += [(message.first("sequence_name"), one.first("feature_name")) for one in inner]
    usual, short = ({joint.join(pair) for pair in pairs} for joint in ("__", "_"))
    return "_" if listed & (short - plain) and not listed & usual else "__"


class Feature:
    """Turns the cells of a column into what the network reads, as training did."""

    def __init__(
        self,
        kind: str,
        message: Message,
        encoded: bool,
        separator: str,
        string_hash: str,
        directory: pathlib.Path,
        sequence: SequenceCells | None = None,
    ) -> None:
        self.sequence = sequence
        prefix = sequence.prefix if sequence else ""
        self.name: str = prefix + message.first("feature_name")
        if kind not in ("id_feature", "raw_feature"):
            raise ValueError(
                f"feature {self.name!r} is computed ({kind}), which a torch module does not do; "
                "score with pepnet predict (Run.predict), or with Scorer, to which you give what "
                f"it computes as the column {self.name!r}"
            )
        self.column = prefix + column_of(message, encoded)
        self.separator = separator if encoded else message.first("separator", "\x1d")
        self.weighted = bool(message.first("weighted", False))
        self.mean = str(message.first("pooling", "sum")).lower() == "mean"
        self.table = message.first("embedding_name") or f"{self.name}_emb"
        boundaries = [shortest(value) for value in message.all("boundaries")]
        self.ids = kind == "id_feature"
        self.dense = not self.ids and not boundaries
        self.values = int(message.first("value_dim", 1)) if self.dense else 0
        # A sequence of numbers is read as it is.
        self.autodis: Message | None = (
            message.message("autodis") if "autodis" in message and not sequence else None
        )
        self.embedded = (
            self.dense and not sequence and (self.autodis is not None or "mlp" in message)
        )
        self.width = (
            self.values if self.dense and not self.embedded else int(message.first("embedding_dim"))
        )
        # The initial values of rows where the table has those of the ids that occurred, and no
        # others.
        self.growing: Initializer | None = None
        if grows(message):
            try:
                self.growing = initializer_of(message, self.width)
            except ValueError as error:
                raise ValueError(f"feature {self.name!r}: {error}") from None
        self.data_type = str(message.first("data_type", "FP32"))
        self._normalize = _normalizer("" if encoded else message.first("normalizer", ""), self.name)
        self._id_of: Callable[[Any], int] = integer_of
        if not encoded and boundaries:
            self._id_of = lambda x: bisect.bisect_right(boundaries, real_of(x))
        elif not encoded and not self.dense:
            self._id_of = self._bucketizer(message, string_hash, directory)
        if encoded:
            default = message.first("fg_encoded_default_value", "")
        else:
            default = message.first("default_value", "0" if kind == "raw_feature" else "")
            default = default or ("0" if sequence else "")
        tokens = tokens_of(default, self.separator)
        if self.dense:
            values = [real_of(token) for token in tokens]
            self._empty: list[Any] | None = (
                values * self.values if len(values) == 1 else values
            ) or None
        else:
            self._empty = [self._weighted_id(token, is_default=True) for token in tokens]
        self._encoded = encoded
        self._takes_reals = bool(boundaries) and not encoded
        self._one_id = self.ids and int(message.first("value_dim", 1 if sequence else 0)) == 1
        # An empty cell without a default value has no element.
        self._fills_empty = bool(default)
        # The default value is bucketised and not normalised.
        if boundaries and not encoded:
            find, normalize = self._id_of, self._normalize
            self._id_of = lambda x: find(normalize(real_of(x)))

    def _bucketizer(
        self, message: Message, string_hash: str, directory: pathlib.Path
    ) -> Callable[[Any], int]:
        if "num_buckets" in message:
            return integer_of
        if "hash_bucket_size" in message or self.growing is not None:
            if string_hash == "farm":
                raise ValueError(
                    f"feature {self.name!r} was trained with --hash=farm, which is not known here; "
                    "score with pepnet predict"
                )
            rows = ANY_ID if self.growing is not None else int(message.first("hash_bucket_size"))
            known: dict[str, int] = {}

            def bucket(token: Any) -> int:
                text = str(token)
                if text not in known:
                    known[text] = std_hash(text) % rows
                return known[text]

            return bucket
        vocabulary = vocabulary_of(message, directory)
        if vocabulary is None:
            raise ValueError(f"feature {self.name!r} does not say how tokens become rows")
        rows_of, unknown = vocabulary
        return lambda token: rows_of.get(str(token), unknown)

    def _weighted_id(self, token: Any, is_default: bool = False) -> tuple[int, float]:
        """(row, weight) of a token."""
        if isinstance(token, float) and not self._takes_reals:
            raise ValueError(
                f"{token!r} is no id; feature {self.name!r} takes whole numbers or texts"
            )
        if not self.weighted:
            return self._id_of(token), 1.0
        text, colon, weight = str(token).rpartition(":")
        if not colon and not is_default:
            raise ValueError(
                f"the token {token!r} of weighted feature {self.name!r} is not of the form "
                "'id:weight'"
            )
        return (self._id_of(text), real_of(weight)) if colon else (self._id_of(token), 1.0)

    def encode(self, cells: Iterable[Any]) -> Cells:
        """The cells of the feature's column: ids of its table, or its values."""
        if self.sequence is not None:
            return self._encode_sequence(cells, self.sequence)
        if self.dense:
            rows = []
            for cell in cells:
                tokens = tokens_of(cell, self.separator)
                values = (
                    self._empty
                    if _is_empty(cell)
                    else [self._normalize(real_of(token)) for token in tokens]
                )
                if values is None or len(values) != self.values:
                    raise ValueError(
                        f"feature {self.name!r} needs {self.values} value(s) in a cell, "
                        f"not {cell!r}"
                    )
                rows.append(values)
            return torch.tensor(rows, dtype=torch.float64).reshape(len(rows), self.values).float()
        found: list[tuple[int, float]] = []
        offsets = [0]
        for cell in cells:
            if isinstance(cell, Mapping):
                cell = [f"{key}:{value}" for key, value in cell.items()]
            elif (
                self.weighted
                and isinstance(cell, (list, tuple))
                and cell
                and isinstance(cell[0], tuple)
            ):
                cell = [f"{key}:{value}" for key, value in cell]  # a map column of Arrow
            ids = [self._weighted_id(token) for token in tokens_of(cell, self.separator)]
            if self._one_id and len(ids) > 1:
                raise ValueError(
                    f"the cell {cell!r} holds {len(ids)} ids, "
                    f"but feature {self.name!r} has value_dim 1"
                )
            found += self._empty or [] if _is_empty(cell) else ids
            offsets.append(len(found))
        weights = (
            torch.tensor([weight for _, weight in found], dtype=torch.float32)
            if self.weighted
            else None
        )
        return Ids(
            torch.tensor([one for one, _ in found], dtype=torch.int64),
            torch.tensor(offsets),
            weights,
        )

    def _encode_sequence(self, cells: Iterable[Any], sequence: SequenceCells) -> Ids | Values:
        item = {
            # Finished cells are read whole, and a flat list of their numbers holds value_dim for
            # each element.
            "sequence": {
                "delimiter": sequence.delimiter,
                "max_elements": 0 if self._encoded else sequence.max_elements,
                "one_id": False,
            },
            "separator": self.separator,
            "values": self.values if self.dense and self._encoded else 1,
        }
        found: list[Any] = []  # ids, or lists of values
        offsets, elements = [0], [0]
        for cell in cells:
            parts = elements_of(cell, item)
            if not parts and self._fills_empty:
                found += self._element([], cell, is_cell=True)
                offsets.append(len(found))
            for tokens in parts:
                found += self._element(tokens, cell)
                offsets.append(len(found))
            elements.append(len(offsets) - 1)
        if self.dense:
            values = (
                torch.tensor(found, dtype=torch.float64).reshape(len(found), self.values).float()
            )
            return Values(values, torch.tensor(elements))
        return Ids(
            torch.tensor(found, dtype=torch.int64),
            torch.tensor(offsets),
            None,
            torch.tensor(elements),
        )

    def _element(self, tokens: list[Any], cell: Any, is_cell: bool = False) -> list[Any]:
        """The ids of an element, or a list with its values. One without tokens reads the default
        value."""
        if not tokens and self._encoded and not is_cell:
            raise ValueError(
                f"an element of the cell {cell!r} is empty; "
                f"sequence {self.name!r} needs a value there"
            )
        if self.dense:
            values = (
                [self._normalize(real_of(token)) for token in tokens] if tokens else self._empty
            )
            if values is None or len(values) != self.values:
                raise ValueError(
                    f"sequence {self.name!r} needs {self.values} value(s) in an element, "
                    f"not {tokens!r}"
                )
            return [values]
        ids = [one for one, _ in (map(self._weighted_id, tokens) if tokens else self._empty or [])]
        if self._one_id and self._encoded and len(ids) > 1:
            raise ValueError(
                f"an element of the cell {cell!r} holds {len(ids)} ids, "
                f"but sequence {self.name!r} has value_dim 1"
            )
        return ids[:1] if self._one_id else ids

    def leaf(self, suffix: str, of_sequence_group: bool = False) -> Leaf:
        """The input of a group from the feature; `suffix` is the group's embedding_name_suffix."""
        if self.dense:
            embedded = self.embedded and not of_sequence_group
            return Leaf(
                self.name,
                "",
                self.width if embedded else self.values,
                self.sequence is not None,
                embedded,
            )
        table = f"{self.table}_{suffix}" if suffix else self.table
        if of_sequence_group:
            table = f"sequence.{self.width}.{table}"
        return Leaf(self.name, table, self.width, of_sequence_group and self.sequence is not None)
