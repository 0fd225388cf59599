// TrainStep: the computing of one training step, stage by stage, on one worker. The trainer calls
// the stages in the order in which they stand here; each adds its wall time to its stage.
//
//   Pull             rows of the batch's ids, pooled to what the model reads
//   ForwardBackward  losses; dense gradients into the state, row gradients beside it
//   Push             row gradients to the servers
//   SumGradients     dense gradients, summed over the workers
//   UpdateDense      one step of the dense optimizers and of the averages, where an accumulation
//                    window ends
//
// Memory:  the buffers are kept from step to step.
// Threads: one. Pull to Push wait for servers, SumGradients for the other workers.
// Failure: a loss that is not finite ends the training; the error says where it began
//          (divergence.h).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "worker/context/worker_context.h"
#include "worker/optim/learning_rate.h"
#include "worker/report/stage_times.h"
#include "worker/sparse/forward_inputs.h"
#include "worker/train/train_session.h"

namespace pepnet {

class TrainStep {
 public:
  // Borrows all of it.
  TrainStep(const WorkerContext* context, TrainSession* session, StageTimes* times);

  // The rates of the step that is about to begin; an accumulation window keeps the epoch that it
  // began in.
  LearningRates Begin();
  Status Pull(const PreparedBatch& prepared);
  Status ForwardBackward(const PreparedBatch& prepared);
  Status Push(const PreparedBatch& prepared, double lr);
  Status SumGradients();
  void UpdateDense(const LearningRates& lr);

  // Of the last step, this worker's part: row gradients by table, which are kept if that was asked
  // for before, and losses.
  void KeepRowGradients() { keeps_row_gradients_ = true; }
  const FloatBuffers& row_gradients() const { return kept_row_gradients_; }
  const LossReport& losses() const { return losses_; }
  // Worker 0: what TensorBoard was asked to show of the last dense step's gradients, before
  // clipping.
  const std::vector<std::pair<std::string, double>>& gradient_norms() const {
    return gradient_norms_;
  }

 private:
  Status CheckFinite(const PreparedBatch& prepared) const;
  void NoteGradientNorms();

  const WorkerContext& context_;
  const JobConfig& config_;
  TrainSession& session_;
  StageTimes* const times_;
  ForwardInputs inputs_;
  const ModelInput* input_ = nullptr;  // of the batch that was pulled last
  FloatBuffers leaf_gradients_, kept_row_gradients_;
  RowGradients row_gradients_;
  bool keeps_row_gradients_ = false;
  LossReport losses_;
  std::vector<std::pair<std::string, double>> gradient_norms_;
};

}  // namespace pepnet
