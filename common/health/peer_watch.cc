#include "common/health/peer_watch.h"

#include <pthread.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_format.h"

#include "common/base/logging.h"
#include "common/base/mutant.h"
#include "proto/wire.pb.h"

namespace pepnet {
namespace {

constexpr double kPeriodSeconds = 0.5;
constexpr double kShortestPeriodSeconds = 0.02;
constexpr double kBeatsPerSecond = 200;  // what one rank sends and gets at most, however many ranks there are
constexpr double kBeatsPerSilence = 8;   // beats that must be missing before a rank counts as hung
constexpr int64_t kLookAfterBeats = 3;   // a rank that is late by so many is looked for in /proc

constexpr double kSuspendedSeconds = 2;  // a thread that wakes up so late was suspended, or starved

std::string Tenths(double seconds) { return absl::StrFormat("%.1f s", seconds); }

// "waits 3.1 s for rows of step 18 from rank 2", or "computes".
std::string WaitText(const RankStatus::WaitView& wait) {
  if (wait.what.empty()) return "computes";
  std::string text = absl::StrCat("waits ", Tenths(wait.waited_s), " for ", wait.what);
  if (wait.peer != kAnyRank) absl::StrAppend(&text, " from rank ", wait.peer);
  return text;
}

}  // namespace

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
  return absl::StrCat(name, " (", role.empty() ? "role not known yet" : role, " on host ", process.host, ", pid ",
                      process.pid, ")");
}

std::string PeerView::Doing() const {
  std::string doing = absl::StrCat("in step ", step);
  if (!phase.empty()) absl::StrAppend(&doing, " (", phase, ")");
  absl::StrAppend(&doing, ", ", WaitText(wait));
  if (colocated) absl::StrAppend(&doing, "; its server ", WaitText(server_wait));
  return doing;
}

PeerWatch::PeerWatch(Transport* transport, RankStatus* status, PeerWatchOptions options)
    : transport_(transport), status_(status), options_(std::move(options)), silence_s_(options_.silence_s) {
  std::lock_guard lock(mutex_);
  if (transport_ != nullptr) peers_.resize(static_cast<size_t>(transport_->size()));
  for (size_t r = 0; r < peers_.size(); ++r) peers_[r].view.rank = static_cast<int>(r);
  thread_ = std::thread([this] { Run(); });
}

PeerWatch::~PeerWatch() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wakes_.notify_all();
  thread_.join();
  Send(wire::Beat::LEFT, "");
}

int PeerWatch::rank() const { return transport_ == nullptr ? 0 : transport_->rank(); }

void PeerWatch::SetRole(const std::string& role, const RankStatus* server) {
  {
    std::lock_guard lock(mutex_);
    role_ = role;
    server_status_ = server;
  }
  Refresh(0);
}

void PeerWatch::Refresh(double wait_s) {
  std::unique_lock lock(mutex_);
  const int64_t wanted = ++rounds_wanted_ + rounds_;
  wakes_.notify_all();
  if (wait_s > 0) wakes_.wait_for(lock, std::chrono::duration<double>(wait_s), [&] { return rounds_ >= wanted; });
}

void PeerWatch::SetSilence(double seconds) {
  std::lock_guard lock(mutex_);
  silence_s_ = seconds;
}

void PeerWatch::AnnounceFailure(const std::string& failure) { Send(wire::Beat::FAILED, failure); }

void PeerWatch::LoseOwnRank(const Status& failure) {
  std::lock_guard lock(mutex_);
  if (!lost_.ok()) return;  // the first loss is the cause
  // Never DeadlineExceeded: who only looks whether something has come would look again.
  lost_ = absl::UnavailableError(failure.message());
  lost_rank_ = rank();
  lost_since_ = Clock::now();
}

double PeerWatch::period() const {
  if (options_.period_s > 0) return options_.period_s;
  return std::max({kShortestPeriodSeconds, std::min(kPeriodSeconds, silence_s_ / kBeatsPerSilence),
                   static_cast<double>(peers_.size()) / kBeatsPerSecond});
}

double PeerWatch::silence() const { return std::max(silence_s_, kBeatsPerSilence * period()); }

PeerView PeerWatch::Own() const {
  std::lock_guard lock(mutex_);
  return OwnLocked();
}

