// Unreduced losses per row (spec 2) as libtorch expressions. Internal to this folder: includes
// torch.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "common/job_config/job_config.h"
#include "worker/data/batch.h"

namespace pepnet {

struct RowLoss {
  std::string name;
  int task = 0;
  at::Tensor
      // [rows], differentiable; of a loss with sessions the row's own part
      // (worker/model/session_loss.h)
      values;
};

// The label columns of a batch as aligned tensors of their own; a column that the batch lacks is
// empty.
struct LabelTensors {
  std::vector<at::Tensor> values;    // by label column: float [rows]
  std::vector<at::Tensor> integers;  // by label column: int64 [rows]
};

// On the host.
LabelTensors MakeLabels(const Batch& batch);

// The loss by the fused engine's formula of a row (worker/model/fused/row_loss.h), with its
// gradient: of losses that have no libtorch expression here. Computed on the host in float32.
// `output`: [rows, classes]; the label as in LabelTensors.
at::Tensor RowFormulaLoss(const Loss& loss, const at::Tensor& output, const at::Tensor& values,
                          const at::Tensor& integers);

// All losses, by LossSlots(). `towers` as in NetworkResult; with domain towers a row's loss is that
// of its own domain.
// Precondition: CheckLabels(config, batch) is OK, and the labels are on the towers' device.
std::vector<RowLoss> RowLosses(const JobConfig& config, const LabelTensors& labels,
                               const std::vector<at::Tensor>& towers);

}  // namespace pepnet
