// Shared by writer and reader of table parts: the Arrow schema and the way from Arrow's status to
// ours. Only .cc files of this folder include it; no other folder sees Arrow through the checkpoint
// library.
#pragma once

#include <memory>
#include <string>

#include "arrow/status.h"
#include "arrow/type.h"

#include "common/base/status.h"

namespace pepnet {

std::shared_ptr<arrow::Schema> TablePartSchema(int dim, int state_dim);

// `code`: what an error means here (DataLoss when reading a file, Internal when writing one).
Status FromArrow(const arrow::Status& status, absl::StatusCode code, const std::string& what);

}  // namespace pepnet
