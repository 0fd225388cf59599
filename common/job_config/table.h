// Table: one embedding table of the job, and how its rows begin.
#pragma once

#include <cstdint>
#include <string>

namespace pepnet {

// First value of a row. kDefault: U(-sqrt(1/rows), sqrt(1/rows)).
enum class InitKind { kDefault, kUniform, kNormal, kConstant };
struct Initializer {
  InitKind kind = InitKind::kDefault;
  double a = 0;  // uniform: low; normal: mean; constant: value
  double b = 1;  // uniform: high; normal: standard deviation
};

struct Table {
  std::string name;  // embedding_name or <feature_name>_emb
  int64_t rows = 0;  // ids are 0 <= id < rows
  int dim = 0;
  Initializer initializer;
  bool trainable = true;
};

// Name of the table's weights in checkpoints and exports (spec 7).
std::string TableParameterName(const std::string& table);

}  // namespace pepnet
