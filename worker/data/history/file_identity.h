// FileIdentity tells an input file from another by its size and a digest of its content, without
// reading all of it.
//
// Digest:  128-bit XXH3 of the size (8 bytes, little-endian) and then of
//            the whole file                           if it has at most 256 KiB;
//            its first and last 64 KiB, 8 blocks of 16 KiB at equal distances between them, and the
//            Parquet footer where
//            that is longer than the last block       else.
//          It sees every change of the size, of a small file, and of a Parquet file's schema, row
//          groups and statistics. It does not see a change of a large file that keeps the size and
//          lies between the blocks.
// Threads: no state.
// Failure: the message names the path.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/job_config/data_config.h"
#include "worker/data/history/data_history.h"

namespace pepnet {

// Reads at most 256 KiB and a footer of each file. Rows are not filled in.
StatusOr<FileIdentity> IdentifyFile(const std::string& path);
StatusOr<std::vector<FileIdentity>> IdentifyFiles(const std::vector<std::string>& paths);

// Rows of a file, by reading what the format needs for that.
StatusOr<int64_t> CountRowsOf(const std::string& path, const DataConfig& data, DatasetType type);

}  // namespace pepnet
