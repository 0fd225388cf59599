// DataHistory as JSON, in trainer.json and between the workers.
//
//   {"version": 1, "files": [{"path": text, "bytes": n, "digest": hex, "rows": n or null}...],
//   "window_rows": n,
//    "first_epoch": n, "restarted_at_step": n, "trained": [as files...]}
//
// A path that is not UTF-8, or has a "%", stands with "%25" for that and "%xx" for each byte above
// 127. Readers refuse a version they do not know.
//
// Only .cc files include this header, so that users of the history do not need nlohmann-json.
#pragma once

#include <vector>

#include "common/checkpoint/strict_json.h"
#include "worker/data/history/data_history.h"

namespace pepnet {

nlohmann::ordered_json FilesToJson(const std::vector<FileIdentity>& files);
nlohmann::ordered_json HistoryToJson(const DataHistory& history);

// DataLoss names the member that is missing or wrong.
StatusOr<std::vector<FileIdentity>> FilesFromJson(const nlohmann::json& json, const char* name);
StatusOr<DataHistory> HistoryFromJson(const nlohmann::json& json);

}  // namespace pepnet
