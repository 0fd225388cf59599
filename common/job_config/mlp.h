// Mlp: hidden layers, each Linear, normalisation if asked for, activation, dropout; of towers and
// sequence encoders.
#pragma once

#include <vector>

#include "common/job_config/activation.h"

namespace pepnet {

struct Mlp {
  std::vector<int> hidden_units;
  std::vector<double> dropout_ratio;  // one per layer after validation
  Activation activation;
  bool bias = true;     // of the linear layers; false with use_bn
  bool use_ln = false;  // of the two at most one
  bool use_bn = false;
  bool of_positions = false;  // an attention's: it sees the positions of sequences
};

// The names of a layer's modules, behind those of the linear one, which is "0". In an attention
// batch normalisation stands between two transpositions, which count.
inline const char* NormName(const Mlp& mlp) { return mlp.use_bn && mlp.of_positions ? "2" : "1"; }
inline const char* ActivationName(const Mlp& mlp) {
  if (!mlp.use_ln && !mlp.use_bn) return "1";
  return mlp.use_bn && mlp.of_positions ? "4" : "2";
}

// Whether a batch's rows have a part in each other's outputs in training.
inline bool NormalisesOverRows(const Mlp& mlp) {
  return mlp.use_bn || TypeOf(mlp.activation.kind).normalises;
}

}  // namespace pepnet
