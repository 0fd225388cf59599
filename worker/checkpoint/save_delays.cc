#include "worker/checkpoint/save_delays.h"

#include <algorithm>

#include "absl/strings/str_format.h"

namespace pepnet {

void SaveDelays::Add(double seconds, bool saving) {
  if (!started_) {
    started_ = true;
    return;
  }
  // The step that begins a save counts as saving, since it waits for the copies.
  Steps& steps = saving ? saving_ : other_;
  ++steps.count;
  steps.seconds += seconds;
  steps.longest = std::max(steps.longest, seconds);
}

std::string SaveDelays::Report() const {
  if (saving_.count == 0 || other_.count == 0) return "";
  return absl::StrFormat(
      "%d steps while saving took %.1f ms on average and %.1f at most, %d others %.1f and %.1f: at "
      "most %.1f more, "
      "throughput "
      "while saving %+.1f %%",
      saving_.count, 1e3 * saving_.Mean(), 1e3 * saving_.longest, other_.count, 1e3 * other_.Mean(),
      1e3 * other_.longest, 1e3 * longest_delay_seconds(), -100 * lost_throughput());
}

}  // namespace pepnet
