// Workload: what one training step of a config moves and keeps, whatever machines it runs on.
// Measured on the first batches of the training data, because the number of distinct ids in a batch
// cannot be known from a config.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/job_config/job_config.h"

namespace pepnet {

struct TableLoad {
  std::string name;
  double rows = 0;             // num_buckets and the like: what the table can grow to
  int64_t row_bytes = 0;       // values and optimizer state, as the servers keep them
  double unique_per_step = 0;  // distinct rows that one worker's batch asks for
  double filter_bytes = 0;     // of its admission filter, on all servers
};

struct Workload {
  int64_t batch_size = 0;  // rows a worker trains on in a step
  std::vector<TableLoad> tables;
  double unique_rows = 0;   // sum over the tables
  double row_bytes = 0;     // of their values in float32: what a pull answers and a push carries
  double id_bytes = 0;      // of their ids: what a pull asks with
  double dense_bytes = 0;   // parameters, 4 bytes each: what the workers sum
  bool row_by_row = false;  // as ReadShape::row_by_row
  bool shuffle = false;
  double row_group_rows = 0;    // Parquet: rows that are decoded together
  int64_t sampled_batches = 0;  // 0: no data; every lookup is then taken for a distinct row
};

// Reads up to `batches` batches of the training data (none with 0). Data that cannot be opened are
// an error.
StatusOr<Workload> MeasureWorkload(const JobConfig& config, int64_t batches);

// Bytes a server needs for one row: values, state, counters, its share of the index.
double BytesPerRow(int64_t row_bytes);

}  // namespace pepnet
