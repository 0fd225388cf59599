// The places of single layers' parameters in the arenas of DenseParameters.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/job_config/mlp.h"
#include "worker/model/parameters.h"

namespace pepnet {

// Places are offsets into the arenas, in floats; -1: the layer has no such parameter.
struct FusedLinear {
  int64_t weight = -1, bias = -1;
  int64_t in = 0, out = 0;
};

struct FusedActivation {
  ActivationKind kind = ActivationKind::kIdentity;
  float parameter = 0, parameter2 = 0;
  int64_t weight = -1;  // PReLU's
};

struct FusedDropout {
  double ratio = 0;
  int64_t number = 0;  // of the layer, as in worker/model/dropout_mask.h
};

struct FusedMlpLayer {
  FusedLinear linear;
  int64_t norm_weight = -1, norm_bias = -1;  // LayerNorm's
  FusedActivation activation;
  FusedDropout dropout;
};

// Finds layers by the reference's names. A name that is required and missing is a bug of the caller
// and ends the process.
class LayerPlacer {
 public:
  // Borrows both. widest: grows to the outputs of the layers found; null: nobody asks.
  explicit LayerPlacer(const DenseParameters* parameters, int64_t* widest = nullptr)
      : parameters_(*parameters), widest_(widest) {}

  int64_t Optional(const std::string& name) const;  // -1: absent
  int64_t Required(const std::string& name) const;
  FusedLinear Linear(const std::string& module) const;
  FusedActivation Function(const std::string& module, const Activation& activation) const;
  // The layers of `module`.mlp; the first one's dropout layer has the number first_number.
  std::vector<FusedMlpLayer> HiddenLayers(const std::string& module, const Mlp& mlp,
                                          int64_t first_number) const;

 private:
  const DenseParameters& parameters_;
  int64_t* const widest_;
};

}  // namespace pepnet
