// The tensors of one batch: leaves, labels, and what backward starts from. Internal to this folder:
// includes torch.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "common/base/aligned_buffer.h"
#include "common/job_config/job_config.h"
#include "worker/model/pepnet_model.h"
#include "worker/model/torch/device/transfer.h"
#include "worker/model/torch/encoders.h"
#include "worker/model/torch/losses.h"

namespace pepnet {

struct BatchTensors {
  // By leaf: [rows, dim], or [elements, dim] of a sequence. In training, one with a table has a
  // zeroed .grad that backward accumulates into.
  std::vector<at::Tensor> leaves;
  std::vector<SequenceIndex> sequences;  // by sequence group
  LabelTensors labels;                   // training, and evaluation with losses
  std::vector<at::Tensor> seeds;         // training: by task, row_scale * gradient_scale
};

enum class BatchUse { kTraining, kLosses, kOutputs };

// On the host, leaves over the caller's memory. Training: `gradients` as of
// PepnetModel::TrainStep(), and the leaves' .grad is over it; else null.
BatchTensors BatchInPlace(const JobConfig& config, const ModelInput& input, BatchUse use,
                          double gradient_scale, std::vector<AlignedBuffer<float>>* gradients);

// DeviceBatch: the same on a device, where everything goes in one copy. One batch at a time.
class DeviceBatch {
 public:
  DeviceBatch(const JobConfig* config, at::Device device)
      : config_(config), values_(device), gradients_(device) {}

  // Asynchronous. The tensors are valid until the next Upload().
  BatchTensors Upload(const ModelInput& input, BatchUse use, double gradient_scale);
  // Behind backward: begins to copy the leaves' gradients to the host.
  void BeginDownload() { gradients_.Download(); }
  // When the device has done that: `gradients` as of PepnetModel::TrainStep().
  void TakeGradients(std::vector<AlignedBuffer<float>>* gradients);

 private:
  // Floats of a leaf of the batch under way.
  size_t Floats(const Leaf& leaf) const;

  const JobConfig* const config_;
  Transfer values_, gradients_;
  const Batch* batch_ = nullptr;
  std::vector<size_t> gradient_places_;  // by leaf
};

}  // namespace pepnet
