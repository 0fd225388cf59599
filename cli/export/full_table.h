// A table of a checkpoint as one dense tensor, or some of its rows.
#pragma once

#include <cstdint>
#include <span>
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

// [ids.size(), dim]: the rows of these ids of a table that may have no end, initial values where no row was created.
// Reads every row of the table once. InvalidArgument as above.
StatusOr<AlignedBuffer<float>> ReadRows(const std::string& checkpoint, const Manifest& manifest, const Table& table,
                                        std::span<const int64_t> ids);

}  // namespace pepnet
