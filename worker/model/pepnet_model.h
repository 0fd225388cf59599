// PepnetModel: EPNet, PPNet, task towers and losses (spec 1 and 2), behind a header without torch.
//
// Input:     the vectors of every leaf (common/job_config/leaf.h), row-major, 64-byte aligned:
//            [rows, dim], or [elements, dim] of a sequence. A leaf that several groups or encoders
//            read gets the sum of its gradients (spec 9).
// Gradients: dense gradients are *added* into DenseParameters::gradient() (a parameter that a step
//            does not use adds zero); leaf gradients are overwritten.
// Devices:   inputs, outputs and DenseParameters are the host's on every device; on a GPU the model
//            copies them there and back, and every call ends when the device is done with it.
// Threads:   one thread at a time; libtorch uses its own intra-op threads.
// Failure:   c10 exceptions become Internal; labels that do not fit the loss are InvalidArgument.
// Randomness: dropout of element e of row r is a function of (seed, step, layer, global row, e)
//            (worker/model/dropout_mask.h).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/base/aligned_buffer.h"
#include "common/base/status.h"
#include "common/job_config/job_config.h"
#include "worker/data/batch.h"
#include "worker/model/compute_device.h"
#include "worker/model/parameters.h"

namespace pepnet {

class Collective;
class DeviceCollective;
class RankStatus;

// One output of the network: probs_ctr, logits_ctr_0, y_val, ...
struct ModelOutput {
  std::string name;
  int width = 0;  // 0: [rows]; C: [rows, C]
  std::vector<float> values;
};

// Training outputs of one batch.
struct LossReport {
  std::vector<std::string> names;  // "binary_cross_entropy_ctr", ..., in tower order
  // This worker's part: sum over workers is the loss of the global batch.
  std::vector<double> values;
  std::vector<double> weights;  // what each counts in the total; empty: 1
  // TrainStep only: by task, what the task's metrics read (SelectMetricInputs), with dropout; empty
  // for a task without train metrics.
  std::vector<std::vector<float>> scores;

  double weight(size_t loss) const { return weights.empty() ? 1 : weights[loss]; }
};

struct ModelInput {
  const Batch* batch = nullptr;      // labels (for losses and domain selection) and row numbers
  std::vector<const float*> leaves;  // by leaf; the elements of sequences stand in batch->elements
  int64_t step = 0;                  // for dropout
  // worker/model/loss_weight.h; null: no losses
  const std::vector<std::vector<float>>* row_scales = nullptr;
};

// The implementations of the model. Apart from rounding they agree.
enum class DenseEngine {
  // hand-written forward and backward that skip what adds nothing
  // (worker/model/fused/fused_model.h)
  kFused,
  // Libtorch with autograd: the yardstick of the fused one; also runs what the fused one does not.
  kReference,
};

struct ModelOptions {
  DenseEngine engine = DenseEngine::kFused;  // gives way to the reference where it does not run
  uint64_t seed = 0;                         // of dropout
  int threads = 0;                           // libtorch's intra-op threads; 0: leave them
  ComputeDevice device = {};
  // Matrix products in bfloat16. The caller knows that it pays (worker/model/mixed_precision.h).
  bool bf16 = false;
  // Not null, on a device that is not the host: TrainStep() leaves dense gradients that are summed
  // over the workers. Borrowed.
  DeviceCollective* gradient_sums = nullptr;
  // Among the workers, for losses that compare the rows of a session (worker/model/session_loss.h):
  // with one of them, TrainStep() and Forward() with losses are collective operations. TrainStep()
  // also is one with batch norm, Dice or Pareto weights, for the statistics and gradients of all
  // rows. Null: this worker has all rows. Borrowed.
  Collective* workers = nullptr;
  size_t bucket_bytes = size_t{4} << 20;  // of gradients, at least, that are summed at once
  // The table in which waits for a GPU are entered; may be null. Borrowed.
  RankStatus* status = nullptr;
  double timeout_s = 300;  // their deadline, which the watchdog keeps
};

class PepnetModel {
 public:
  virtual ~PepnetModel() = default;

  // True if TrainStep() sums the dense gradients over the workers (ModelOptions::gradient_sums):
  // every worker then calls it for every step, also for one without rows, and nobody sums them
  // again.
  virtual bool sums_gradients() const { return false; }

  // Forward with dropout, losses, backward of sum(losses) * gradient_scale (1/N under
  // accumulation). `leaf_gradients[l]` (resized) is filled for every leaf that has a table.
  virtual StatusOr<LossReport> TrainStep(const ModelInput& input, double gradient_scale,
                                         std::vector<AlignedBuffer<float>>* leaf_gradients) = 0;

  // Forward without dropout. Outputs sorted by name: all domains' outputs (predict). With `losses`,
  // also this worker's part of each loss (input.row_scales must be set).
  virtual StatusOr<std::vector<ModelOutput>> Forward(const ModelInput& input,
                                                     LossReport* losses) = 0;

  // For tests: group_all, epnet_output, ppnet_output_<tower>, ... of the last Forward.
  virtual std::vector<ModelOutput> intermediates() const = 0;
};

// Vectors that a leaf has in a batch: one a row, or one an element of a sequence.
inline int64_t VectorsOf(const Leaf& leaf, const Batch& batch) {
  return leaf.sequence ? batch.elements[leaf.feature].back() : batch.rows;
}

// Names of all outputs (probs_ctr, logits_ctr, ...), sorted, with their widths; values empty.
std::vector<ModelOutput> OutputList(const JobConfig& config);

struct OwnDomainOutput;  // worker/model/output_rules.h
// The value of each row's own domain, of `outputs` as Forward() gives them: a copy of the output
// that the domain names.
// Precondition: the model has domain towers, and CheckDomains() accepts the batch.
ModelOutput SelectOwnDomain(const JobConfig& config, const Batch& batch, const OwnDomainOutput& own,
                            const std::vector<ModelOutput>& outputs);

// For every task the scores its metrics read, named without a domain: probs (num_class 1), probs1
// (C = 2), probs [rows, C] (C > 2), y (l2); the task's first loss decides. With domain towers each
// row takes those of its own domain.
// Precondition: the domain labels are in range, as a Forward() with losses has checked.
std::vector<ModelOutput> SelectMetricInputs(const JobConfig& config, const Batch& batch,
                                            const std::vector<ModelOutput>& outputs);

}  // namespace pepnet
