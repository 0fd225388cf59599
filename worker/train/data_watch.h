// DataWatch: looks at the training batches for what is almost always a mistake: a label that is never 1 or always 1, a
// feature that is the same in every row, a table far larger than the ids that were seen.
//
// Cost:    a comparison per row and label; per row and feature only until the feature has changed once.
// Threads: one.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/job_config/job_config.h"
#include "common/net/collective.h"
#include "worker/data/batch.h"

namespace pepnet {

class DataWatch {
 public:
  explicit DataWatch(const JobConfig* config);

  void Observe(const Batch& batch);
  // What all workers saw, as warnings; empty on workers other than 0. A collective operation.
  StatusOr<std::vector<std::string>> Warnings(Collective* collective) const;

 private:
  struct Cell {  // a feature's cell in one row
    std::vector<int64_t> ids;
    std::vector<float> numbers;  // weights or raw values
    bool operator==(const Cell&) const = default;
  };
  Cell CellOf(const Batch& batch, size_t feature, int64_t row) const;

  const JobConfig* config_;
  int64_t rows_ = 0;
  std::vector<bool> is_target_;     // by label: a tower of one or two classes learns it
  std::vector<int64_t> positives_;  // by label
  std::vector<Cell> first_;         // by feature
  std::vector<bool> changed_;       // by feature
};

// Tables of which training met less than a hundredth of at least 100,000 rows. `rows_seen` by table name.
std::vector<std::string> TableWarnings(const JobConfig& config, const std::map<std::string, int64_t>& rows_seen);
// Sums the "rows" of the servers' statistics (JSON objects).
std::map<std::string, int64_t> RowsOfServers(const std::vector<std::string>& stats);
// A line for each table with a policy says what has become of its ids since the servers started; from the same texts.
std::vector<std::string> DynamicTableLines(const std::vector<std::string>& stats);

}  // namespace pepnet
