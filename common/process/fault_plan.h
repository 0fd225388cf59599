// FaultPlan: the faults that --inject asks for, so that users (and our tests) can rehearse
// failures.
//
//   plan  = fault { ";" fault }         fault = kind ":" key "=" value { "," key "=" value }
//
//   kill:rank=1,step=17                 SIGKILL itself in the middle of step 17 (no rank: every
//   rank; in one process: it)
//   kill:point=after_fsync,nth=3        ... at the third passage of a kill point: before_, mid_,
//                                       after_write, before_fsync, after_fsync, before_rename,
//                                       after_rename
//   stop:rank=1,step=17                 SIGSTOP itself: a rank that hangs
//   fail-write:nth=3                    the third write fails with an I/O error
//   fail-fsync:nth=2                    so does the second fsync
//   fail-rename:nth=1                   and the first rename
//   enospc:after=1MB                    the disk is full after so many bytes (k, KB, MB, GB: powers
//                                       of 1024)
//   bitflip:nth=2,bit=77                one bit of the n-th write is flipped on its way to the disk
//                                       (modulo its length)
//   delay:max_ms=5,seed=1               every message leaves up to so much later, by a seeded draw;
//   with step=S from step S on
//   drop-reply:nth=4                    the n-th answer of a server (rows or acknowledgement) is
//   lost
//
// Every kind takes rank=R: the transport's rank (0 for the files of a job in one process; a
// colocated rank is worker and server). Kinds that meet files take path=TEXT: only files whose path
// contains TEXT count. File faults act through FileFaults (common/process/file_faults.h), the
// others through FaultyTransport (common/net/faulty_transport.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/status.h"

namespace pepnet {

enum class FaultKind {
  kKill,
  kStop,
  kFailWrite,
  kFailSync,
  kFailRename,
  kDiskFull,
  kBitFlip,
  kDelay,
  kDropReply
};

struct Fault {
  FaultKind kind = FaultKind::kKill;
  std::string text;  // as the user wrote it
  int rank = -1;     // -1: every rank
  // Kill, stop: in the middle of this step; delay: from it on; -1: not by step.
  int64_t step = -1;
  std::string point;        // kill: name of the kill point; "": not by point
  int64_t nth = 1;          // from 1
  std::string path;         // part of the file's path; "": every file
  int64_t after_bytes = 0;  // enospc
  int64_t bit = 0;          // bitflip
  int64_t max_ms = 0;       // delay
  uint64_t seed = 0;        // delay

  bool MeetsRank(int r) const { return rank < 0 || rank == r; }
};

// InvalidArgument for an unknown kind, key or value; the message lists the known ones. "" is an
// empty plan.
StatusOr<std::vector<Fault>> ParseFaultPlan(const std::string& text);

}  // namespace pepnet
