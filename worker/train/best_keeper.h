// BestKeeper: which evaluation of the running training is the best, which checkpoint stays for it,
// and whether the training is out of patience. Worker 0 has one, in a job with
// train_config.keep_best (or exporter_type "best").
//
// Use:     Open() behind RunLog::Open(), which cuts the evaluations back to the restored step;
//          Evaluated() behind each evaluation; StepToKeep() when a checkpoint is begun; Publish()
//          while no checkpoint is being written.
// Threads: one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/job_config/best_rule.h"
#include "worker/checkpoint/best_checkpoint.h"
#include "worker/checkpoint/best_evaluation.h"
#include "worker/report/run_log.h"

namespace pepnet {

class BestKeeper {
 public:
  // Borrows the rule, which is enabled.
  BestKeeper(const BestRule* rule, std::string model_dir);

  // Takes up the evaluations that are in model_dir.
  Status Open();
  // A result of the same step as the last one takes its place.
  void Evaluated(const EvaluationResult& result);
  const Standing& standing() const { return standing_; }

  // The step of the best of those evaluations whose checkpoint is there, -1 if there is none: that
  // checkpoint is not removed.
  StatusOr<int64_t> StepToKeep() const;
  // Brings best_checkpoint.json up to date with the evaluations and the checkpoints that are there.
  // Precondition: no checkpoint is being written.
  Status Publish();
  // True if an evaluation has come since the last Publish().
  bool has_news() const { return has_news_; }

  // "auc_like has not improved by more than 0 in 3 evaluations; the best is 0.7028 at step 785".
  std::string PatienceText() const;
  // "best auc_like 0.7028 at step 785 (kept); last 0.6705": the last line of a run. Behind
  // Publish().
  std::string BestText() const;

 private:
  const BestRule& rule_;
  const std::string model_dir_;
  std::vector<ValuedStep> steps_;
  Standing standing_;
  std::optional<BestCheckpoint> published_;
  bool has_news_ = true;
};

}  // namespace pepnet
