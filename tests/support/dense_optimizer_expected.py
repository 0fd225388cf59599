#!/usr/bin/env python3
"""Prints tests/worker/optim/dense_optimizer_expected.h: what torch.optim makes of five steps in
float32.

Usage: dense_optimizer_expected.py > tests/worker/optim/dense_optimizer_expected.h

Inputs are exact in float32 and repeated in the test:
  value[i]          = (7 i mod 11 - 5) / 8
  gradient[step][i] = ((5 i + 3 step) mod 13 - 6) / 2^(4 + i mod 3)
  lr[step]          = lr (1 - step / 8)
"""
import textwrap

import torch

ELEMENTS, STEPS = 13, 5

# Name, torch class, options, lr, fields of the C++ DenseOptimizer.
CASES = [
    ("sgd", torch.optim.SGD, dict(momentum=0.0), 0.1,
     ".kind = DenseOptimizerKind::kSgd, .momentum = 0"),
    ("sgd_decay", torch.optim.SGD, dict(momentum=0.0, weight_decay=0.3), 0.1,
     ".kind = DenseOptimizerKind::kSgd, .momentum = 0, .weight_decay = 0.3"),
    ("sgd_momentum", torch.optim.SGD, dict(momentum=0.9), 0.1,
     ".kind = DenseOptimizerKind::kSgd, .momentum = 0.9"),
    ("sgd_dampening", torch.optim.SGD, dict(momentum=0.8, dampening=0.25, weight_decay=0.01), 0.1,
     ".kind = DenseOptimizerKind::kSgd, .momentum = 0.8, .dampening = 0.25, .weight_decay = 0.01"),
    ("sgd_nesterov", torch.optim.SGD, dict(momentum=0.9, nesterov=True, weight_decay=0.02), 0.1,
     ".kind = DenseOptimizerKind::kSgd, .momentum = 0.9, .nesterov = true, .weight_decay = 0.02"),
    ("adagrad", torch.optim.Adagrad, dict(eps=1e-10), 0.05,
     ".kind = DenseOptimizerKind::kAdagrad, .eps = 1e-10"),
    ("adagrad_initial", torch.optim.Adagrad,
     dict(eps=1e-6, initial_accumulator_value=0.1, weight_decay=0.01), 0.05,
     (".kind = DenseOptimizerKind::kAdagrad, .weight_decay = 0.01, "
      ".initial_accumulator_value = 0.1, .eps = 1e-6")),
    ("adam", torch.optim.Adam, dict(), 0.01, ".kind = DenseOptimizerKind::kAdam"),
    ("adam_decay", torch.optim.Adam, dict(betas=(0.85, 0.99), eps=1e-4, weight_decay=0.1), 0.01,
     (".kind = DenseOptimizerKind::kAdam, .weight_decay = 0.1, .beta1 = 0.85, .beta2 = 0.99, "
      ".eps = 1e-4")),
    ("adam_amsgrad", torch.optim.Adam, dict(betas=(0.9, 0.7), amsgrad=True), 0.01,
     ".kind = DenseOptimizerKind::kAdam, .beta2 = 0.7, .amsgrad = true"),
    ("adamw", torch.optim.AdamW, dict(weight_decay=0.0), 0.01,
     ".kind = DenseOptimizerKind::kAdamW"),
    ("adamw_decay", torch.optim.AdamW, dict(weight_decay=0.5), 0.01,
     ".kind = DenseOptimizerKind::kAdamW, .weight_decay = 0.5"),
    ("adamw_amsgrad", torch.optim.AdamW,
     dict(weight_decay=0.5, betas=(0.9, 0.7), amsgrad=True), 0.01,
     ".kind = DenseOptimizerKind::kAdamW, .weight_decay = 0.5, .beta2 = 0.7, .amsgrad = true"),
    ("adadelta", torch.optim.Adadelta, dict(rho=0.95, eps=1e-6), 1.0,
     ".kind = DenseOptimizerKind::kAdadelta, .eps = 1e-6, .rho = 0.95"),
    ("adadelta_decay", torch.optim.Adadelta, dict(rho=0.9, eps=1e-5, weight_decay=0.1), 1.0,
     ".kind = DenseOptimizerKind::kAdadelta, .weight_decay = 0.1, .eps = 1e-5, .rho = 0.9"),
    ("rmsprop", torch.optim.RMSprop, dict(), 0.01, ".kind = DenseOptimizerKind::kRmsprop"),
    ("rmsprop_decay", torch.optim.RMSprop, dict(alpha=0.9, eps=1e-5, weight_decay=0.1), 0.01,
     ".kind = DenseOptimizerKind::kRmsprop, .weight_decay = 0.1, .eps = 1e-5, .alpha = 0.9"),
]
SLOTS = ["momentum_buffer", "sum", "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "square_avg",
         "acc_delta"]


def numbers(tensor):
    text = "{" + ", ".join(f"{x:.9g}" for x in tensor.tolist()) + "}"
    return "\n          ".join(textwrap.wrap(text, 88))


def main():
    i = torch.arange(ELEMENTS)
    version = torch.__version__.split("+")[0]
    print(f"""// Generated with torch {version} by tests/support/dense_optimizer_expected.py; \
do not edit.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "common/job_config/dense_optimizer.h"

namespace pepnet {{

struct DenseOptimizerCase {{
  std::string name;
  double lr;
  DenseOptimizer config;
  std::vector<float> values;                                      // after five steps
  std::vector<std::pair<std::string, std::vector<float>>> slots;  // likewise
}};

inline const std::vector<DenseOptimizerCase> kDenseOptimizerCases = {{""")
    for name, optimizer_class, options, lr, fields in CASES:
        value = torch.nn.Parameter(((7 * i) % 11 - 5).float() / 8)
        optimizer = optimizer_class([value], lr=lr, foreach=False, **options)
        for step in range(STEPS):
            optimizer.param_groups[0]["lr"] = lr * (1 - step / 8)
            value.grad = ((5 * i + 3 * step) % 13 - 6).float() / 2.0 ** (4 + i % 3)
            optimizer.step()
        state = optimizer.state[value]
        slots = [(slot, state[slot]) for slot in SLOTS if torch.is_tensor(state.get(slot))]
        print(f'    {{"{name}",\n     {lr},\n     {{{fields}}},\n     {numbers(value)},')
        print("     {"
              + ",\n      ".join(f'{{"{slot}", {numbers(tensor)}}}' for slot, tensor in slots)
              + "}},")
    print("};\n\n}  // namespace pepnet")


if __name__ == "__main__":
    main()
