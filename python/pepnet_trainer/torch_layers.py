"""The layers of PEPNet as torch modules (docs/spec.md sections 1 and 3.12), with the reference's
parameter names."""

from __future__ import annotations

import re
from typing import Sequence

import torch
from torch import nn

from .text_format import Message, shortest
from .torch_features import Feature

ACTIVATIONS = (
    "ReLU ReLU6 LeakyReLU PReLU ELU CELU SELU GELU SiLU Mish Hardswish Sigmoid Hardsigmoid "
    "LogSigmoid Tanh Hardtanh Softplus Softsign Softshrink Hardshrink Tanhshrink Threshold "
    "Identity RReLU Softmax Softmin LogSoftmax"
).split()
# Of the last axis, which configs may call 1 or -1.
CHANNEL_MIXERS = ("Softmax", "Softmin", "LogSoftmax")


def batch_norm(width: int, affine: bool) -> nn.BatchNorm1d:
    norm = nn.BatchNorm1d(width, affine=affine)
    norm.num_batches_tracked = None  # counts for nothing, and exports do not hold it
    return norm


class Dice(nn.Module):
    """p x + alpha (1 - p) x, p = sigmoid of x normalised over the batch"""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(width))
        self.bn = batch_norm(width, affine=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        p = torch.sigmoid(self.bn(x))
        return p * x + self.alpha * (1 - p) * x


def activation_of(text: str, width: int) -> nn.Module | None:
    """A module from its name in the config, as nn.LeakyReLU(negative_slope=0.2), behind a layer of
    that width."""
    if not text:
        return None
    if text.strip() == "Dice":
        return Dice(width)
    match = re.fullmatch(r"(?:torch\.)?nn\.(\w+)(?:\((.*)\))?", text.strip())
    if not match or match[1] not in ACTIVATIONS:
        raise ValueError(f"the activation {text!r} is unknown here")
    arguments: dict[str, str | float | int] = {"dim": -1} if match[1] in CHANNEL_MIXERS else {}
    for part in (match[2] or "").replace(" ", "").split(","):
        name, _, value = part.partition("=")
        if name == "approximate":
            arguments[name] = value.strip("'\"")
        elif name == "num_parameters":
            arguments[name] = int(value)
        elif name and name not in ("inplace", "dim"):
            arguments[name] = float(value)
    module: nn.Module = getattr(nn, match[1])(**arguments)
    return module


def ratios_of(values: Sequence[float], layers: int) -> list[float]:
    """Dropout of each layer: none, one for all, or one each."""
    return (
        [float(value) for value in values]
        if len(values) == layers
        else [float((list(values) or [0.0])[0])] * layers
    )


class Gate(nn.Module):
    """gamma * sigmoid(W2 relu(W1 x + b1) + b2)"""

    def __init__(self, inputs: int, hidden: int, outputs: int, gamma: float) -> None:
        super().__init__()
        self.dense_layers = nn.Sequential(
            nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs)
        )
        self.gamma = gamma

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gamma * torch.sigmoid(self.dense_layers(x))


class EPNet(nn.Module):
    """gate([domain; detached main]) * main"""

    def __init__(self, main: int, domain: int, hidden: int, gamma: float) -> None:
        super().__init__()
        self.gate_nu = Gate(domain + main, hidden, main, gamma)

    def forward(self, main: torch.Tensor, domain: torch.Tensor) -> torch.Tensor:
        share: torch.Tensor = self.gate_nu(torch.cat([domain, main.detach()], dim=1))
        return share * main


class PPNet(nn.Module):
    """Per task and layer: x = dropout(act(A x + a) * gate([uia; detached main])). Returns one
    tensor per task."""

    def __init__(
        self,
        main: int,
        uia: int,
        hidden: Sequence[int],
        tasks: int,
        activation: str,
        dropouts: Sequence[float],
        gamma: float,
    ) -> None:
        super().__init__()
        layers = [
            (before, after) for _ in range(tasks) for before, after in zip([main, *hidden], hidden)
        ]
        self.linears = nn.ModuleList(nn.Linear(before, after) for before, after in layers)
        self.gate_nus = nn.ModuleList(Gate(uia + main, after, after, gamma) for _, after in layers)
        self.activations = nn.ModuleList(
            activation_of(activation, after) or nn.Identity() for _, after in layers
        )
        self.dropouts = nn.ModuleList(nn.Dropout(ratio) for _ in range(tasks) for ratio in dropouts)
        self.tasks = tasks

    def forward(self, main: torch.Tensor, uia: torch.Tensor) -> list[torch.Tensor]:
        gate_input = torch.cat([uia, main.detach()], dim=1)
        depth = len(self.linears) // self.tasks
        outputs = []
        for task in range(self.tasks):
            x = main
            for k in range(task * depth, (task + 1) * depth):
                x = self.dropouts[k](
                    self.activations[k](self.linears[k](x)) * self.gate_nus[k](gate_input)
                )
            outputs.append(x)
        return outputs


