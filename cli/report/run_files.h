// The files of a run beside its logs: config, checkpoints and their tables, the report of the job.
#pragma once

#include "cli/report/run_record.h"

namespace pepnet {

// Fills what ReadRun() does not: best, checkpoints, set_aside, tables (rows of one checkpoint only
// with `rows`), config, explained and job. What cannot be read leaves a notice: a report of the
// rest is worth more than none, and the checkpoint of a run in progress may go while it is read.
// Threads: no state.
void ReadRunFiles(bool rows, RunRecord* run);

}  // namespace pepnet
