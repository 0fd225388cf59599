// DataConfig: the input files and how they are cut into batches.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pepnet {

enum class FgMode { kNone, kNormal };  // FG_DAG reads as kNormal (spec 3.1)

enum class DatasetType { kCsv, kParquet, kOther };  // kOther: the input paths decide (spec 4)
enum class ColumnType { kUnspecified, kInteger, kFloating, kString };
struct InputField {
  std::string name;
  ColumnType type = ColumnType::kUnspecified;
};

struct DataConfig {
  DatasetType dataset_type = DatasetType::kCsv;
  std::string dataset_type_name;
  FgMode fg_mode = FgMode::kNone;
  std::string fg_encoded_multival_sep = "\x03";
  int64_t batch_size = 1024;                // per worker
  int64_t eval_batch_size = 0;              // rows of a global evaluation batch; 0: batch_size per worker
  std::vector<std::string> labels;          // label_fields
  std::vector<std::string> sample_weights;  // sample_weight_fields
  std::vector<InputField> input_fields;     // column names of a CSV without header, in file order
  char delimiter = ',';
  bool with_header = false;
  int num_workers = 8;
  bool drop_remainder = false;
  bool shuffle = false;
  int64_t shuffle_buffer_size = 32;  // in global batches
};

}  // namespace pepnet
