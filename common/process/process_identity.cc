#include "common/process/process_identity.h"

#include <unistd.h>

#include <climits>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"

namespace pepnet {
namespace {

// State and start time from /proc/PID/stat; false if there is no such process. The name, in
// parentheses, may hold anything.
bool ReadStat(int64_t pid, char* state, uint64_t* start_ticks) {
  std::ifstream in(absl::StrCat("/proc/", pid, "/stat"));
  std::string line;
  if (!std::getline(in, line)) return false;
  // The last bracket ends the name, since the name itself may hold brackets and blanks.
  const size_t end_of_name = line.rfind(')');
  if (end_of_name == std::string::npos) return false;
  std::istringstream fields(line.substr(end_of_name + 1));
  fields >> *state;  // field 3
  std::string skipped;
  // Field 22 is the start time, in clock ticks since the boot (proc(5)).
  for (int field = 4; field < 22; ++field) fields >> skipped;
  return static_cast<bool>(fields >> *start_ticks);
}

}  // namespace

ProcessIdentity ThisProcess() {
  ProcessIdentity self;
  char host[HOST_NAME_MAX + 1] = {};
  self.host = gethostname(host, sizeof(host) - 1) == 0 ? host : "unknown host";
  self.pid = getpid();
  char state = 0;
  std::ifstream boot("/proc/sys/kernel/random/boot_id");
  std::string boot_id;
  char pids[64] = {};
  // A pid means a process only within its namespace and until the next boot: two ranks may compare
  // pids if both agree, so that containers on one host do not take each other's processes for dead.
  if (std::getline(boot, boot_id) && readlink("/proc/self/ns/pid", pids, sizeof(pids) - 1) > 0 &&
      ReadStat(self.pid, &state, &self.start_ticks)) {
    self.space = absl::StrCat(boot_id, " ", pids);
  }
  return self;
}

ProcessState StateOf(const ProcessIdentity& other, const ProcessIdentity& self) {
  // Nothing is known here of a process on another host, or in another container.
  if (other.space.empty() || other.space != self.space) return ProcessState::kUnknown;
  char state = 0;
  uint64_t start_ticks = 0;
  // A pid serves again: a process with another start time is another one.
  if (!ReadStat(other.pid, &state, &start_ticks) || start_ticks != other.start_ticks) {
    return ProcessState::kGone;
  }
  switch (state) {
    // A zombie has ended: only its parent has not looked yet.
    case 'Z':
    case 'X':
      return ProcessState::kGone;
    case 'T':
    case 't':
      return ProcessState::kStopped;
    default:
      return ProcessState::kRunning;
  }
}

}  // namespace pepnet
