// The event times of a slice's rows (DataConfig::event_time).
//
// Threads: no state; any.
#pragma once

#include <cstdint>

#include "common/base/status.h"
#include "common/job_config/data_config.h"
#include "worker/data/rows/row_selection.h"

namespace pepnet {

// The latest, in seconds since 1970, cut to whole ones; 0: no row has one. `column`: its number in
// the chunks. `texts_are_numbers`: cells are texts that hold numbers, as in CSV files.
// Error: names file, row, column and value; a column that holds no whole numbers, timestamps or
// dates, a negative time, one beyond kEndOfEventTime.
StatusOr<int64_t> LatestEventTime(const EventTimeColumn& event_time, bool texts_are_numbers,
                                  const RowSelection& selection, int column);

}  // namespace pepnet
