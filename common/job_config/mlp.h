// Mlp: hidden layers, each Linear, LayerNorm if asked for, activation, dropout. Towers and sequence encoders have one.
#pragma once

#include <vector>

#include "common/job_config/activation.h"

namespace pepnet {

struct Mlp {
  std::vector<int> hidden_units;
  std::vector<double> dropout_ratio;  // one per layer after validation
  Activation activation;
  bool bias = true;
  bool use_ln = false;
};

}  // namespace pepnet
