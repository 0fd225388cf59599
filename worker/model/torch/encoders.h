// Sequence encoders as libtorch expressions over padded tensors: the yardstick of
// worker/model/fused/encoders, written independently of it. Internal to this folder: includes
// torch.
//
// Padded positions are exact zeros and have no influence on any output or gradient. B rows, T
// positions, C channels.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "common/job_config/job_config.h"
#include "worker/data/batch.h"
#include "worker/model/torch/layers.h"

namespace pepnet {

// The places of a sequence group's positions among the elements of its sequence leaves.
struct SequenceIndex {
  // [B] of type int64: elements of the sequence leaf listed first
  at::Tensor lengths;
  // By sequence leaf: [B, T], number of the element, or the leaf's elements if none.
  std::vector<at::Tensor> positions;
};

std::vector<SequenceIndex> IndexSequences(const JobConfig& config, const Batch& batch,
                                          at::Device device);

struct PaddedSequence {
  at::Tensor query;     // [B, Q]; undefined without query
  at::Tensor sequence;  // [B, T, C]
  at::Tensor lengths;   // [B] of type int64
};

PaddedSequence PadSequence(const SequenceGroup& group, const std::vector<at::Tensor>& leaves,
                           const SequenceIndex& index);

// Makes each as long as that of any worker: what the statistics of batch norm over positions depend
// on. A collective operation; `workers` null: does nothing.
void PadToLongest(Collective* workers, std::vector<PaddedSequence>* sequences);

class EncoderLayer {
 public:
  virtual ~EncoderLayer() = default;
  // [B, Encoder::width]
  virtual at::Tensor operator()(const PaddedSequence& input, const ForwardPass& pass) const = 0;
};

// `maker` is used during construction only; `encoder` must outlive the layer.
std::unique_ptr<EncoderLayer> MakeEncoderLayer(const Encoder& encoder, LeafMaker* maker);

}  // namespace pepnet
