// Files of JSON lines that a run appends to: metrics.jsonl, train_slices.jsonl,
// train_eval_result.txt, train_eval_slices.jsonl, warnings.jsonl.
//
// Threads: no state.
#pragma once

#include <functional>
#include <string>

#include "nlohmann/json.hpp"

#include "common/base/status.h"

namespace pepnet {

// Hands each line of the file at `path`, a JSON object, to `take`. A last line without its line end
// that is no JSON object is one that a live run is writing, or that a crash cut short: it is
// skipped. A file that does not exist has no lines.
// DataLoss names the file and the number of a line that is damaged; an error of `take` gets the
// same in front of it.
Status ReadJsonLines(const std::string& path,
                     const std::function<Status(const nlohmann::json&)>& take);

}  // namespace pepnet
