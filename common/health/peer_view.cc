#include "common/health/peer_view.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace pepnet {
namespace {

// "waits 3.1 s for rows of step 18 from rank 2", or "computes".
std::string WaitText(const RankStatus::WaitView& wait) {
  if (wait.what.empty()) return "computes";
  std::string text = absl::StrCat("waits ", Tenths(wait.waited_s), " for ", wait.what);
  if (wait.peer != kAnyRank) absl::StrAppend(&text, " from rank ", wait.peer);
  return text;
}

}  // namespace

std::string Tenths(double seconds) { return absl::StrFormat("%.1f s", seconds); }

const char* PeerStateName(PeerState state) {
  switch (state) {
    case PeerState::kUnheard:
      return "unheard";
    case PeerState::kAlive:
      return "alive";
    case PeerState::kSilent:
      return "silent";
    case PeerState::kStopped:
      return "stopped";
    case PeerState::kDead:
      return "dead";
    case PeerState::kFailed:
      return "failed";
    case PeerState::kLeft:
      return "left";
  }
  return "unknown";
}

std::string PeerView::Name() const {
  std::string name = absl::StrCat("rank ", rank);
  if (state == PeerState::kUnheard) return name;
  return absl::StrCat(name, " (", role.empty() ? "role not known yet" : role, " on host ",
                      process.host, ", pid ", process.pid, ")");
}

std::string PeerView::Doing() const {
  std::string doing = absl::StrCat("in step ", step);
  if (!phase.empty()) absl::StrAppend(&doing, " (", phase, ")");
  absl::StrAppend(&doing, ", ", WaitText(wait));
  if (colocated) absl::StrAppend(&doing, "; its server ", WaitText(server_wait));
  return doing;
}

}  // namespace pepnet
