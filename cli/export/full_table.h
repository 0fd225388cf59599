// A table of a checkpoint as one dense tensor.
#pragma once

#include <string>

#include "common/base/aligned_buffer.h"
#include "common/base/status.h"
#include "common/checkpoint/checkpoint.h"
#include "common/job_config/table.h"

namespace pepnet {

// [rows, dim]: the checkpointed rows, and the initial value of every row that was never created. DataLoss for an id beyond
// the table; InvalidArgument for a value that is not finite: nobody wants to serve it.
StatusOr<AlignedBuffer<float>> ReadFullTable(const std::string& checkpoint, const Manifest& manifest,
                                             const Table& table);

}  // namespace pepnet
