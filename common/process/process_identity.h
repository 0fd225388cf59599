// ProcessIdentity: how the processes of one host learn about each other whether they run, are
// stopped, or are gone.
//
// Threads: any.
#pragma once

#include <cstdint>
#include <string>

namespace pepnet {

struct ProcessIdentity {
  std::string host;  // its name, for people
  // boot and pid namespace: two processes mean the same by a pid only if this is equal; "" =
  // unknown
  std::string space;
  int64_t pid = 0;
  uint64_t start_ticks = 0;  // when it started: a later process of the same pid is another one
};

ProcessIdentity ThisProcess();

enum class ProcessState {
  kUnknown,  // of another host, or /proc does not tell
  kRunning,
  kStopped,  // by SIGSTOP, a terminal or a debugger
  kGone,     // ended, or a zombie
};
// The state of `other` that `self` sees right now.
ProcessState StateOf(const ProcessIdentity& other, const ProcessIdentity& self);

}  // namespace pepnet