PeerView PeerWatch::OwnLocked() const {
  PeerView own;
  own.rank = rank();
  own.process = options_.self;
  own.state = PeerState::kAlive;
  const RankStatus::View view = status_->view();
  own.step = view.step;
  own.phase = view.phase;
  if (!view.waits.empty()) own.wait = view.waits.front();
  own.role = role_;
  own.colocated = server_status_ != nullptr;
  if (!own.colocated) return own;
  const RankStatus::View server = server_status_->view();
  if (!server.waits.empty()) own.server_wait = server.waits.front();
  return own;
}

// ---- the thread -----------------------------------------------------------------------------------------------------

void PeerWatch::Run() {
  pthread_setname_np(pthread_self(), "beats");
  bool ended = false;
  Clock::time_point slept_until = Clock::now();
  while (true) {
    // A process that was suspended gets the time to finish what has become overdue meanwhile.
    const double late_s = std::chrono::duration<double>(Clock::now() - slept_until).count();
    if (late_s > kSuspendedSeconds) patient_until_ = After(std::chrono::duration<double>(options_.grace_s));
    Collect();
    Send(wire::Beat::ALIVE, "");
    const Status overdue = ended || options_.end_now == nullptr ? absl::OkStatus() : Overdue();
    if (!overdue.ok()) {
      ended = true;
      options_.end_now(overdue);
    }
    std::unique_lock lock(mutex_);
    Judge();
    ++rounds_;
    if (rounds_wanted_ > 0) --rounds_wanted_;
    wakes_.notify_all();
    slept_until = After(std::chrono::duration<double>(period()));
    wakes_.wait_until(lock, slept_until, [&] { return stopping_ || rounds_wanted_ > 0; });
    if (stopping_) return;
  }
}

void PeerWatch::Send(int kind, const std::string& failure) {
  if (transport_ == nullptr) return;
  const PeerView own = Own();
  wire::Beat beat;
  beat.set_kind(static_cast<wire::Beat::Kind>(kind));
  beat.set_role(own.role);
  beat.set_host(own.process.host);
  beat.set_space(own.process.space);
  beat.set_pid(own.process.pid);
  beat.set_start_ticks(own.process.start_ticks);
  beat.set_step(own.step);
  beat.set_phase(own.phase);
  beat.set_wait(own.wait.what);
  beat.set_wait_peer(own.wait.peer);
  beat.set_wait_s(own.wait.waited_s);
  beat.set_failure(failure);
  beat.set_colocated(own.colocated);
  beat.set_wait_on_server(own.wait.on_server);
  beat.set_server_wait(own.server_wait.what);
  beat.set_server_wait_peer(own.server_wait.peer);
  beat.set_server_wait_s(own.server_wait.waited_s);
  const std::string bytes = beat.SerializeAsString();
  for (int rank = 0; rank < transport_->size(); ++rank) {
    if (rank == transport_->rank()) continue;
    Bytes body(bytes.size());
    std::memcpy(body.data(), bytes.data(), bytes.size());
    const Status sent = transport_->Send(Channel::kBeats, rank, std::move(body));
    if (!sent.ok()) VLOG(1) << "heartbeat to rank " << rank << ": " << sent.message();
  }
}

void PeerWatch::Collect() {
  if (transport_ == nullptr) return;
  {
    std::lock_guard lock(mutex_);
    for (Peer& peer : peers_) ++peer.silent_beats, peer.failed_beats += peer.view.state == PeerState::kFailed;
  }
  while (true) {
    const StatusOr<Message> message = transport_->Receive(Channel::kBeats, kAnyRank, Clock::now(), "heartbeats");
    if (!message.ok()) return;  // none is left; a broken transport shows where rows are waited for
    wire::Beat beat;
    if (!beat.ParseFromArray(message->body.data(), static_cast<int>(message->body.size()))) continue;
    std::lock_guard lock(mutex_);
    Peer& peer = peers_[static_cast<size_t>(message->source)];
    peer.silent_beats = 0;
    peer.gone_looks = 0;
    PeerView& view = peer.view;
    view.role = beat.role();
    view.process = {beat.host(), beat.space(), beat.pid(), beat.start_ticks()};
    view.step = beat.step();
    view.phase = beat.phase();
    view.wait = {beat.wait(), beat.wait_peer(), beat.wait_s(), 0, beat.wait_on_server()};
    view.colocated = beat.colocated();
    view.server_wait = {beat.server_wait(), beat.server_wait_peer(), beat.server_wait_s(), 0, false};
    if (view.state == PeerState::kFailed) continue;  // what it says while it ends is no sign of health
    view.state = beat.kind() == wire::Beat::LEFT     ? PeerState::kLeft
                 : beat.kind() == wire::Beat::FAILED ? PeerState::kFailed
                                                     : PeerState::kAlive;
    view.failure = beat.failure();
  }
}

