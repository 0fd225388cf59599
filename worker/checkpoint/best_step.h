// FindBestStep: the step of a run that was best, by the metric that export_config asks for and the results in
// train_eval_result.txt.
//
// Threads: no state. A line that is being written while it reads is passed over.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/job_config/train_config.h"

namespace pepnet {

// A line of train_eval_result.txt: a JSON object.
struct EvaluationLine {
  int64_t step = 0;
  std::string json;
};
// The evaluations of model_dir in file order; a step that was evaluated twice counts by its first result. Empty without
// a file.
std::vector<EvaluationLine> ReadEvaluations(const std::string& model_dir);

struct BestStep {
  int64_t step = 0;
  double value = 0;  // of config.best_exporter_metric
};

// The best of the evaluated steps of model_dir that `counts` takes; the earliest of equal ones. NotFound if none of
// them was evaluated; InvalidArgument, with the metrics that are there, if the metric is in no evaluation of them.
StatusOr<BestStep> FindBestStep(const std::string& model_dir, const ExportConfig& config,
                                const std::function<bool(int64_t step)>& counts);

}  // namespace pepnet
