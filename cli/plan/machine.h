// Machine: the speeds of one worker and one server, as `pepnet bench --json` measured them.
#pragma once

#include <string>
#include <vector>

#include "common/base/status.h"

namespace pepnet {

struct Machine {
  // One worker: reading, pooling, forward, backward, dense update; nothing waited for.
  double worker_samples_per_second = 0;
  double pull_rows_per_second = 0;  // one server
  double push_rows_per_second = 0;
  double bench_row_floats = 16;       // width of the rows those two were measured with
  double reader_rows_per_second = 0;  // one core, files to batches, as the only worker
  double decode_rows_per_second = 0;  // one core, files to Arrow columns and no further
  double pass_rows_per_second = 0;    // one core, rows of others that need not be decoded
  double sum_bytes_per_second = 0;    // bytes a worker sends for the dense sum, network apart
};

// The figures of `pepnet bench` reports (train, service, reader, allreduce), one file each, in any
// order; of several rows the one nearest to `batch_size`. What no file has is an error that names
// the command to run.
StatusOr<Machine> ReadMachine(const std::vector<std::string>& paths, int64_t batch_size);

}  // namespace pepnet
