// JobReport: how a training job stands or ended, as <model_dir>/job_report.json
// (docs/reliability.md has the schema).
//
// Every rank that notices a failure writes one; the file keeps the best: of one run the first among
// the surest. Worker 0 opens it with "running" once model_dir is its own, and closes it with "done"
// or "stopped".
#pragma once

#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/health/peer_view.h"

namespace pepnet {

struct JobReport {
  // The certainty with which a rank names the first cause.
  enum Certainty { kNone = 0, kBystander = 1, kPeerBlamed = 2, kOwnError = 3 };

  std::string run;     // tells runs in one model_dir apart
  std::string status;  // running, done, stopped, failed
  Certainty certainty = kNone;
  int written_by = 0;  // rank

  // Of a failed job.
  std::string message;  // the story, cause last
  // State of the root-cause rank: failed, dead, hung, slow, signal (somebody ended the job),
  // unknown.
  std::string looks;
  int root_cause = kAnyRank;  // kAnyRank: not known
  int64_t step = 0;           // of `written_by`
  std::string operation;      // what `written_by` waited for; "": it did not wait
  int peer = kAnyRank;        // whom it waited for
  double waited_s = 0;
  std::vector<PeerView> ranks;

  std::string ToJson() const;
};

inline constexpr char kJobReportName[] = "job_report.json";

// Replaces the report in `directory` unless it holds a better one. Another run's is replaced by
// "running" only.
Status WriteJobReport(const std::string& directory, const JobReport& report);

}  // namespace pepnet
