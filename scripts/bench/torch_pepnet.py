"""PEPNet in plain PyTorch, for the scripts that compare pepnet with it: gates, EPNet, PPNet, task
towers.

Attribute names give the reference's parameter names, so that `named_parameters()` matches a file of
`pepnet export --format safetensors` behind "model.". Definitions: docs/spec.md section 1.
"""

import json
import pathlib
import struct

import numpy as np
import torch
from torch import nn

GAMMA = 2.0
TABLE_NAME = "model.embedding_group.emb_impls.__BASE__.ebc.embedding_bags.{}_emb.weight"


class Gate(nn.Module):
    """gamma * sigmoid(W2 relu(W1 x + b1) + b2)"""

    def __init__(self, inputs, hidden, outputs):
        super().__init__()
        self.dense_layers = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(),
                                          nn.Linear(hidden, outputs))

    def forward(self, x):
        return GAMMA * torch.sigmoid(self.dense_layers(x))


class EPNet(nn.Module):
    """gate([domain; detached main]) * main"""

    def __init__(self, main, domain, hidden):
        super().__init__()
        self.gate_nu = Gate(domain + main, hidden, main)

    def forward(self, main, domain):
        return self.gate_nu(torch.cat([domain, main.detach()], dim=1)) * main


class PPNet(nn.Module):
    """Per task and layer: x = dropout(relu(A x + a) * gate([uia; detached main])). Returns one
    tensor per task."""

    def __init__(self, main, uia, hidden, tasks, dropout):
        super().__init__()
        widths = [main] + hidden
        layers = [(inputs, outputs)
                  for _ in range(tasks) for inputs, outputs in zip(widths, hidden)]
        self.linears = nn.ModuleList(nn.Linear(inputs, outputs) for inputs, outputs in layers)
        self.gate_nus = nn.ModuleList(Gate(uia + main, outputs, outputs) for _, outputs in layers)
        self.dropout = nn.Dropout(dropout)
        self.tasks = tasks

    def forward(self, main, uia):
        gate_input = torch.cat([uia, main.detach()], dim=1)
        depth = len(self.linears) // self.tasks
        outputs = []
        for task in range(self.tasks):
            x = main
            for k in range(task * depth, (task + 1) * depth):
                x = self.dropout(torch.relu(self.linears[k](x)) * self.gate_nus[k](gate_input))
            outputs.append(x)
        return outputs


class Perceptron(nn.Module):
    def __init__(self, inputs, outputs, dropout):
        super().__init__()
        drop = [nn.Dropout(dropout)] if dropout > 0 else []
        self.perceptron = nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU(), *drop)

    def forward(self, x):
        return self.perceptron(x)


class Tower(nn.Module):
    """Task input [rows, inputs] in, one logit per row out."""

    def __init__(self, inputs, hidden, dropout):
        super().__init__()
        widths = [inputs] + hidden
        layers = [Perceptron(a, b, dropout) for a, b in zip(widths, hidden)]
        self.tower_mlp = nn.ModuleDict({"mlp": nn.Sequential(*layers)})
        self.linear = nn.Linear(widths[-1], 1)

    def forward(self, x):
        return self.linear(self.tower_mlp["mlp"](x)).squeeze(1)


def read_safetensors(path):
    """{name: float32 tensor}: 8-byte header length, JSON header, data."""
    content = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    tensors = {}
    for name, entry in json.loads(content[8:8 + length]).items():
        if name == "__metadata__":
            continue
        dtype = {"F32": np.float32, "F64": np.float64, "I64": np.int64}[entry["dtype"]]
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        values = np.frombuffer(content[begin:end], dtype=dtype).reshape(entry["shape"])
        tensors[name] = torch.from_numpy(values.astype(np.float32))
    return tensors
