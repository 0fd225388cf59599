"""Sequences as torch modules (docs/spec.md sections 3.9 and 3.10): groups of sequences and the
encoders that read them.

An encoder makes a vector of each row from the positions of its sequence group, beside which stands
the row's query. Parameters have the reference's names.
"""

from __future__ import annotations

from typing import Mapping, NamedTuple, Sequence

import torch
from torch import nn

from .text_format import Message, shortest
from .torch_features import Cells, Encoded, Feature, Leaf
from .torch_layers import MLP

HIDDEN = -1e30  # score of a position that is not there: its exponential is 0 beside any other


class Positions(NamedTuple):
    """The sequence group of a batch."""

    sequence: torch.Tensor  # [rows, T, C], zeros behind the last position of a row
    query: torch.Tensor | None  # [rows, Q], Q <= C; None: the group has no query
    lengths: torch.Tensor  # [rows]

    def exist(self, limit: int = 0) -> torch.Tensor:
        """Bool [rows, T]: is there such a position, among the first `limit` (0: all)?"""
        lengths = self.lengths.clamp(max=limit) if limit else self.lengths
        return torch.arange(self.sequence.shape[1], device=lengths.device) < lengths.unsqueeze(1)

    def wide_query(self) -> torch.Tensor:
        """The query as wide as a position, [rows, C]."""
        assert self.query is not None
        return nn.functional.pad(self.query, (0, self.sequence.shape[2] - self.query.shape[1]))


def elements_of_rows(cells: Cells) -> torch.Tensor:
    """Offsets of the elements of a sequence, by row."""
    assert not isinstance(cells, torch.Tensor) and cells.elements is not None, "it is no sequence"
    return cells.elements


class SequenceGroup(NamedTuple):
    """The inputs of a sequence group: its features that are sequences, and the others, in the order
    listed."""

    query: list[Leaf]
    sequence: list[Leaf]

    def positions(self, vectors: Mapping[Leaf, torch.Tensor], encoded: Encoded) -> Positions:
        """`vectors` of a leaf are [rows, width], of a sequence [elements, width]."""
        lengths = elements_of_rows(encoded[self.sequence[0].feature]).diff()
        # At least one position, so that nothing below is empty; no row has it then.
        longest = max(int(lengths.max()) if len(lengths) else 0, 1)
        at = torch.arange(longest, device=lengths.device)
        channels = []
        for leaf in self.sequence:
            own, offsets = vectors[leaf], elements_of_rows(encoded[leaf.feature])
            there = at < torch.minimum(lengths, offsets.diff()).unsqueeze(1)
            places = torch.where(there, offsets[:-1].unsqueeze(1) + at, len(own))
            channels.append(torch.cat([own, own.new_zeros(1, own.shape[1])])[places])
        query = torch.cat([vectors[leaf] for leaf in self.query], dim=1) if self.query else None
        return Positions(torch.cat(channels, dim=2), query, lengths)


def sequence_groups(group: Message, features: Mapping[str, Feature]) -> dict[str, SequenceGroup]:
    """The sequence groups of a feature group by name."""
    result = {}
    for message in group.all("sequence_groups"):
        suffix = (
            message.first("embedding_name_suffix") or group.first("embedding_name_suffix") or ""
        )
        chosen = [features[name] for name in message.all("feature_names")]
        result[message.first("group_name") or group.first("group_name")] = SequenceGroup(
            [
                feature.leaf(suffix, of_sequence_group=True)
                for feature in chosen
                if feature.sequence is None
            ],
            [
                feature.leaf(suffix, of_sequence_group=True)
                for feature in chosen
                if feature.sequence is not None
            ],
        )
    return result


def _masked_softmax(scores: torch.Tensor, exist: torch.Tensor) -> torch.Tensor:
    """Softmax over the positions [rows, T] that exist; zero at the others, and in rows without
    any."""
    return torch.softmax(scores.masked_fill(~exist, HIDDEN), dim=1) * exist


def _weighted_sum(weights: torch.Tensor, sequence: torch.Tensor) -> torch.Tensor:
    return torch.bmm(weights.to(sequence.dtype).unsqueeze(1), sequence).squeeze(1)


class Encoder(nn.Module):
    """From Positions to [rows, width]."""

    width: int

    def __init__(self, message: Message, channels: int) -> None:
        super().__init__()
        self.limit = int(message.first("max_seq_length", 0))
        self.width = channels


class PoolingEncoder(Encoder):
    """The sum or the mean of the positions."""

    def __init__(self, message: Message, channels: int) -> None:
        super().__init__(message, channels)
        self.mean = str(message.first("pooling_type", "mean")).lower() == "mean"

    def forward(self, x: Positions) -> torch.Tensor:
        exist = x.exist(self.limit)
        pooled = _weighted_sum(exist, x.sequence)
        return pooled / exist.sum(1, keepdim=True).clamp(min=1) if self.mean else pooled


class SimpleAttention(Encoder):
    """The sum of the positions, weighted by the softmax of s . q."""

    def forward(self, x: Positions) -> torch.Tensor:
        assert x.query is not None
        scores = torch.bmm(x.sequence, x.query.unsqueeze(2)).squeeze(2)
        return _weighted_sum(_masked_softmax(scores, x.exist(self.limit)), x.sequence)


