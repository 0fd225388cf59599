// The dense parameters of a PEPNet by the reference's checkpoint names (spec 7), without torch: one
// flat, aligned arena for the values and one for the gradients, so that allreduce, optimizer and
// checkpoint work on plain arrays.
//
// Order:     as listed by DenseParameterList(): dense embeddings, sequence encoders, variational
//            dropout, epnet, ppnet (task-major, layer by layer), towers. Fixed: it is the order of
//            the allreduce buckets and of the checkpoint.
// Layout:    each parameter starts on a 64-byte boundary of the arena; padding floats are zero and
//            stay zero.
// Threads:   as a plain array.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/base/aligned_buffer.h"
#include "common/base/status.h"
#include "common/job_config/job_config.h"

namespace pepnet {

struct ParameterSpec {
  enum class Init { kFanIn, kOne, kZero, kConstant, kUniform, kNormal };
  std::string name;            // "model.epnet.gate_nu.dense_layers.0.weight"
  std::vector<int64_t> shape;  // Linear weights are [out, in]
  Init init = Init::kFanIn;    // kFanIn: U(-1/sqrt(fan_in), 1/sqrt(fan_in))
  int64_t fan_in = 0;          // a bias has its layer's fan_in
  // kConstant: the value; kUniform: b of U(-b, b); kNormal: standard deviation, mean 0
  double constant = 0;
  // False: statistics that forward passes of training keep (of batch normalisation). Their gradient
  // is zero; optimizers leave them alone and have no state for them.
  bool trained = true;
  int64_t elements() const;
};

std::vector<ParameterSpec> DenseParameterList(const JobConfig& config);

// Appends the parameters of one encoder, named as in spec 7. Reads `module` and `channels`.
void AppendEncoderParameters(const Encoder& encoder, std::vector<ParameterSpec>* specs);

class DenseParameters {
 public:
  explicit DenseParameters(std::vector<ParameterSpec> specs);

  const std::vector<ParameterSpec>& specs() const { return specs_; }
  int Find(const std::string& name) const;  // -1 if absent
  std::span<float> value(int i) {
    return {values_.data() + offsets_[i], static_cast<size_t>(specs_[i].elements())};
  }
  std::span<const float> value(int i) const {
    return {values_.data() + offsets_[i], static_cast<size_t>(specs_[i].elements())};
  }
  std::span<float> gradient(int i) {
    return {gradients_.data() + offsets_[i], static_cast<size_t>(specs_[i].elements())};
  }
  size_t arena_floats() const { return values_.size(); }
  // Offset of parameter i in the arenas, in floats.
  size_t offset(int i) const { return offsets_[i]; }
  std::span<float> values() { return values_.span(); }  // whole arena, padding included
  std::span<float> gradients() { return gradients_.span(); }
  void ZeroGradients();

  // Counter-based initial values: a function of (seed, name, element).
  void Initialize(uint64_t seed);

 private:
  std::vector<ParameterSpec> specs_;
  std::vector<size_t> offsets_;
  AlignedBuffer<float> values_, gradients_;
};

}  // namespace pepnet
