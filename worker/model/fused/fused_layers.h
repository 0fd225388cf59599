// Where the layers of a network lie in the parameter arenas: what the fused engine computes with. Without torch.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "common/job_config/job_config.h"
#include "worker/model/parameters.h"

namespace pepnet {

// Places are offsets into the arenas, in floats; -1: the layer has no such parameter.
struct FusedLinear {
  int64_t weight = -1, bias = -1;
  int64_t in = 0, out = 0;
};

// gamma * sigmoid(second(relu(first(x))))
struct FusedGate {
  FusedLinear first, second;
  float gamma = 1;
};

struct FusedActivation {
  ActivationKind kind = ActivationKind::kIdentity;
  float parameter = 0;
  int64_t weight = -1;  // PReLU's
};

struct FusedDropout {
  double ratio = 0;
  int64_t number = 0;  // of the layer, as in worker/model/dropout_mask.h
};

struct FusedPpnetLayer {
  FusedLinear linear;
  FusedActivation activation;
  FusedGate gate;
  FusedDropout dropout;
};

struct FusedMlpLayer {
  FusedLinear linear;
  int64_t norm_weight = -1, norm_bias = -1;  // LayerNorm's
  FusedActivation activation;
  FusedDropout dropout;
};

struct FusedTower {
  std::vector<FusedMlpLayer> mlp;
  FusedLinear linear;
};

struct FusedLayers {
  std::optional<FusedGate> epnet;
  std::vector<std::vector<FusedPpnetLayer>> ppnet;  // [task][layer]; empty without a uia group
  std::vector<FusedTower> towers;                   // task * domain_count + domain
  int64_t widest = 0;                               // of all layers' outputs
};

FusedLayers PlaceLayers(const JobConfig& config, const DenseParameters& parameters);

}  // namespace pepnet
