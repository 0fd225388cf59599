"""PEPNet as a plain torch.nn.Module, filled from an export (docs/spec.md section 1 is what it
computes).

Parameters have the reference's names: state_dict() holds the tensors of model.safetensors without
"model." in front.
"""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any, Mapping

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from . import checkpoint, frames
from .config import Config
from .frames import Frame, Rows
from .onnx_inputs import domains_of
from .text_format import shortest
from .torch_features import Cells, Encoded, Feature, feature_messages
from .torch_groups import EmbeddingGroup, table_of
from .torch_layers import EPNet, PPNet, Tower, VariationalDropout, ratios_of
from .torch_tables import GrowingTable
from .vocabulary import domain_words


class PEPNet(nn.Module):
    """The network of a config with its tables.

    encode() turns raw rows into tensors, forward() these into outputs by name ("logits_click",
    "probs_click"), and predict() does both. It is an ordinary module: it can be trained on, moved
    to a GPU, or taken apart.
    """

    def __init__(
        self,
        config: Config,
        tables: Mapping[str, tuple[int, int]],
        *,
        string_hash: str = "std",
        directory: str | os.PathLike[str] = ".",
        seed: int | None = None,
    ) -> None:
        """`config` is an effective config, `tables` has (rows, width) by name; files of
        vocabularies lie in `directory`. `seed` is the training's: what ids without a row read in
        tables that grow depends on it."""
        super().__init__()
        message = config.parsed()
        model, data = message.message("model_config"), message.message("data_config")
        pepnet = model.message("pepnet")
        groups = model.all("feature_groups")
        listing = [*groups, *(one for group in groups for one in group.all("sequence_groups"))]
        used = {name for group in listing for name in group.all("feature_names")}
        self.features: dict[str, Feature] = {}
        for kind, feature, sequence in feature_messages(config):
            if (sequence.prefix if sequence else "") + feature.first("feature_name") in used:
                one = Feature(
                    kind,
                    feature,
                    config.encoded(),
                    data.first("fg_encoded_multival_sep", "\x03"),
                    string_hash,
                    pathlib.Path(directory),
                    sequence,
                )
                self.features[one.name] = one
        self.embedding_group = EmbeddingGroup(groups, self.features, tables, seed)
        widths = self.embedding_group.widths
        if "all" not in widths:
            raise ValueError(
                "the config has no feature group 'all'; "
                "load the effective config (pepnet check-config)"
            )

        if model.first("variational_dropout") is not None:
            self.group_variational_dropouts = nn.ModuleDict(
                {
                    name: VariationalDropout(parts)
                    for name, parts in widths.items()
                    if len(parts) > 1
                }
            )
        main = sum(widths["all"])
        if "domain" in widths:
            self.epnet = EPNet(
                main,
                sum(widths["domain"]),
                int(pepnet.first("epnet_hidden_unit", main)),
                shortest(pepnet.first("epnet_gamma", 2.0)),
            )
        self.towers = pepnet.all("task_towers")
        task_input = main
        if "uia" in widths:
            hidden = [int(units) for units in pepnet.all("ppnet_hidden_units")]
            self.ppnet = PPNet(
                main,
                sum(widths["uia"]),
                hidden,
                len(self.towers),
                pepnet.first("ppnet_activation", "nn.ReLU"),
                ratios_of(pepnet.all("ppnet_dropout_ratio"), len(hidden)),
                shortest(pepnet.first("ppnet_gamma", 2.0)),
            )
            task_input = hidden[-1]
        self.domain_column: str = pepnet.first("domain_input_name", "")
        self.domains = int(pepnet.first("task_domain_num", 1)) if self.domain_column else 0
        self.domain_words = (
            domain_words(config, self.domain_column, pathlib.Path(directory))
            if self.domains
            else []
        )
        self._task_tower = nn.ModuleList(
            Tower(task_input, tower.message("mlp"), int(tower.first("num_class", 1)))
            for tower in self.towers
            for _ in range(self.domains or 1)
        )

    def encode(self, rows: Rows) -> dict[str, Cells]:
        """Raw rows, as the training data have them, as tensors by feature."""
        return self._encode(frames.to_arrow(rows), first_row=0)

    def _encode(self, table: pa.Table, first_row: int) -> dict[str, Cells]:
        """`first_row` is the number of the table's first row in messages."""
        columns = {feature.column for feature in self.features.values()}
        missing = sorted(columns - set(table.column_names))
        if missing:
            raise ValueError(f"the rows lack the column(s) {', '.join(missing)}")
        table = frames.fit(
            table, {feature.column for feature in self.features.values() if feature.ids}
        )
        encoded: dict[str, Cells] = {}
        for name, feature in self.features.items():
            cells = table[feature.column].to_pylist()
            try:
                encoded[name] = feature.encode(cells)
            except (ValueError, TypeError):
                for row, cell in enumerate(cells, first_row):
                    try:
                        feature.encode([cell])
                    except (ValueError, TypeError) as error:
                        raise type(error)(
                            f"row {row} (counted from 0), column {feature.column!r}: {error}"
                        ) from None
                raise
        return encoded

    def forward(self, encoded: Encoded) -> dict[str, torch.Tensor]:
        """Outputs by name, one entry per row, of what encode() gives."""
        groups = self.embedding_group(encoded)
        if hasattr(self, "group_variational_dropouts"):
            for name, dropout in self.group_variational_dropouts.items():
                groups[name] = dropout(groups[name])
        main = groups["all"]
        if "domain" in groups:
            main = self.epnet(main, groups["domain"])
        inputs = self.ppnet(main, groups["uia"]) if "uia" in groups else [main] * len(self.towers)
        outputs: dict[str, torch.Tensor] = {}
        per_task = self.domains or 1
        for at, module in enumerate(self._task_tower):
            tower = self.towers[at // per_task]
            suffix = tower.first("tower_name") + (f"_{at % per_task}" if self.domains else "")
            z = module(inputs[at // per_task])
            for loss in tower.all("losses"):
                if "l2_loss" in loss:
                    outputs[f"y_{suffix}"] = z.squeeze(1)
                elif z.shape[1] == 1:
                    outputs[f"logits_{suffix}"] = z.squeeze(1)
                    outputs[f"probs_{suffix}"] = torch.sigmoid(z.squeeze(1))
                else:
                    outputs[f"logits_{suffix}"] = z
                    outputs[f"probs_{suffix}"] = torch.softmax(z, dim=1)
                    if z.shape[1] == 2:
                        outputs[f"probs1_{suffix}"] = outputs[f"probs_{suffix}"][:, 1]
        return outputs

    def predict(self, rows: Rows, *, batch_size: int = 4096) -> Frame:
        """Outputs of raw rows, as `pepnet predict` gives them, with the index of a DataFrame."""
        device = next(self.parameters()).device
        table = frames.to_arrow(rows)
        parts: list[dict[str, np.ndarray]] = []
        was_training = self.training
        self.eval()
        with torch.no_grad():
            for start in range(0, max(len(table), 1), batch_size):
                encoded = {
                    name: _moved(value, device)
                    for name, value in self._encode(
                        table.slice(start, batch_size), first_row=start
                    ).items()
                }
                parts.append({name: value.cpu().numpy() for name, value in self(encoded).items()})
        self.train(was_training)
        whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        if self.domains and self.domain_column in table.column_names:
            cells = frames.fit(table, [self.domain_column])[self.domain_column].to_pylist()
            domains = domains_of(cells, self.domain_column, self.domains, self.domain_words)
            whole |= _of_own_domain(whole, domains)
        result = pa.table(
            {
                name: (
                    pa.array(values)
                    if values.ndim == 1
                    else pa.FixedSizeListArray.from_arrays(
                        pa.array(values.reshape(-1)), values.shape[1]
                    )
                )
                for name, values in sorted(whole.items())
            }
        )
        return frames.to_frame(result, rows)


def _of_own_domain(outputs: dict[str, np.ndarray], domains: np.ndarray) -> dict[str, np.ndarray]:
    """Of the outputs of all domains those of each row's own: probs_ctr of probs_ctr_0, probs_ctr_1,
    ..."""
    stems = [name.removesuffix("_0") for name in outputs if name.endswith("_0")]
    # Of another tower, and `pepnet predict` leaves them out, too.
    if any(stem in outputs for stem in stems):
        return {}
    return {
        stem: np.array(
            [outputs[f"{stem}_{domain}"][row] for row, domain in enumerate(domains)], np.float32
        )
        for stem in stems
    }


def _moved(cells: Cells, device: torch.device) -> Cells:
    if isinstance(cells, torch.Tensor):
        return cells.to(device)
    return type(cells)._make(None if part is None else part.to(device) for part in cells)


def load_torch(export_dir: str | os.PathLike[str]) -> PEPNet:
    """The PEPNet of an export with safetensors, in evaluation mode, with the same probabilities as
    `pepnet predict`."""
    directory = pathlib.Path(export_dir)
    path = directory / "model.safetensors"
    if not path.exists():
        raise FileNotFoundError(
            f"{str(directory)!r} holds no model.safetensors; export with formats=['safetensors']"
        )
    tensors = {
        name.removeprefix("model."): values
        for name, values in checkpoint.read_safetensors(path).items()
    }
    tables = {
        table_of(name): (values.shape[0], values.shape[1])
        for name, values in tensors.items()
        if table_of(name)
    }
    described = directory / "export.json"
    facts: dict[str, Any] = (
        json.loads(described.read_text()) if described.exists() else {"string_hash": "std"}
    )
    model = PEPNet(
        Config.from_file(directory / "pipeline.config"),
        tables,
        string_hash=facts.get("string_hash", ""),
        directory=directory,
        seed=facts.get("seed"),
    )
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name not in tensors:
                raise ValueError(f"{str(path)!r} lacks {name}")
            value.copy_(torch.from_numpy(np.array(tensors.pop(name))))
    if tensors:
        raise ValueError(
            f"{str(path)!r} holds tensors that this model does not have: "
            f"{', '.join(sorted(tensors)[:5])}"
        )
    for module in model.modules():
        if isinstance(module, GrowingTable):
            module.index()
    return model.eval()
