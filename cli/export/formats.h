// The formats of `pepnet export`. Each function writes into a directory under construction, reads
// back what it wrote, and returns the names of its files relative to that directory.
//
// Files are complete or their directory is never renamed; nothing here is atomic by itself.
#pragma once

#include <string>
#include <vector>

#include "cli/export/onnx/features.h"
#include "common/base/status.h"
#include "common/checkpoint/checkpoint.h"
#include "common/job_config/job_config.h"
#include "worker/model/parameters.h"

namespace pepnet {

struct ExportSource {
  const JobConfig* config = nullptr;
  std::string checkpoint;
  const Manifest* manifest = nullptr;
  const DenseParameters* parameters = nullptr;
  TableSource tables;
  bool own_domain = false;  // model.onnx also has the outputs of each row's own domain
};

// model.safetensors: every dense parameter and every table as a full [rows, dim] tensor under the
// reference's names. A table that grows has the rows of the ids in a tensor of its own, <name>.ids
// [rows] int64.
StatusOr<std::vector<std::string>> WriteSafetensors(const ExportSource& source,
                                                    const std::string& directory);

// tables/<table>.parquet: id int64, value list<float>, frequency int64, last_step int64, of the
// rows that training created, by bucket and id as in the checkpoint. dense.parquet: name, shape
// list<int64>, value list<float>.
StatusOr<std::vector<std::string>> WriteParquet(const ExportSource& source,
                                                const std::string& directory);

// model.onnx, and model.onnx.data if a tensor has more than `external_bytes`.
StatusOr<std::vector<std::string>> WriteOnnx(const ExportSource& source,
                                             const std::string& directory, int64_t external_bytes);

}  // namespace pepnet
