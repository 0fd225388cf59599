#include "common/health/job_watch.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"

#include "common/base/logging.h"

namespace pepnet {
namespace {

PeerWatchOptions WatchOptions(double timeout_s, std::function<void(const Status&)> end_now) {
  PeerWatchOptions options;
  options.silence_s = timeout_s;
  options.end_now = std::move(end_now);
  return options;
}

// The state of the root-cause rank, in the report's words.
const char* LooksOf(PeerState state) {
  switch (state) {
    case PeerState::kDead:
      return "dead";
    case PeerState::kFailed:
      return "failed";
    case PeerState::kAlive:
    case PeerState::kLeft:
      return "slow";
    case PeerState::kUnheard:
    case PeerState::kSilent:
    case PeerState::kStopped:
      break;
  }
  return "hung";
}

}  // namespace

JobWatch::JobWatch(Transport* transport, double timeout_s,
                   std::function<void(const Status&)> end_now)
    : transport_(transport),
      peers_(transport, &status_, WatchOptions(timeout_s, std::move(end_now))) {}

std::unique_ptr<Transport> JobWatch::Watched(Transport* transport) {
  return std::make_unique<WatchedTransport>(transport, &status_,
                                            transport_ == nullptr ? nullptr : &peers_);
}

void JobWatch::SetRole(const std::string& role, bool colocated) {
  colocated_ = colocated;
  peers_.SetRole(role, colocated ? &server_status_ : nullptr);
}

std::unique_ptr<Transport> JobWatch::WatchedForServer(Transport* transport) {
  return std::make_unique<WatchedTransport>(transport, server_status(),
                                            transport_ == nullptr ? nullptr : &peers_,
                                            /*of_server=*/true);
}

void JobWatch::EnterModelDir(const std::string& run_file, bool first) {
  const size_t slash = run_file.rfind('/');
  CHECK(slash != std::string::npos) << run_file;
  {
    MutexLock lock(&mutex_);
    const std::string run = run_file.substr(slash + 1);
    // Worker 0 of a colocated job enters twice, once for its server, which is not the first.
    first_ = first || (first_ && run == run_);
    directory_ = run_file.substr(0, slash);
    run_ = run;
  }
  Close("running");
}

void JobWatch::Close(const std::string& how) {
  JobReport report;
  report.status = how;
  {
    MutexLock lock(&mutex_);
    if (!first_) return;
  }
  Write(std::move(report));
}

JobReport JobWatch::Describe(const Status& error) {
  JobReport report;
  report.status = "failed";
  report.ranks = peers_.Ranks(/*probe=*/true);
  report.written_by = transport_ == nullptr ? 0 : transport_->rank();
  // An error that does not come from waiting for another rank is this rank's own.
  report.certainty = JobReport::kOwnError;
  report.looks = "failed";
  report.root_cause = report.written_by;
  int lost = kAnyRank;
  const bool peer_lost = !peers_.Lost(&lost).ok() && lost != report.written_by;
  // A wait that has failed is found by its message, which is part of `error`: Status carries no
  // link.
  std::optional<RankStatus::WaitView> wait = status_.FailedWait(error.message());
  const bool by_server = !wait.has_value() && colocated_;
  if (by_server) wait = server_status_.FailedWait(error.message());
  if (wait.has_value()) {
    report.operation = wait->what;
    report.peer = wait->peer;
    report.waited_s = wait->waited_s;
  }
  // The wait is a symptom: whoever it waited for may wait for a third rank. RootCauseOf() follows
  // the chain through what the heartbeats say; a rank that the heartbeats have lost needs no
  // search.
  if (peer_lost || wait.has_value()) {
    report.root_cause =
        peer_lost ? lost : peers_.RootCauseOf({wait->peer, wait->on_server}, by_server).rank;
    report.looks = "unknown";
    report.certainty = JobReport::kBystander;
    if (report.root_cause >= 0 && report.root_cause < static_cast<int>(report.ranks.size())) {
      const PeerState state = report.ranks[static_cast<size_t>(report.root_cause)].state;
      report.looks = LooksOf(state);
      // The failing rank's own report is the better one.
      report.certainty =
          state == PeerState::kFailed ? JobReport::kBystander : JobReport::kPeerBlamed;
    }
  }
  const PeerView& own = report.ranks[static_cast<size_t>(report.written_by)];
  report.step = own.step;
  const std::string phase = own.phase.empty() ? "" : absl::StrCat(" (", own.phase, ")");
  report.message = absl::StrCat(own.Name(), " in step ", own.step, phase, ": ", error.message());
  return report;
}

void JobWatch::Write(JobReport report) {
  std::string directory;
  {
    MutexLock lock(&mutex_);
    if (directory_.empty()) return;  // model_dir is not ours, or not yet: stderr has to do
    directory = directory_;
    report.run = run_;
  }
  const Status written = WriteJobReport(directory, report);
  if (!written.ok()) LOG(WARNING) << "the job's report cannot be written: " << written.message();
}

void JobWatch::Fail(const Status& error) {
  // The other ranks are told first: their waits for this one end soon, and their reports should
  // know the cause.
  peers_.AnnounceFailure(std::string(error.message()));
  Write(Describe(error));
}

std::string JobWatch::EndedBy(const std::string& signal) {
  constexpr double kHearSeconds = 0.1;
  peers_.Refresh(kHearSeconds);  // a rank that fails has said so before mpirun ends the others
  JobReport report;
  report.status = "failed";
  report.certainty = JobReport::kBystander;
  report.looks = "signal";
  report.written_by = transport_ == nullptr ? 0 : transport_->rank();
  report.ranks = peers_.Ranks(/*probe=*/true);
  std::string line = absl::StrCat("ended by ", signal);
  const auto first_in = [&](PeerState state) {
    return std::find_if(report.ranks.begin(), report.ranks.end(),
                        [&](const PeerView& view) { return view.state == state; });
  };
  // mpirun ends all ranks when one has gone, so a signal is mostly a consequence. A rank that says
  // it has failed is a better cause than one whose process is gone: that may have been ended by
  // mpirun, too.
  if (const auto failed = first_in(PeerState::kFailed); failed != report.ranks.end()) {
    absl::StrAppend(&line, "; ", failed->Name(), " has failed: ", failed->failure);
    report.looks = "failed";
    report.root_cause = failed->rank;
  } else if (const auto dead = first_in(PeerState::kDead); dead != report.ranks.end()) {
    absl::StrAppend(&line, "; ", dead->Name(),
                    " is dead: its process is gone; its last heartbeat is ",
                    absl::StrFormat("%.1f", dead->age_s), " s old, ", dead->Doing());
    report.certainty = JobReport::kPeerBlamed;
    report.looks = "dead";
    report.root_cause = dead->rank;
  }
  const PeerView& own = report.ranks[static_cast<size_t>(report.written_by)];
  report.step = own.step;
  report.operation = own.wait.what;
  report.peer = own.wait.peer;
  report.waited_s = own.wait.waited_s;
  const std::string doing = own.Doing();
  report.message = absl::StrCat(own.Name(), ", ", doing, ": ", line);
  Write(std::move(report));
  return absl::StrCat(line, "; this rank is ", doing);
}

}  // namespace pepnet
