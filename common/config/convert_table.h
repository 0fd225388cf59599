// From a feature's message to the table that its rows stand in.
#pragma once

#include <optional>
#include <string>

#include "common/base/status.h"
#include "common/config/parse/config_source.h"
#include "common/job_config/feature.h"
#include "common/job_config/table.h"

namespace pepnet {

inline constexpr uint64_t kMaxRows = kAnyId - 1;  // of a table whose rows are counted

// The fields of which one says how the tokens of a feature become rows.
inline constexpr const char* kIdBucketizers[] = {
    "hash_bucket_size", "num_buckets",   "vocab_list", "vocab_dict",
    "vocab_file",       "dynamic_table", "zch",        "dynamicemb"};

// A table that grows with the ids that occur: dynamic_table, or zch or dynamicemb in its terms.
struct GrowingTable {
  int64_t expected_rows = 0;
  RowPolicy policy;
  Initializer initializer;
};
// nullopt: the feature has none of the three. Notes how the terms of another system are read.
StatusOr<std::optional<GrowingTable>> ReadGrowingTable(const google::protobuf::Message& feature,
                                                       ConfigSource* source);

// The fields that a table is made from, which every kind of feature has. Some initial values depend
// on the shape of the table: the rows and the width of the converted feature, or the expected rows
// of a table that grows.
struct TableFields {
  std::string embedding_name;
  Initializer initializer;
  bool trainable = true;
  int64_t expected_rows = 0;
  RowPolicy policy;
  ValueKind value_kind = ValueKind::kFp32;
};
StatusOr<TableFields> ReadTableFields(const google::protobuf::Message& feature,
                                      const Feature& converted, ConfigSource* source);

}  // namespace pepnet