void PeerWatch::Lose(const Peer& peer, absl::string_view how) {
  lost_rank_ = peer.view.rank;
  lost_since_ = Clock::now();
  std::string text = absl::StrCat(peer.view.Name(), " ", how);
  if (peer.view.state == PeerState::kUnheard) {
    absl::StrAppend(&text, "; it has not been heard of in the ", Tenths(peer.view.age_s), " of this rank's life");
  } else if (peer.view.state != PeerState::kFailed) {
    absl::StrAppend(&text, "; its last heartbeat is ", Tenths(peer.view.age_s), " old: ", peer.view.Doing());
  }
  lost_ = absl::UnavailableError(text);
}

void PeerWatch::Judge() {
  for (Peer& peer : peers_) {
    PeerView& view = peer.view;
    view.age_s = static_cast<double>(peer.silent_beats) * period();
    if (view.rank == transport_->rank() || view.state == PeerState::kLeft || !lost_.ok()) continue;
    if (view.state == PeerState::kFailed) {
      if (static_cast<double>(peer.failed_beats) * period() > options_.failure_grace_s) {
        Lose(peer, absl::StrCat("has failed: ", view.failure));
      }
      continue;
    }
    if (peer.silent_beats < kLookAfterBeats) continue;
    const ProcessState process = StateOf(view.process, options_.self);
    peer.gone_looks = process == ProcessState::kGone ? peer.gone_looks + 1 : 0;
    if (view.state != PeerState::kUnheard) {
      view.state = process == ProcessState::kStopped ? PeerState::kStopped : PeerState::kSilent;
    }
    if (peer.gone_looks > 1) {
      view.state = PeerState::kDead;
      Lose(peer, "is dead: its process is gone");
    } else if (view.age_s >= silence() && !MutantActive(Mutant::kSilenceIsHealth)) {
      Lose(peer, process == ProcessState::kStopped   ? "hangs: its process is stopped by a signal or a debugger"
                 : process == ProcessState::kRunning ? "hangs: its process is there, but is silent"
                                                     : "hangs or cannot be reached: it is silent");
    }
  }
}

Status PeerWatch::Overdue() {
  if (Clock::now() < patient_until_) return absl::OkStatus();
  std::vector<RankStatus::WaitView> waits = status_->view().waits;
  {
    std::lock_guard lock(mutex_);
    if (server_status_ != nullptr) {
      for (RankStatus::WaitView& wait : server_status_->view().waits) waits.push_back(std::move(wait));
    }
  }
  for (const RankStatus::WaitView& wait : waits) {
    if (wait.overdue_s < options_.grace_s) continue;
    return absl::DeadlineExceededError(absl::StrCat("waited ", Tenths(wait.waited_s), " for ", wait.what,
                                                    ", which is longer than the deadline allows"));
  }
  std::lock_guard lock(mutex_);
  const bool in_grace = Clock::now() - lost_since_ < std::chrono::duration<double>(options_.grace_s);
  return lost_.ok() || in_grace ? absl::OkStatus() : lost_;
}

// ---- what is known --------------------------------------------------------------------------------------------------

std::vector<PeerView> PeerWatch::Ranks(bool look) const {
  std::vector<PeerView> views;
  {
    std::lock_guard lock(mutex_);
    for (const Peer& peer : peers_) views.push_back(peer.view);
  }
  const PeerView own = Own();
  if (views.empty()) views.resize(1);
  views[static_cast<size_t>(own.rank)] = own;
  for (PeerView& view : views) {
    if (!look || view.rank == own.rank || (view.state != PeerState::kAlive && view.state != PeerState::kSilent))
      continue;
    const ProcessState process = StateOf(view.process, options_.self);
    if (process == ProcessState::kGone) view.state = PeerState::kDead;
    if (process == ProcessState::kStopped) view.state = PeerState::kStopped;
  }
  return views;
}

