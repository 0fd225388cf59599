// FeatureImportance: the permutation importance of features (Breiman, "Random forests", 2001), by
// task and by domain. The values of a feature are permuted among the evaluated rows, so that they
// keep their distribution and lose their rows; the importance is the decrease of the AUC and the
// increase of the logloss.
//
// Together: the sequences of one sequence group are permuted as one, since their positions belong
//           to each other.
// Domain:   a value of domain_input_name, else the first id of the first feature of the domain
//           group; that of the row as it is, when the feature itself is permuted, too.
// Read it:  a feature whose information another one carries as well shows little. A drop below zero
//           is chance.
// Order:    the numbers depend on rows, weights and seed alone: any number of workers gives the
//           same bits, for equal threads. Blocks are computed as read, worker w every W-th.
// Cost:     one evaluation of the rows per feature.
// Threads:  one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "worker/context/worker_context.h"
#include "worker/explain/row_blocks.h"
#include "worker/model/pepnet_model.h"

namespace pepnet {

// The quality of a task on the rows of a domain, or on all.
struct TaskQuality {
  std::string task;
  std::optional<std::string> domain;  // nullopt: all rows
  int64_t rows = 0, positives = 0;
  std::optional<double> auc, logloss;  // as Slice has them; nullopt: no value
};

struct FeatureImportance {
  std::string name;                   // of the feature, or of the sequence group
  std::vector<std::string> features;  // that are permuted together
  std::vector<TaskQuality> shuffled;  // as Importance::base, with the feature permuted
};

struct Importance {
  int64_t rows = 0;
  std::string domain_column;  // "" without domains
  // By task: all rows, then the domains, those with most rows first.
  std::vector<TaskQuality> base;
  // Those that cost most AUC first, over the tasks on all rows.
  std::vector<FeatureImportance> features;
};

// On worker 0; empty on the others. A collective operation: the workers hold the blocks of one
// ReadRowBlocks(). The tables are read as of `finished_steps` applied steps.
StatusOr<Importance> ExplainFeatures(const WorkerContext& context, PepnetModel* model,
                                     RowBlocks* rows, int64_t finished_steps, uint64_t seed);

// The domain of each row of a batch (-1: none), the column it stands in ("" and no keys: there are
// no domains), and what a domain is called.
std::string DomainColumn(const JobConfig& config);
std::vector<int64_t> DomainKeys(const JobConfig& config, const Batch& batch);
std::string DomainName(const JobConfig& config, int64_t key);

}  // namespace pepnet
