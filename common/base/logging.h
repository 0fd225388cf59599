// The one door to glog. Torch-free files include this header and use glog's macros (LOG, CHECK,
// VLOG). Files that include torch must not (libtorch defines LOG and CHECK as well): they include
// common/base/log_functions.h.
#pragma once

#include <glog/logging.h>

#include <string>

namespace pepnet {

// Call once in main(). Lines go to stderr; `rank_label` ("worker 1", "server 0", "" in one process)
// stands in front.
void InitLogging(const char* program, const std::string& rank_label);
// The amount of logging. Warnings and errors always are.
enum class LogDetail {
  kQuiet,    // nothing else, and no progress line (common/base/screen.h)
  kNormal,   // what somebody who waits for the job wants to know
  kVerbose,  // also VLOG(1): what each server, checkpoint and stage did
};
// To be called by main(), before threads.
void SetLogDetail(LogDetail detail);

// Changes the label once the role is known.
void SetLogLabel(const std::string& rank_label);

}  // namespace pepnet
