// The files beside the exported weights: export.json for programs and README.md for people.
//
//   export.json: {"format_version": 1, "pepnet": version, "checkpoint": path, "step": n,
//                 "string_hash": text, "files": [{"file", "bytes", "crc32c"}...],
//                 "inputs": [{"feature", "input", "column", "type", "separator", "weighted",
//                 "bucketizer", "rows"}...],
//                 "own_domain": {"input", "column", "domains"},
//                 "outputs": [{"name", "width"}...]}
//               "own_domain" stands there with --own_domain alone (cli/export/onnx/network.h);
//               inputs and outputs are those of model.onnx (cli/export/onnx/features.h).
#pragma once

#include <string>
#include <vector>

#include "cli/export/formats.h"

namespace pepnet {

struct CardInfo {
  std::vector<std::string> formats, files;
  int64_t compared_rows = -1;  // with eval; -1: not compared
};

StatusOr<std::string> ExportJson(const ExportSource& source, const std::string& directory,
                                 const CardInfo& info);
StatusOr<std::string> ModelCard(const ExportSource& source, const CardInfo& info);

}  // namespace pepnet
