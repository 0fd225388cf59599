// The table of `pepnet compare`: runs side by side, for a terminal.
#pragma once

#include <string>
#include <vector>

#include "cli/report/run_record.h"

namespace pepnet {

// Several blocks with a column for each run: how far each got; each loss and metric at its best
// evaluation and at the last one, with a * behind the best of the runs; where the configs differ;
// and below them what stands out in each run. Cells are cut to `width` characters in all where the
// runs' values are long; 0: as wide as they are. Texts of files are printable. Ends without a line
// end.
std::string CompareText(const std::vector<RunRecord>& runs, int width);

}  // namespace pepnet
