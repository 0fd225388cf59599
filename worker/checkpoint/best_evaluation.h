// The best evaluation of a training (train_config.keep_best), and whether the training has
// run out of patience.
//
// All of it is a function of the evaluations in model_dir: train_eval_result.txt and
// train_eval_slices.jsonl, whose numbers are read back to the same bits. A run that goes on from a
// checkpoint cuts them back to its step, so that it decides as the undisturbed run does (law L4),
// and there is nothing else to save.
//
// Threads: no state. A line that is being written while it reads is skipped.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/job_config/best_rule.h"
#include "common/job_config/model.h"
#include "worker/metrics/slices.h"

namespace pepnet {

// A line of train_eval_result.txt: a JSON object.
struct EvaluationLine {
  int64_t step = 0;
  std::string json;
};
// The evaluations of model_dir in file order; a step that was evaluated twice counts by its first
// result. Empty without a file.
std::vector<EvaluationLine> ReadEvaluations(const std::string& model_dir);

// An evaluation by the value that a rule gives it.
struct ValuedStep {
  int64_t step = 0;
  double value = 0;  // finite
};

// The value of the rule for one evaluation; nullopt if a number of it is missing (a slice without
// rows, say) or not finite.
std::optional<double> ValueOf(const BestRule& rule, const std::map<std::string, double>& values,
                              const std::vector<Slice>& slices);
// Why it says nothing: "auc_like has no value where tab is 4: every label is 0", "there is no
// slice 'home' of tab, but 1, 2, (all)". "" if it does say something.
std::string WhyNoValue(const BestRule& rule, const std::map<std::string, double>& values,
                       const std::vector<Slice>& slices);

// The evaluations of model_dir that have a value, in file order.
std::vector<ValuedStep> ReadValuedSteps(const std::string& model_dir, const BestRule& rule);

// The state of the evaluations, v_1 ... v_n in order (for smaller values the signs turn):
//   best       the first i with v_i >= v_j for all j
//   last_gain  g starts as 1 and becomes i where v_i > v_g + min_delta: small gains add up
//   waited     n - g
struct Standing {
  std::optional<ValuedStep> best;
  int64_t waited = 0;            // evaluations since one improved the value by more than min_delta
  bool out_of_patience = false;  // patience > 0, and waited >= patience
};
Standing StandingOf(const BestRule& rule, std::span<const ValuedStep> steps);

// "auc_ctr 0.7028 at step 785, auc_cvr 0.6512 at step 1256" if the first metrics of the towers (of
// a tower without metrics, its first loss) were best at different steps; else "".
std::string DescribePeaks(const Model& model, const std::vector<EvaluationLine>& evaluations);

// A metric as people read it: four digits behind the point; of large and of very small numbers, six
// digits.
std::string MetricText(double value);

}  // namespace pepnet
