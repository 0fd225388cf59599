// TimedTable: one table and the update of a step, as a server has them, without the server: what
// pulls and pushes of one worker take without messages.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <vector>

#include "common/base/aligned_buffer.h"
#include "common/base/status.h"
#include "common/job_config/job_config.h"
#include "ps/step_update.h"

namespace pepnet {

class TimedTable {
 public:
  // Of the config's first table.
  explicit TimedTable(const JobConfig& config);

  // The next step: pulls these ids and pushes the gradients of FillGradients(). Adds the seconds of
  // each.
  Status Next(const std::vector<int64_t>& ids, double* pull_seconds, double* push_seconds);
  // The number of steps so far.
  int64_t step() const { return step_; }
  // Values of the ids, row after row.
  std::vector<float> Read(const std::vector<int64_t>& ids) const;
  const TableShard& table() const { return tables_[0]; }

 private:
  const JobConfig config_;
  std::vector<TableShard> tables_;
  StepUpdate step_update_;
  int64_t step_ = 0;
  AlignedBuffer<float> values_, gradients_;
};

}  // namespace pepnet
