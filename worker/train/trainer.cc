#include "worker/train/trainer.h"

#include <span>
#include <utility>

#include "common/base/log_functions.h"
#include "worker/checkpoint/best_checkpoint.h"
#include "worker/checkpoint/checkpointing.h"
#include "worker/eval/evaluator.h"

namespace pepnet {

Trainer::Trainer(const WorkerContext& context)
    : context_(context),
      config_(*context.config),
      session_(&context_),
      report_(&context_),
      step_(&context_, &session_, report_.times()) {}

Status Trainer::Run() {
  PEPNET_RETURN_IF_ERROR(Start());
  for (;;) {
    PEPNET_ASSIGN_OR_RETURN(const bool more, Step());
    if (!more) break;
  }
  // A job that had already finished evaluates once more; so does one that found nothing left to
  // train on.
  if (!stopped_ &&
      (saved_step_ != session_.counters().finished_steps || evaluation_.values.empty())) {
    PEPNET_RETURN_IF_ERROR(SaveAndEvaluate());
  }
  // The last checkpoint may still be written; the job has not ended well before it is complete.
  PEPNET_RETURN_IF_ERROR(FinishSave());
  return report_.Close(session_, saver(), last_checkpoint_, best_.has_value() ? &*best_ : nullptr);
}

Status Trainer::Start() {
  const RankStatus::Phase phase(context_.status(), "start");
  PEPNET_RETURN_IF_ERROR(session_.Restore());
  if (!session_.resumed_from().empty()) {
    last_checkpoint_ = session_.resumed_from();
    saved_step_ = session_.start_step();
  }
  // The log comes first: it cuts its files, evaluations among them, back to the restored step. The
  // evaluations that are left then decide about the best checkpoint and about patience, as in the
  // run that was never killed (law L4).
  PEPNET_RETURN_IF_ERROR(report_.Open(session_));
  if (context_.first()) {
    saver_.emplace(context_.client, config_.model_dir, config_.train.keep_checkpoint_max);
    if (config_.train.best.enabled()) best_.emplace(&config_.train.best, config_.model_dir);
    PEPNET_RETURN_IF_ERROR(best_.has_value() ? best_->Open()
                                             : ForgetBestCheckpoint(config_.model_dir));
  }
  // The verdict is a collective operation, so every worker comes here, with a best keeper or
  // without.
  PEPNET_RETURN_IF_ERROR(ScoreEvaluations());
  if (out_of_patience_) {
    if (best_.has_value()) {
      LogWarning(absl::StrCat("nothing is left to train: patience had run out, as ",
                              best_->PatienceText(), "; raise train_config.patience, ",
                              config_.train.best.patience, ", or set it to 0, to train on"));
    }
    return absl::OkStatus();
  }
  // The data come last: a training that is over opens no file.
  PEPNET_RETURN_IF_ERROR(session_.OpenData());
  return EvaluateRestored();
}

// ---- the step -----------------------------------------------------------------------------------

StatusOr<bool> Trainer::Step() {
  if (session_.finished_before() || out_of_patience_) return false;
  TrainReport::StepTimer timer(&report_, saver());
  // The save under way may have failed.
  if (saver_.has_value()) PEPNET_RETURN_IF_ERROR(saver_->Check());
  // A checkpoint that was written meanwhile may be the best one; best_checkpoint.json names only
  // complete ones, so it could not be published by the step that evaluated it.
  PEPNET_RETURN_IF_ERROR(PublishBest());

  // The batch was read, agreed on and asked for during the step before; this hands it out and
  // prepares the next one (Prefetcher).
  PEPNET_ASSIGN_OR_RETURN(std::optional<PreparedBatch> prepared, NextBatch());
  if (!prepared.has_value()) return false;
  const Batch& batch = prepared->batch;

  // From here to FinishStep() the state is that of no step: nothing in between may save, and no
  // worker may leave without an error.
  const LearningRates lr = step_.Begin();
  PEPNET_RETURN_IF_ERROR(step_.Pull(*prepared));
  PEPNET_RETURN_IF_ERROR(step_.ForwardBackward(*prepared));
  // First, so that the servers apply it during the rest.
  PEPNET_RETURN_IF_ERROR(step_.Push(*prepared, lr.sparse));
  PEPNET_RETURN_IF_ERROR(step_.SumGradients());
  step_.UpdateDense(lr);
  PEPNET_RETURN_IF_ERROR(session_.metrics().Add(batch, step_.losses().scores));
  PEPNET_RETURN_IF_ERROR(session_.metrics().EndStep(context_.collective));
  session_.FinishStep(batch);
  last_ids_ = std::move(prepared->ids);

  report_.Observe(batch, session_);
  PEPNET_RETURN_IF_ERROR(report_.LogStep(batch, lr, session_, step_));
  // The save comes after FinishStep(), so the checkpoint holds this step, and before the next push,
  // so the servers hold this step too (design section 7).
  if (SaveIsDue(batch)) PEPNET_RETURN_IF_ERROR(SaveAndEvaluate());
  timer.Done();
  return out_of_patience_ && !session_.IsLast(batch) ? StopEarly() : StopIfAsked();
}

StatusOr<std::optional<PreparedBatch>> Trainer::NextBatch() {
  StageTimes::Scope scope(report_.times(), Stage::kRead);
  PEPNET_ASSIGN_OR_RETURN(std::optional<PreparedBatch> prepared, session_.prefetcher()->Next());
  // A pass over files may have no batch at all: drop_remainder drops it, or the files have gone.
  while (!prepared.has_value() && session_.has_next_files()) {
    PEPNET_RETURN_IF_ERROR(session_.OpenNextFiles());
    PEPNET_ASSIGN_OR_RETURN(prepared, session_.prefetcher()->Next());
  }
  return prepared;
}

// False, with the state saved, if the workers have agreed to stop behind this step; else true.
StatusOr<bool> Trainer::StopIfAsked() {
  if (!session_.prefetcher()->stop_agreed()) return true;
  stopped_ = true;
  // The pull ahead has been sent. Its answer must be taken, or it would meet whoever receives next.
  PEPNET_RETURN_IF_ERROR(session_.prefetcher()->DropAhead());
  PEPNET_RETURN_IF_ERROR(Save());
  return false;
}

// False, with the state saved: the evaluation of this step was the last one to wait for.
StatusOr<bool> Trainer::StopEarly() {
  if (best_.has_value()) {
    LogInfo(absl::StrCat("stopped early after step ", session_.counters().finished_steps, ": ",
                         best_->PatienceText()));
  }
  // The state was saved before the evaluation that ended the patience.
  PEPNET_RETURN_IF_ERROR(session_.prefetcher()->DropAhead());
  return false;
}

// ---- checkpoints and evaluations ----------------------------------------------------------------

// The answer is the same on all workers: it depends on counters that they share, never on a clock.
bool Trainer::SaveIsDue(const Batch& batch) const {
  const TrainConfig& train = config_.train;
  if (train.save_checkpoints_epochs > 0) {
    return batch.last_in_epoch && batch.position_after.epoch % train.save_checkpoints_epochs == 0;
  }
  return train.save_checkpoints_steps > 0 &&
         session_.counters().finished_steps % train.save_checkpoints_steps == 0;
}

Status Trainer::Save() {
  const int64_t step = session_.counters().finished_steps;
  // The step may have been saved already, or restored: the end of a training is often a step that
  // saves.
  if (saved_step_ == step) return absl::OkStatus();
  const RankStatus::Phase phase(context_.status(), "checkpoint");
  StageTimes::Scope scope(report_.times(), Stage::kCheckpoint);
  // The counts of the train metrics are sums over the workers, so gathering is a collective
  // operation, before the part that worker 0 does alone.
  PEPNET_RETURN_IF_ERROR(session_.metrics().Gather(context_.collective));
  session_.state().train_metrics = session_.metrics().State();
  // Whether the checkpoint of the best step stays is asked while no save is running: an evaluation
  // may have made another one the best since the last save.
  PEPNET_RETURN_IF_ERROR(
      BeginCheckpoint(context_, session_.state(), saver(), [&]() -> StatusOr<int64_t> {
        if (!best_.has_value()) return -1;
        PEPNET_RETURN_IF_ERROR(best_->Publish());
        return best_->StepToKeep();
      }));
  saved_step_ = step;
  return absl::OkStatus();
}

Status Trainer::FinishSave() {
  const RankStatus::Phase phase(context_.status(), "checkpoint");
  StageTimes::Scope scope(report_.times(), Stage::kCheckpoint);
  PEPNET_ASSIGN_OR_RETURN(const std::string path, FinishCheckpoint(context_, saver()));
  if (!path.empty()) last_checkpoint_ = path;
  return PublishBest();
}

Status Trainer::SaveAndEvaluate() {
  // The save comes first: a job that dies in the evaluation has lost nothing but that, and
  // EvaluateRestored() makes up for it.
  PEPNET_RETURN_IF_ERROR(Save());
  if (config_.eval_input_path.empty()) return absl::OkStatus();
  StageTimes::Scope scope(report_.times(), Stage::kEval);
  const int64_t step = session_.counters().finished_steps;
  // The averages take the place of the weights until the end of this function.
  std::optional<AveragesInPlace> averaged;
  if (config_.eval.uses_averages) {
    averaged.emplace(&session_.state().averages, &session_.state().parameters);
  }
  const EvaluationExtras extras{0, report_.RowsToFind(), evaluation_.rows};
  PEPNET_ASSIGN_OR_RETURN(
      evaluation_, Evaluate(context_, session_.model(), config_.eval_input_path, step, extras));
  PEPNET_RETURN_IF_ERROR(report_.Evaluated(evaluation_));
  if (best_.has_value()) best_->Evaluated(evaluation_);
  return ScoreEvaluations();
}

// Makes worker 0's verdict on the evaluations known to all: it alone has their slices and those of
// earlier runs.
Status Trainer::ScoreEvaluations() {
  if (config_.train.best.patience == 0) return absl::OkStatus();
  int64_t stop = best_.has_value() && best_->standing().out_of_patience ? 1 : 0;
  PEPNET_RETURN_IF_ERROR(context_.collective->AllreduceSum(std::span<int64_t>(&stop, 1),
                                                           "verdict on the evaluations"));
  out_of_patience_ = stop > 0;
  return absl::OkStatus();
}

// Worker 0: best_checkpoint.json names an evaluated checkpoint once that is complete.
Status Trainer::PublishBest() {
  if (!best_.has_value() || !best_->has_news() || saver_->running()) return absl::OkStatus();
  return best_->Publish();
}

// A job that died between a checkpoint and its evaluation left a gap in the results, which the
// undisturbed run does not have.
Status Trainer::EvaluateRestored() {
  const int64_t step = session_.start_step();
  if (step == 0 || session_.finished_before() || config_.eval_input_path.empty()) {
    return absl::OkStatus();
  }
  const TrainConfig& train = config_.train;
  const DataPosition& position = session_.counters().position;
  const bool due =
      train.save_checkpoints_epochs > 0
          ? position.rows_in_epoch == 0 && position.epoch % train.save_checkpoints_epochs == 0
          : train.save_checkpoints_steps > 0 && step % train.save_checkpoints_steps == 0;
  // Worker 0 alone has the files of results, and all must take the same way from here.
  PEPNET_ASSIGN_OR_RETURN(
      const std::string known, OnFirstWorker(context_, "last evaluation", [&] {
        return StatusOr<std::string>(absl::StrCat(report_.last_evaluated_step()));
      }));
  if (!due || known == absl::StrCat(step)) return absl::OkStatus();
  return SaveAndEvaluate();
}

}  // namespace pepnet