class Perceptron(nn.Module):
    """Linear, normalisation if asked for, activation, dropout.

    `of_positions`: of an attention, whose batch norm the reference puts between two transpositions.
    Here positions come as rows, so that nothing is transposed, but the layers keep their numbers.
    """

    def __init__(
        self, inputs: int, outputs: int, mlp: Message, dropout: float, of_positions: bool = False
    ) -> None:
        super().__init__()
        has_batch_norm = bool(mlp.first("use_bn", False))
        has_bias = bool(mlp.first("bias", True)) and not has_batch_norm
        layers: list[nn.Module] = [nn.Linear(inputs, outputs, bias=has_bias)]
        if has_batch_norm and of_positions:
            layers += [nn.Identity(), batch_norm(outputs, affine=True), nn.Identity()]
        elif has_batch_norm:
            layers.append(batch_norm(outputs, affine=True))
        if mlp.first("use_ln", False):
            layers.append(nn.LayerNorm(outputs))
        activation = activation_of(mlp.first("activation", "nn.ReLU"), outputs)
        layers += [activation] if activation is not None else []
        layers += [nn.Dropout(dropout)] if dropout > 0 else []
        self.perceptron = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.perceptron(x)
        return result


class MLP(nn.Module):
    """The layers of an MLP of the config, [rows, inputs] -> [rows, width]; without hidden_units it
    changes nothing."""

    def __init__(self, inputs: int, mlp: Message, of_positions: bool = False) -> None:
        super().__init__()
        widths = [inputs, *(int(units) for units in mlp.all("hidden_units"))]
        ratios = ratios_of(mlp.all("dropout_ratio"), len(widths) - 1)
        self.width = widths[-1]
        self.mlp = nn.Sequential(
            *(
                Perceptron(before, after, mlp, ratio, of_positions)
                for before, after, ratio in zip(widths, widths[1:], ratios)
            )
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.mlp(x)
        return result


class Tower(nn.Module):
    """An MLP, if there is one, and a linear layer: [rows, num_class]."""

    def __init__(self, inputs: int, mlp: Message, num_class: int) -> None:
        super().__init__()
        self.tower_mlp = MLP(inputs, mlp)
        self.linear = nn.Linear(self.tower_mlp.width, num_class)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.linear(self.tower_mlp(x))
        return result


class _Weight(nn.Module):
    """A parameter called `weight`, with the reference's initial values where it is not filled."""

    def __init__(self, *shape: int, variance: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(*shape) * variance**0.5)


class DenseEmbedding(nn.Module):
    """The values of a raw feature as a vector. mlp: x W. autodis: softmax((M h + keep_prob h) /
    temperature) E with h = leaky_relu(x w)."""

    def __init__(self, feature: Feature) -> None:
        super().__init__()
        name, width, inputs, autodis = feature.name, feature.width, feature.values, feature.autodis
        self.name, self.autodis = name, autodis is not None
        if autodis is None:
            self.key = f"mlp#{width}" + (
                f"#vdim#{inputs}#feature_name#{' ' * 12}{name}" if inputs > 1 else ""
            )
            shape = (inputs, width) if inputs > 1 else (width,)
            self._modules[f"proj_w_{name}"] = _Weight(*shape, variance=2 / (inputs + width))
            return
        channels = int(autodis.first("num_channels"))
        self.keep_prob = shortest(autodis.first("keep_prob", 0.8))
        self.temperature = shortest(autodis.first("temperature", 0.1))
        numbers = f"{self.keep_prob:.6f}#{self.temperature:.6f}".replace(".", "_")
        self.key = f"autodis#{width}#{channels}#{numbers}"
        self._modules[f"meta_emb_{name}"] = _Weight(channels, width, variance=1)
        self._modules[f"proj_w_{name}"] = _Weight(channels, variance=2 / (1 + channels))
        self._modules[f"proj_m_{name}"] = _Weight(channels, channels, variance=1 / channels)

    def _weight(self, part: str) -> torch.Tensor:
        module = self._modules[f"{part}_{self.name}"]
        assert isinstance(module, _Weight)
        return module.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self._weight("proj_w")
        if not self.autodis:
            return x @ weight if weight.dim() == 2 else x * weight
        h = nn.functional.leaky_relu(x * weight, 0.01)
        z = h @ self._weight("proj_m").T + self.keep_prob * h
        return torch.softmax(z / self.temperature, dim=1) @ self._weight("meta_emb")


class VariationalDropout(nn.Module):
    """The columns of a group, each feature's times what is left of it: 1 - sigmoid(feature_p), in
    training with noise. penalty() times regularization_lambda over the rows of a batch is what the
    trainer adds to its losses."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.feature_p = nn.Parameter(torch.randn(len(widths)))
        self.widths = list(widths)

    def penalty(self) -> torch.Tensor:
        return (1 - torch.sigmoid(self.feature_p)).sum()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        share = torch.sigmoid(self.feature_p).unsqueeze(0)
        if self.training:
            epsilon = 2.0**-23
            u = torch.rand(x.shape[0], len(self.widths), device=x.device)
            odds = [torch.log(p + epsilon) - torch.log(1 - p + epsilon) for p in (share, u)]
            share = torch.sigmoid((odds[0] + odds[1]) / 0.1)
        left = torch.split(1 - share, 1, dim=1)
        return torch.cat(
            [part * one for part, one in zip(torch.split(x, self.widths, dim=1), left)], dim=1
        )
