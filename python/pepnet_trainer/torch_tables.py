"""Tables that grow, as torch modules: the rows that an export holds, found by id
(docs/dynamic_tables.md)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .initial_rows import InitialRows

IDS = "weight.ids"


class GrowingTable(nn.Module):
    """The rows `weight` of the ids `weight.ids`. An id without a row reads its initial value, as in
    `pepnet predict`; training changes rows, and makes none.
    """

    weight: torch.Tensor

    def __init__(self, rows: int, width: int, initial: InitialRows) -> None:
        super().__init__()
        self.initial = initial
        self.weight = nn.Parameter(torch.zeros(rows, width))
        # As an entry: its name has a point.
        self._buffers[IDS] = torch.zeros(rows, dtype=torch.int64)
        self.register_buffer("_sorted", torch.zeros(0, dtype=torch.int64), persistent=False)
        self.register_buffer("_order", torch.zeros(0, dtype=torch.int64), persistent=False)

    def index(self) -> None:
        """Makes the ids findable; to be called when they have changed, as load_state_dict()
        does."""
        ids = self._buffers[IDS]
        assert ids is not None
        self._sorted, self._order = torch.sort(ids)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
        if prefix + IDS in unexpected_keys:  # taken for a tensor of a module `weight`
            unexpected_keys.remove(prefix + IDS)
        self.index()

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """[ids, width] of ids [ids] int64."""
        if len(self._sorted):
            at = torch.searchsorted(self._sorted, ids).clamp(max=len(self._sorted) - 1)
            known = self._sorted[at] == ids
            vectors = self.weight[self._order[at]]
        else:
            known = torch.zeros_like(ids, dtype=torch.bool)
            vectors = self.weight.new_zeros(len(ids), self.weight.shape[1])
        unseen = ids[~known]
        if not len(unseen):
            return vectors
        return vectors.index_put(
            (~known,), torch.from_numpy(self.initial.rows(unseen.cpu().numpy())).to(vectors)
        )
