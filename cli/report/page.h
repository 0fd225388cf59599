// The page of `pepnet report`: one HTML file, no script that runs, nothing that is fetched.
//
// Its figures stand in it a second time as JSON, in <script type="application/json"
// id="pepnet-data">, with the figures exactly as the run's files have them:
//
//   {"format": "pepnet report", "version": 1, "runs": [{
//     "name": text, "directory": text, "status": text or null, "logged_steps": n, "kept_steps": n,
//     "steps": [lines of metrics.jsonl that are drawn, without what is null in them: all up to
//     kMostPoints (chart.h), of
//       longer logs every n-th],
//     "evaluations": [lines of train_eval_result.txt], "slices": [{"global_step": n, "slices":
//     [...]}], "train_slices": [{"step": n, "slices": [{"slice_by", "value", "metric", "window":
//     [rows, positives or null, value or null], "lifetime": [the same]}...]} of the steps of
//     train_slices.jsonl that are drawn],
//     "best": best_checkpoint.json or null, "checkpoints": [...], "tables": [...], "config":
//     [{"path", "values"}...], "remarks": [{"warning": bool, "text": text}...]}...]}
//
// Threads: no state.
#pragma once

#include <string>
#include <vector>

#include "cli/report/run_record.h"

namespace pepnet {

std::string ReportPage(const std::vector<RunRecord>& runs);

// The object above, on one line.
std::string ReportData(const std::vector<RunRecord>& runs);

}  // namespace pepnet
