// The report of an evaluation by slices: a table for people, a line for programs, and what deserves
// a warning.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "worker/metrics/slices.h"
#include "worker/metrics/train_metrics.h"
#include "worker/watch/warning.h"

namespace pepnet {

// One table per column, for a log; "-" where there is no value. Grouped AUCs have columns if a task
// has one. Not empty if `slices` is not.
std::string SliceTable(int64_t step, const std::vector<Slice>& slices);

// {"global_step": 785, "slice_by": "tab", "slice": "value", "value": "1", "task": "click", "rows":
// ..., ...}: one object a line. "slice" is value, rest or all; "value" only of value, null for rows
// without one. A figure without a value is null, and "why", an object of figures and clauses, says
// the reason; it is there only with such a figure.
std::string SliceJson(int64_t step, const std::vector<Slice>& slices);

// Slices of single values whose predictions are off by a factor of 1.5 or more, that are ranked
// worse than by chance, or whose labels are all alike; where that cannot be chance alone: of at
// least 1,000 rows, by four standard deviations.
std::vector<Warning> SliceWarnings(const std::vector<Slice>& slices);

// TensorBoard's scalars: "slice/tab=1/auc_click" and so on.
std::vector<std::pair<std::string, double>> SliceScalars(const std::vector<Slice>& slices);

// The same of train metrics by slice. The table has the values of the last window and of the whole
// training; of JSON, one object a line: {"step": 100, "slice_by": "tab", "slice": "value", "value":
// "1", "task": "click", "metric": "auc_click", "window": {"rows": 800, "value": 0.61}, "lifetime":
// {"rows": 3200, "value": 0.6}}, where a value that does not exist is null and followed by "why";
// scalars: "slice/tab=1/window_auc_click" and "slice/tab=1/lifetime_auc_click".
std::string TrainSliceTable(int64_t step, const std::vector<TrainSlice>& slices);
std::string TrainSliceJson(int64_t step, const std::vector<TrainSlice>& slices);
std::vector<std::pair<std::string, double>> TrainSliceScalars(
    const std::vector<TrainSlice>& slices);

}  // namespace pepnet
