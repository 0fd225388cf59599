// ReadCounts: what reading the input files has cost this process so far.
#pragma once

#include <cstdint>

namespace pepnet {

struct ReadCounts {
  int64_t decoded_rows = 0;  // turned into Arrow columns
  // Not decoded: CSV rows whose end was looked for, Parquet row groups that were left out.
  int64_t passed_rows = 0;
  // Of the files: CSV what was read, Parquet the compressed columns that were decoded.
  int64_t bytes = 0;
};

}  // namespace pepnet
