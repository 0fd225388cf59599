#include "worker/train/train_step.h"

#include <algorithm>
#include <cmath>

#include "worker/optim/dense_optimizer.h"
#include "worker/train/divergence.h"

namespace pepnet {

TrainStep::TrainStep(const WorkerContext* context, TrainSession* session, StageTimes* times)
    : context_(*context),
      config_(*context->config),
      session_(*session),
      times_(times),
      inputs_(context->config, context->team) {}

LearningRates TrainStep::Begin() {
  const TrainConfig& train = config_.train;
  TrainCounters& counters = session_.state().counters;
  const int64_t step = counters.finished_steps;  // 0-based number of this micro-batch
  const int64_t epochs = counters.position.epoch;
  // Schedules by epoch keep the epoch of the window's first micro-batch, also where a pass ends
  // inside of the window. It is part of the checkpoint.
  if (step % train.gradient_accumulation_steps == 0) counters.window_epochs = epochs;
  return RatesOfStep(train, step, epochs, counters.window_epochs);
}

Status TrainStep::Pull(const PreparedBatch& prepared) {
  {
    StageTimes::Scope scope(times_, Stage::kPull);
    PEPNET_RETURN_IF_ERROR(inputs_.Receive(prepared, context_.client));
  }
  StageTimes::Scope scope(times_, Stage::kPool);
  input_ = &inputs_.Pool(prepared);
  return absl::OkStatus();
}

Status TrainStep::ForwardBackward(const PreparedBatch& prepared) {
  {
    StageTimes::Scope scope(times_, Stage::kCompute);
    // The model adds to the dense gradients, and parameters that this step does not use keep a
    // zero: all workers then sum whole arenas.
    session_.state().parameters.ZeroGradients();
    const double gradient_scale =
        1.0 / static_cast<double>(config_.train.gradient_accumulation_steps);
    PEPNET_ASSIGN_OR_RETURN(losses_,
                            session_.model()->TrainStep(*input_, gradient_scale, &leaf_gradients_));
  }
  // The check comes before the push: a loss that is not finite must not reach the tables.
  PEPNET_RETURN_IF_ERROR(CheckFinite(prepared));
  StageTimes::Scope scope(times_, Stage::kPool);
  // The gradients are formed where they will be sent from (RowGradients).
  row_gradients_ = context_.client->MakeGradients(prepared.ticket);
  ScatterGradients(config_, prepared.batch, prepared.ids, leaf_gradients_, row_gradients_.tables,
                   context_.team);
  return absl::OkStatus();
}

Status TrainStep::Push(const PreparedBatch& prepared, double lr) {
  StageTimes::Scope scope(times_, Stage::kPush);
  if (keeps_row_gradients_) {
    kept_row_gradients_.clear();
    for (const std::span<float> table : row_gradients_.tables) {
      std::copy(table.begin(), table.end(), kept_row_gradients_.emplace_back(table.size()).begin());
    }
  }
  // Updates count from 1 over the whole training: they are Adam's t, also after a resume.
  return context_.client->Push(prepared.ticket, std::move(row_gradients_), lr,
                               /*update=*/session_.counters().finished_steps + 1);
}

// Some models have done it (PepnetModel::sums_gradients).
Status TrainStep::SumGradients() {
  if (session_.model()->sums_gradients()) return absl::OkStatus();
  StageTimes::Scope scope(times_, Stage::kAllreduce);
  return context_.collective->AllreduceSum(session_.state().parameters.gradients(),
                                           "dense gradients");
}

// Under accumulation the sums gather in `accumulated_gradients` (the same on every worker, so that
// a checkpoint inside a window is complete), and the optimizer's step is made at the window's end
// (spec 5.5).
void TrainStep::UpdateDense(const LearningRates& lr) {
  StageTimes::Scope scope(times_, Stage::kUpdate);
  TrainState& state = session_.state();
  const std::span<float> gradients = state.parameters.gradients();
  const int64_t window = config_.train.gradient_accumulation_steps;
  if (window > 1) {
    const std::span<float> sums = state.accumulated_gradients.span();
    for (size_t i = 0; i < sums.size(); ++i) sums[i] += gradients[i];
    if ((state.counters.finished_steps + 1) % window != 0) return;
    // The same buffer then serves clipping and the optimizers, with accumulation and without.
    std::copy(sums.begin(), sums.end(), gradients.begin());
    std::fill(sums.begin(), sums.end(), 0.0f);
  }
  NoteGradientNorms();
  ClipGradients(config_.train, gradients);
  // Every worker has the same sums and makes the same step, so that dense weights never travel.
  state.optimizers.Step(state.parameters.values(), gradients, lr.dense, lr.parts);
  state.averages.Update(state.parameters.values(), /*first=*/state.optimizers.steps() == 1);
}

void TrainStep::NoteGradientNorms() {
  const TrainConfig& train = config_.train;
  // Only worker 0 shows them; the sums are the same on all.
  if (!context_.first() ||
      !(train.summarize_global_gradient_norm || train.summarize_gradient_norm)) {
    return;
  }
  gradient_norms_.clear();
  double total = 0;
  DenseParameters& parameters = session_.state().parameters;
  for (size_t i = 0; i < parameters.specs().size(); ++i) {
    double sum = 0;
    for (const float g : parameters.gradient(static_cast<int>(i))) {
      sum += static_cast<double>(g) * static_cast<double>(g);
    }
    total += sum;
    if (train.summarize_gradient_norm) {
      gradient_norms_.push_back({parameters.specs()[i].name + "/gradient_norm", std::sqrt(sum)});
    }
  }
  if (train.summarize_global_gradient_norm) {
    gradient_norms_.push_back({"global_gradient_norm", std::sqrt(total)});
  }
}

Status TrainStep::CheckFinite(const PreparedBatch& prepared) const {
  for (size_t i = 0; i < losses_.values.size(); ++i) {
    if (std::isfinite(losses_.values[i])) continue;
    const FailedStep failed = {config_,        session_.state().parameters,
                               *input_,        prepared.ids,
                               inputs_.rows(), leaf_gradients_};
    return absl::OutOfRangeError(absl::StrCat(
        losses_.names[i], " became ", losses_.values[i], " at step ",
        session_.counters().finished_steps + 1, " on worker ", context_.collective->index(), " (",
        prepared.batch.origin, "): ", DescribeDivergence(failed, session_.model()),
        "; lower the learning rates or set grad_clipping, then go on from the last "
        "checkpoint with --continue_train"));
  }
  return absl::OkStatus();
}

}  // namespace pepnet
