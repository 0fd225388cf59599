// DataConfig: the input files and how they are cut into batches; and the description of each file
// format. How a format is read is in worker/data/files/<format>_reader.cc; docs/extending.md shows
// how one is added.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/job_config/type_table.h"

namespace pepnet {

enum class FgMode { kNone, kNormal };  // FG_DAG reads as kNormal (spec 3.1)

enum class DatasetType { kCsv, kParquet };

struct FileFormatType {
  const char* name;     // in messages
  const char* dataset;  // value of config::DatasetType
  const char* ending;   // of paths
  bool names_columns;   // false: a header line or input_fields name them
  // Every cell is a text, which a label or a weight is read from; else texts are no numbers.
  bool text_only;
  // rows lie in groups that are decoded as a whole; else each row can be decoded alone
  bool decoded_in_groups;
};

namespace file_format_types {

inline constexpr FileFormatType kCsv = {"CSV", "CsvDataset", ".csv", false, true, false};
inline constexpr FileFormatType kParquet = {"Parquet", "ParquetDataset", ".parquet", true, false,
                                            true};

}  // namespace file_format_types

constexpr const FileFormatType* FindType(DatasetType type) {
  switch (type) {
    case DatasetType::kCsv:
      return &file_format_types::kCsv;
    case DatasetType::kParquet:
      return &file_format_types::kParquet;
  }
  return nullptr;
}

enum class ColumnType { kUnspecified, kInteger, kFloating, kString };
struct InputField {
  std::string name;
  ColumnType type = ColumnType::kUnspecified;
};

// The input column that says when the event of a row happened.
struct EventTimeColumn {
  std::string name;
  int64_t units_per_second = 1;  // of whole numbers; Arrow timestamps have their own unit
  int64_t max_jump_seconds = 0;  // by which a step may move the job's event time on
};

struct DataConfig {
  // nullopt: the input paths decide (spec 4)
  std::optional<DatasetType> dataset_type = DatasetType::kCsv;
  std::string dataset_type_name;  // as the config has it
  FgMode fg_mode = FgMode::kNone;
  std::string fg_encoded_multival_sep = "\x03";
  // Between the name of a sequence and those of its features and columns.
  std::string sequence_joint = "__";
  int64_t batch_size = 1024;  // per worker
  // rows of a global evaluation batch; 0: batch_size per worker
  int64_t eval_batch_size = 0;
  std::vector<std::string> labels;          // label_fields
  std::vector<std::string> sample_weights;  // sample_weight_fields
  std::optional<EventTimeColumn> event_time;
  std::vector<InputField> input_fields;  // column names of a CSV without header, in file order
  char delimiter = ',';
  bool with_header = false;
  int num_workers = 8;
  bool drop_remainder = false;
  bool shuffle = false;
  int64_t shuffle_buffer_size = 32;  // in global batches
};

}  // namespace pepnet
