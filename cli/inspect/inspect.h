// Summaries that `pepnet inspect` shows of a checkpoint or an exported file. inspect_diff.h: of two
// checkpoints.
//
// Threads: no state. Every row is read once; memory is that of one record batch.
// Failure: as ReadManifest and TablePartReader. Nothing here verifies checksums: VerifyCheckpoint
// does.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/inspect/table_statistics.h"
#include "cli/inspect/words.h"
#include "common/base/status.h"
#include "common/checkpoint/checkpoint.h"

namespace pepnet {

// The beginning of every report of SummaryToHtml().
inline constexpr char kHtmlBeginning[] =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>";

struct TableSummary {
  std::string table;
  int dim = 0, state_dim = 0;
  ValueKind value_kind = ValueKind::kFp32;  // how the servers kept the values
  ValueKind state_kind = ValueKind::kFp32;  // and the optimizer state
  int64_t row_bytes = 0;                    // of both on a server
  int64_t rows = 0, bytes = 0;
  int64_t candidates = 0;    // ids that are counted and have no row yet
  int64_t filter_bytes = 0;  // of the counters of its admission filter; 0: it has none
  TableStatistics statistics;
  RowDigest digest;  // sum over all buckets: equal for equal rows, however many parts
};

struct CheckpointSummary {
  std::string directory;
  Manifest manifest;
  std::vector<TableSummary> tables;  // by name
  int64_t bytes = 0;                 // of all files the manifest names
};

// `directory` is a resolved checkpoint directory. With `table` not empty only that table; NotFound
// if there is none.
StatusOr<CheckpointSummary> SummarizeCheckpoint(const std::string& directory,
                                                const std::string& table = "");
std::string SummaryToText(const CheckpointSummary& summary);
std::string SummaryToJson(const CheckpointSummary& summary);  // one object, one line
std::string SummaryToHtml(const CheckpointSummary& summary);  // a page of its own, without scripts

// One row: value, optimizer state, frequency, last step, the id's word; as text or as JSON.
// NotFound if the table has no such row.
StatusOr<std::string> DescribeRow(const std::string& directory, const std::string& table,
                                  int64_t id, bool json, const TableWords& words = {});

// One line per tensor of a safetensors file: dtype, shape, bytes, smallest and largest value,
// Euclidean norm.
StatusOr<std::string> SummarizeSafetensors(const std::string& path, bool json = false);

}  // namespace pepnet
