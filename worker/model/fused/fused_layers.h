// The layers of a network in the parameter arenas, as the fused engine computes with them.
// Without torch.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "common/job_config/job_config.h"
#include "worker/model/fused/kernels/layer_places.h"
#include "worker/model/parameters.h"

namespace pepnet {

// gamma * sigmoid(second(relu(first(x))))
struct FusedGate {
  FusedLinear first, second;
  float gamma = 1;
};

struct FusedPpnetLayer {
  FusedLinear linear;
  FusedActivation activation;
  FusedGate gate;
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
