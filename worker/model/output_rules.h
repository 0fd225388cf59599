// The outputs of a network, and how each follows from a tower's raw output (spec 1.7), without
// torch.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/job_config/job_config.h"

namespace pepnet {

struct OutputRule {
  enum class Kind { kRaw, kSigmoid, kSoftmax, kSoftmaxColumn1 };
  std::string name;
  int width = 0;  // as ModelOutput::width
  int tower = 0;  // index into the network's towers: task * domain_count + domain
  Kind kind = Kind::kRaw;
};

// Sorted by name, each name once.
std::vector<OutputRule> OutputRules(const JobConfig& config);

// With domain towers, what is chosen of the outputs of all domains by the row's own domain.
struct OwnDomainOutput {
  std::string name;          // without the domain: probs_ctr
  int width = 0;             // as ModelOutput::width
  std::vector<int> outputs;  // by domain: positions in OutputRules()
};
// Sorted by name; empty without domain towers. Error: another tower's output has one of the names.
StatusOr<std::vector<OwnDomainOutput>> OwnDomainOutputs(const JobConfig& config);

// Appends the output of `rows` raw outputs z, [rows, classes].
void AppendOutputs(OutputRule::Kind kind, int64_t rows, int classes, const float* z,
                   std::vector<float>* out);

// The output that the metrics of a task read is of this kind: its first loss decides.
OutputRule::Kind MetricOutputKind(const Tower& tower);
// True if a task wants the scores of the training batches.
bool AnyTrainMetrics(const JobConfig& config);

// The output that the metrics of a task read, without its suffix: "probs", "probs1" or "y".
std::string MetricOutput(const Tower& tower);

}  // namespace pepnet