Status PeerWatch::Lost(int* rank) const {
  std::lock_guard lock(mutex_);
  if (rank != nullptr) *rank = lost_rank_;
  return lost_;
}

Seat PeerWatch::CulpritLocked(Seat peer, bool by_server) const {
  const int size = static_cast<int>(peers_.size());
  const PeerView own = OwnLocked();
  for (int hops = 0; peer.rank >= 0 && peer.rank < size && hops < 2 * size; ++hops) {
    // Between the two roles of this rank the way goes on; a rank with one role does not ask itself.
    const PeerView& view = own.colocated && peer.rank == own.rank ? own : peers_[static_cast<size_t>(peer.rank)].view;
    const RankStatus::WaitView& wait = view.WaitOf(peer.server);
    const bool for_the_asker = wait.peer == own.rank && (!own.colocated || wait.on_server == by_server);
    const bool waits_for_another = view.state == PeerState::kAlive && !wait.what.empty() && wait.peer >= 0 &&
                                   !for_the_asker && wait.waited_s >= period();
    if (!waits_for_another) return peer;
    peer = {wait.peer, wait.on_server};
  }
  return peer.rank < size ? peer : Seat{};
}

Seat PeerWatch::Culprit(Seat peer, bool by_server) const {
  {
    std::lock_guard lock(mutex_);
    if (peer.rank != kAnyRank) return CulpritLocked(peer, by_server);
  }
  const std::vector<PeerView> ranks = Ranks(/*look=*/true);
  for (const PeerView& view : ranks) {  // others may be dead because it ended the job
    if (view.state == PeerState::kFailed) return {view.rank};
  }
  int silent = kAnyRank;
  for (const PeerView& view : ranks) {
    if (view.state == PeerState::kDead || view.state == PeerState::kStopped) return {view.rank};
    if (view.state == PeerState::kSilent && silent == kAnyRank) silent = view.rank;
  }
  return {silent};
}

std::string PeerWatch::Explain(Seat peer, bool by_server) const {
  const std::vector<PeerView> ranks = Ranks(/*look=*/true);
  const Seat culprit = Culprit(peer, by_server);
  if (culprit.rank < 0 || transport_ == nullptr) return "";
  const PeerView& view = ranks[static_cast<size_t>(culprit.rank)];
  if (culprit.rank == transport_->rank()) {
    if (!view.colocated || culprit.server == by_server) return "";
    return absl::StrCat("the ", culprit.server ? "server" : "worker", " of this rank is slow: ", view.Doing());
  }
  const bool direct = culprit.rank == peer.rank || peer.rank == kAnyRank;
  std::string text = direct ? "" : absl::StrCat("rank ", peer.rank, " waits for others, in the end for ");
  absl::StrAppend(&text, view.Name(), " ");
  const std::string age = Tenths(view.age_s);
  switch (view.state) {
    case PeerState::kUnheard:
      return absl::StrCat(text, "has never been heard of");
    case PeerState::kAlive:
      if (view.WaitOf(culprit.server).peer == transport_->rank()) {
        return absl::StrCat(text, "is alive and waits for this rank: a message between the two is lost; ",
                            view.Doing());
      }
      return absl::StrCat(text, "is slow: it beats (", age, " ago), ", view.Doing());
    case PeerState::kSilent:
      return absl::StrCat(text, "is hung or unreachable: its last heartbeat is ", age, " old, ", view.Doing());
    case PeerState::kStopped:
      return absl::StrCat(text, "is hung: its process is stopped; its last heartbeat is ", age, " old, ", view.Doing());
    case PeerState::kDead:
      return absl::StrCat(text, "is dead: its process is gone; its last heartbeat is ", age, " old, ", view.Doing());
    case PeerState::kFailed:
      return absl::StrCat(text, "has failed: ", view.failure);
    case PeerState::kLeft:
      return absl::StrCat(text, "has ended already");
  }
  return "";
}

bool PeerWatch::PhaseAnnounced() const {
  std::lock_guard lock(mutex_);
  if (!OwnLocked().phase.empty()) return true;
  // A silent rank is taken at its last word: if it does not come back, it is lost after the silence.
  return std::any_of(peers_.begin(), peers_.end(), [](const Peer& peer) {
    return peer.view.state != PeerState::kLeft && peer.view.state != PeerState::kFailed && !peer.view.phase.empty();
  });
}

}  // namespace pepnet
