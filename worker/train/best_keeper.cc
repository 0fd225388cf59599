#include "worker/train/best_keeper.h"

#include <utility>

#include "common/base/log_functions.h"
#include "common/base/mutant.h"
#include "common/checkpoint/checkpoint.h"

namespace pepnet {
namespace {

bool Same(const BestCheckpoint& a, const BestCheckpoint& b) {
  return a.step == b.step && a.metric == b.metric && a.larger_is_better == b.larger_is_better &&
         a.value == b.value && a.path == b.path;
}

}  // namespace

BestKeeper::BestKeeper(const BestRule* rule, std::string model_dir)
    : rule_(*rule), model_dir_(std::move(model_dir)) {}

Status BestKeeper::Open() {
  // The evaluations are compared anew from the files, which RunLog has cut back: nothing else has
  // to be saved to go on as the undisturbed run would (law L4).
  if (!MutantActive(Mutant::kResumeForgetsEvaluations)) steps_ = ReadValuedSteps(model_dir_, rule_);
  standing_ = StandingOf(rule_, steps_);
  if (StatusOr<BestCheckpoint> published = ReadBestCheckpoint(model_dir_); published.ok()) {
    published_ = *std::move(published);
  }
  // An earlier run may have died between an evaluation and this file.
  return Publish();
}

void BestKeeper::Evaluated(const EvaluationResult& result) {
  // Evaluations of this step and of later ones are those of a run that was abandoned.
  while (!steps_.empty() && steps_.back().step >= result.step) steps_.pop_back();
  const std::optional<double> value = ValueOf(rule_, result.values, result.slices);
  if (value.has_value()) {
    steps_.push_back({result.step, *value});
  } else {
    LogWarning(absl::StrCat("keep_best skips the evaluation of step ", result.step, ": ",
                            WhyNoValue(rule_, result.values, result.slices)));
  }
  standing_ = StandingOf(rule_, steps_);
  has_news_ = true;
}

StatusOr<int64_t> BestKeeper::StepToKeep() const {
  // Only evaluations whose checkpoints are still there count: the best of all may have been removed
  // by hand, or by an earlier run with other settings.
  PEPNET_ASSIGN_OR_RETURN(const std::vector<ValuedStep> kept, KeptSteps(model_dir_, steps_));
  const Standing standing = StandingOf(rule_, kept);
  return standing.best.has_value() ? standing.best->step : -1;
}

Status BestKeeper::Publish() {
  has_news_ = false;
  PEPNET_ASSIGN_OR_RETURN(const std::vector<ValuedStep> kept, KeptSteps(model_dir_, steps_));
  const std::optional<ValuedStep> best = StandingOf(rule_, kept).best;
  // A file that names nothing would be worse than none.
  if (!best.has_value()) {
    published_.reset();
    return ForgetBestCheckpoint(model_dir_);
  }
  const BestCheckpoint now{best->step, NameOf(rule_), rule_.larger_is_better, best->value,
                           CheckpointName(best->step)};
  // The same verdict is not written again: Publish() runs at every save.
  if (published_.has_value() && Same(*published_, now)) return absl::OkStatus();
  PEPNET_RETURN_IF_ERROR(WriteBestCheckpoint(model_dir_, now));
  published_ = now;
  return absl::OkStatus();
}

std::string BestKeeper::PatienceText() const {
  return absl::StrCat(NameOf(rule_), " has not improved by more than ", rule_.min_delta, " in ",
                      standing_.waited, standing_.waited == 1 ? " evaluation" : " evaluations",
                      "; the best is ", MetricText(standing_.best->value), " at step ",
                      standing_.best->step);
}

std::string BestKeeper::BestText() const {
  if (!standing_.best.has_value()) {
    return absl::StrCat("no evaluation has ", NameOf(rule_), ", so none is the best");
  }
  const ValuedStep& best = *standing_.best;
  std::string text =
      absl::StrCat("best ", NameOf(rule_), " ", MetricText(best.value), " at step ", best.step);
  if (published_.has_value() && published_->step == best.step) {
    absl::StrAppend(&text, " (kept)");
  } else {
    absl::StrAppend(&text, " (its checkpoint is gone",
                    published_.has_value()
                        ? absl::StrCat("; of those that are there ", published_->path,
                                       " is the best, ", MetricText(published_->value))
                        : "",
                    ")");
  }
  return absl::StrCat(text, "; last ", MetricText(steps_.back().value));
}

}  // namespace pepnet
