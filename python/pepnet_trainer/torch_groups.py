"""The embedding group of PEPNet as a torch module: from ids and values to the tensors of the
feature groups (docs/spec.md 3.5 to 3.10), with the reference's parameter names.
"""

from __future__ import annotations

import re
from typing import Mapping, Sequence

import torch
from torch import nn

from .initial_rows import InitialRows
from .text_format import Message
from .torch_features import Cells, Encoded, Feature, Leaf, Values
from .torch_layers import DenseEmbedding
from .torch_sequences import SequenceEncoders, sequence_groups
from .torch_tables import GrowingTable

ROLES = ("all", "domain", "uia")  # the groups that PEPNet reads
POOLED = "embedding_group.emb_impls.__BASE__.ebc.embedding_bags."
SEQUENCES = r"embedding_group\.seq_emb_impls\.__BASE__\.ec_dict\.(\d+)\.embeddings\."


def table_of(parameter: str) -> str:
    """The name of the table whose weights are called so; "": it is no such name."""
    if not parameter.endswith(".weight"):
        return ""
    name = parameter.removesuffix(".weight")
    if name.startswith(POOLED):
        return name.removeprefix(POOLED)
    return re.sub(SEQUENCES, r"sequence.\1.", name) if re.match(SEQUENCES, name) else ""


class EmbeddingGroup(nn.Module):
    """The tables, dense embeddings and encoders of the feature groups. `widths` are those of the
    parts of each group's tensor: features, then encoders.

    A feature's table depends on the group: sequence groups have tables of their own, and so has
    every embedding_name_suffix.
    """

    def __init__(
        self,
        groups: Sequence[Message],
        features: Mapping[str, Feature],
        tables: Mapping[str, tuple[int, int]],
        seed: int | None,
    ) -> None:
        """`groups` are the config's feature_groups, `tables` has (rows, width) by name, `seed` is
        the training's."""
        super().__init__()
        self.features = features
        self.groups: dict[str, list[Leaf]] = {}
        self.sequence_groups = {}
        self.widths: dict[str, list[int]] = {}
        encoders = nn.ModuleDict()
        leaves: set[Leaf] = set()
        for group in groups:
            name, suffix = group.first("group_name"), group.first("embedding_name_suffix") or ""
            own = [features[feature].leaf(suffix) for feature in group.all("feature_names")]
            sequences = sequence_groups(group, features)
            leaves.update(own)
            for one in sequences.values():
                leaves.update(one.query, one.sequence)
            if name not in ROLES:
                continue
            self.groups[name], self.sequence_groups[name] = own, sequences
            self.widths[name] = [leaf.width for leaf in own]
            if sequences:
                made = SequenceEncoders(group, sequences)
                encoders[name] = made
                self.widths[name] += made.widths
        self._leaves = sorted(leaves)
        self._add_tables(tables, seed)
        self._add_dense_embeddings()
        if encoders:
            self._group_name_to_seq_encoders = encoders

    def _add_tables(self, tables: Mapping[str, tuple[int, int]], seed: int | None) -> None:
        """Gives every leaf that is no value its table, under the reference's name."""
        self._tables: dict[str, nn.Module] = {}
        self.emb_impls = nn.ModuleDict({"__BASE__": nn.Module()})
        collection = self.emb_impls["__BASE__"].ebc = nn.Module()
        collection.embedding_bags = nn.Module()
        for leaf in self._leaves:
            if not leaf.table or leaf.table in self._tables:
                continue
            if leaf.table not in tables:
                raise ValueError(
                    f"the export lacks the table {leaf.table!r}, "
                    f"which feature {leaf.feature!r} reads"
                )
            feature, (rows, width) = self.features[leaf.feature], tables[leaf.table]
            table: nn.Module
            if feature.growing is not None:
                initial = InitialRows(leaf.table, width, feature.growing, feature.data_type, seed)
                table = GrowingTable(rows, width, initial)
            elif leaf.table.startswith("sequence."):
                table = nn.Embedding(rows, width)
            else:
                table = nn.EmbeddingBag(rows, width, mode="sum")
            # Set as entries: a table may have any name, also one that modules use for themselves.
            if leaf.table.startswith("sequence."):
                name = leaf.table.split(".", 2)[2]
                self._sequence_tables(str(width))._modules[name] = table
            else:
                collection.embedding_bags._modules[leaf.table] = table
            self._tables[leaf.table] = table

    def _sequence_tables(self, width: str) -> nn.Module:
        """The module of the tables of that width that sequence groups read."""
        if not hasattr(self, "seq_emb_impls"):
            base = nn.Module()
            base.ec_dict = nn.ModuleDict()
            self.seq_emb_impls = nn.ModuleDict({"__BASE__": base})
        by_width = self.seq_emb_impls["__BASE__"].ec_dict
        assert isinstance(by_width, nn.ModuleDict)
        if width not in by_width:
            by_width[width] = nn.Module()
            by_width[width].embeddings = nn.Module()
        tables = by_width[width].embeddings
        assert isinstance(tables, nn.Module)
        return tables

    def _add_dense_embeddings(self) -> None:
        names = dict.fromkeys(
            leaf.feature for group in self.groups.values() for leaf in group if leaf.embedded
        )
        # Registered below.
        self._embeddings = {name: DenseEmbedding(self.features[name]) for name in names}
        if not names:
            return
        dense = nn.Module()
        # Features of one configuration lie under one key.
        for one in self._embeddings.values():
            shared = dense._modules.setdefault(one.key, nn.Module())
            assert shared is not None
            shared._modules.update(one._modules)
        collection = self.emb_impls["__BASE__"].dense_ec = nn.Module()
        collection.dense_embs = dense

    def _vectors(self, leaf: Leaf, cells: Cells) -> torch.Tensor:
        """[rows, width], of a leaf by element [elements, width]."""
        if isinstance(cells, Values):
            return cells.values
        if isinstance(cells, torch.Tensor):
            return self._embeddings[leaf.feature](cells) if leaf.embedded else cells
        bags = cells if leaf.by_element else cells.by_cell()
        table, ids = self._tables[leaf.table], bags.ids
        weight = table.weight
        assert isinstance(weight, torch.Tensor)
        if isinstance(table, GrowingTable):
            weight, ids = table(ids), torch.arange(len(ids), device=ids.device)
        pooled = nn.functional.embedding_bag(
            ids,
            weight,
            bags.offsets,
            mode="sum",
            per_sample_weights=bags.weights,
            include_last_offset=True,
        )
        if self.features[leaf.feature].mean:
            pooled = pooled / bags.offsets.diff().clamp(min=1).unsqueeze(1)
        return pooled

    def forward(self, encoded: Encoded) -> dict[str, torch.Tensor]:
        """[rows, width] of each group that PEPNet reads."""
        vectors = {leaf: self._vectors(leaf, encoded[leaf.feature]) for leaf in self._leaves}
        result = {}
        for name, leaves in self.groups.items():
            parts = [vectors[leaf] for leaf in leaves]
            if self.sequence_groups[name]:
                positions = {
                    group: one.positions(vectors, encoded)
                    for group, one in self.sequence_groups[name].items()
                }
                parts += self._group_name_to_seq_encoders[name](positions)
            result[name] = torch.cat(parts, dim=1)
        return result