class _MlpEncoder(Encoder):
    """An encoder whose weights are those of an MLP and a linear layer."""

    def __init__(self, message: Message, channels: int, inputs: int) -> None:
        super().__init__(message, channels)
        mlp = message.message("attn_mlp")
        self.mlp = MLP(inputs, mlp, of_positions=True)
        self.linear = nn.Linear(self.mlp.width, 1)

    def _scores(self, x: torch.Tensor) -> torch.Tensor:
        """[rows, T, inputs] -> [rows, T]; batch norm and Dice see each position as a row."""
        scores: torch.Tensor = self.linear(self.mlp(x.flatten(0, 1))).view(x.shape[:2])
        return scores


class DinEncoder(_MlpEncoder):
    """The sum of the positions, weighted by the softmax of linear(mlp([q; s; q - s; q * s]))."""

    def __init__(self, message: Message, channels: int) -> None:
        super().__init__(message, channels, 4 * channels)

    def forward(self, x: Positions) -> torch.Tensor:
        s = x.sequence
        q = x.wide_query().unsqueeze(1).expand_as(s)
        scores = self._scores(torch.cat([q, s, q - s, q * s], dim=2))
        return _weighted_sum(_masked_softmax(scores, x.exist(self.limit)), s)


class MultiWindowDinEncoder(_MlpEncoder):
    """[r_1; ...; r_L; q]: of each window the mean over its positions of a s, a =
    PReLU(linear(mlp([s; q * s; q])))."""

    def __init__(self, message: Message, channels: int) -> None:
        super().__init__(message, channels, 3 * channels)
        self.windows = [int(length) for length in message.all("windows_len")]
        self.active = nn.PReLU()
        self.width = (len(self.windows) + 1) * channels

    def forward(self, x: Positions) -> torch.Tensor:
        s, query = x.sequence, x.wide_query()
        q = query.unsqueeze(1).expand_as(s)
        a = self.active(self._scores(torch.cat([s, q * s, q], dim=2)))
        exist = x.exist()
        parts, first = [], 0
        for length in self.windows:
            window = slice(first, first + length)
            there = exist[:, window]
            total = _weighted_sum(a[:, window] * there, s[:, window])
            parts.append(total / there.sum(1, keepdim=True).clamp(min=1))
            first += length
        return torch.cat([*parts, query], dim=1)


class SelfAttentionEncoder(Encoder):
    """The mean over the positions of multi-head attention between projections of the sequence."""

    def __init__(self, message: Message, channels: int) -> None:
        super().__init__(message, channels)
        self.width = int(message.first("multihead_attn_dim", 512))
        self.heads = int(message.first("num_heads", 8))
        self._query = nn.Linear(channels, self.width)
        self._key = nn.Linear(channels, self.width)
        self._value = nn.Linear(channels, self.width)
        # Holds the parameters. Its own forward() makes NaN of rows without positions.
        self._multihead_attn = nn.MultiheadAttention(
            self.width,
            self.heads,
            dropout=shortest(message.first("dropout", 0.0)),
            batch_first=True,
        )

    def forward(self, x: Positions) -> torch.Tensor:
        s, attention = x.sequence, self._multihead_attn
        exist = x.exist(self.limit)
        weights, biases = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
        q, k, v = (
            torch.unflatten(
                nn.functional.linear(layer(s), weight, bias), 2, (self.heads, -1)
            ).transpose(1, 2)
            for layer, weight, bias in zip((self._query, self._key, self._value), weights, biases)
        )  # [rows, heads, T, width / heads]
        scores = (q * (self.width // self.heads) ** -0.5) @ k.transpose(2, 3)
        keys = exist[:, None, None, :]
        shares = torch.softmax(scores.masked_fill(~keys, HIDDEN), dim=3) * keys
        shares = nn.functional.dropout(shares, attention.dropout, self.training)
        mixed = attention.out_proj((shares @ v).transpose(1, 2).flatten(2))
        return _weighted_sum(exist, mixed) / x.lengths.clamp(min=1).unsqueeze(1)


ENCODERS = {
    "pooling_encoder": PoolingEncoder,
    "simple_attention": SimpleAttention,
    "din_encoder": DinEncoder,
    "multi_window_din_encoder": MultiWindowDinEncoder,
    "self_attention_encoder": SelfAttentionEncoder,
}


class SequenceEncoders(nn.ModuleList):
    """The encoders of a feature group, in the order of their outputs."""

    def __init__(self, group: Message, groups: Mapping[str, SequenceGroup]) -> None:
        inputs: list[str] = []
        made: list[Encoder] = []
        for entry in group.all("sequence_encoders"):
            kind, message = next((kind, values[0]) for kind, values in entry.items())
            if kind not in ENCODERS:
                raise ValueError(
                    f"the encoder {kind!r} is unknown here; expected {', '.join(ENCODERS)}"
                )
            inputs.append(message.first("input") or next(iter(groups)))
            channels = sum(leaf.width for leaf in groups[inputs[-1]].sequence)
            made.append(ENCODERS[kind](message, channels))
        super().__init__(made)
        self.inputs = inputs  # the sequence group of each encoder
        self.widths = [encoder.width for encoder in made]  # of the encoders' outputs

    def forward(self, positions: Mapping[str, Positions]) -> list[torch.Tensor]:
        return [encoder(positions[name]) for encoder, name in zip(self, self.inputs)]
