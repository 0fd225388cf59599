#include "common/health/peer_watch.h"

#include <pthread.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/logging.h"
#include "common/base/threads.h"
#include "proto/wire.pb.h"

namespace pepnet {
namespace {

constexpr double kPeriodSeconds = 0.5;
constexpr double kShortestPeriodSeconds = 0.02;
// The most that one rank sends and receives, however many ranks there are.
constexpr double kHeartbeatsPerSecond = 200;
// Heartbeats that must be missing before a rank counts as hung.
constexpr double kHeartbeatsPerSilence = 8;
constexpr double kSuspendedSeconds = 2;  // a thread that wakes up so late was suspended, or starved

}  // namespace

PeerWatch::PeerWatch(Transport* transport, RankStatus* status, PeerWatchOptions options)
    : transport_(transport),
      status_(status),
      options_(std::move(options)),
      silence_s_(options_.silence_s) {
  MutexLock lock(&mutex_);
  if (transport_ != nullptr) peers_.resize(static_cast<size_t>(transport_->size()));
  for (size_t r = 0; r < peers_.size(); ++r) peers_[r].view.rank = static_cast<int>(r);
  // The lock is held, so that the thread's first round sees all of this.
  thread_ = StartThread("heartbeat", [this] { Run(); });
}

PeerWatch::~PeerWatch() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  wakes_.NotifyAll();
  thread_.join();
  // The deregistration follows the join: messages between two ranks keep their order, so no
  // heartbeat comes behind it and makes this rank look alive again.
  Send(wire::Heartbeat::LEFT, "");
}

int PeerWatch::rank() const { return transport_ == nullptr ? 0 : transport_->rank(); }

void PeerWatch::SetRole(const std::string& role, const RankStatus* server) {
  {
    MutexLock lock(&mutex_);
    role_ = role;
    server_status_ = server;
  }
  Refresh(0);
}

void PeerWatch::Refresh(double wait_s) {
  MutexLock lock(&mutex_);
  const int64_t wanted = ++rounds_wanted_ + rounds_;
  wakes_.NotifyAll();
  if (wait_s <= 0) return;
  const Deadline deadline = After(std::chrono::duration<double>(wait_s));
  while (rounds_ < wanted && wakes_.WaitUntil(&mutex_, deadline)) {
  }
}

void PeerWatch::SetSilence(double seconds) {
  MutexLock lock(&mutex_);
  silence_s_ = seconds;
}

void PeerWatch::AnnounceFailure(const std::string& failure) {
  Send(wire::Heartbeat::FAILED, failure);
}

void PeerWatch::LoseOwnRank(const Status& failure) {
  MutexLock lock(&mutex_);
  if (!lost_.ok()) return;  // the first loss is the cause
  // Never DeadlineExceeded: a caller that only polls for messages would poll again.
  lost_ = absl::UnavailableError(failure.message());
  lost_rank_ = rank();
  lost_since_ = Clock::now();
}

double PeerWatch::period() const {
  if (options_.period_s > 0) return options_.period_s;
  // Every rank tells every other, so a rank handles ranks / period heartbeats per second: the last
  // term bounds that.
  return std::max({kShortestPeriodSeconds,
                   std::min(kPeriodSeconds, silence_s_ / kHeartbeatsPerSilence),
                   static_cast<double>(peers_.size()) / kHeartbeatsPerSecond});
}

Patience PeerWatch::patience() const {
  return {period(), std::max(silence_s_, kHeartbeatsPerSilence * period()),
          options_.failure_grace_s};
}

PeerView PeerWatch::Own() const {
  MutexLock lock(&mutex_);
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

// ---- the thread ---------------------------------------------------------------------------------

void PeerWatch::Run() {
  pthread_setname_np(pthread_self(), "heartbeats");
  bool ended = false;
  Clock::time_point slept_until = Clock::now();
  while (true) {
    // A process that was suspended gets the time to finish what has become overdue meanwhile.
    const double late_s = std::chrono::duration<double>(Clock::now() - slept_until).count();
    if (late_s > kSuspendedSeconds) {
      patient_until_ = After(std::chrono::duration<double>(options_.grace_s));
    }
    Collect();
    Send(wire::Heartbeat::ALIVE, "");
    const Status overdue = ended || options_.end_now == nullptr ? absl::OkStatus() : Overdue();
    if (!overdue.ok()) {
      ended = true;
      // The callback runs without the lock, since it asks this object what to write into the job's
      // report.
      options_.end_now(overdue);
    }
    MutexLock lock(&mutex_);
    ClassifyPeers();
    ++rounds_;
    if (rounds_wanted_ > 0) --rounds_wanted_;
    wakes_.NotifyAll();
    slept_until = After(std::chrono::duration<double>(period()));
    while (!stopping_ && rounds_wanted_ == 0 && wakes_.WaitUntil(&mutex_, slept_until)) {
    }
    if (stopping_) return;
  }
}

void PeerWatch::Send(int kind, const std::string& failure) {
  if (transport_ == nullptr) return;
  const PeerView own = Own();
  wire::Heartbeat heartbeat;
  heartbeat.set_kind(static_cast<wire::Heartbeat::Kind>(kind));
  heartbeat.set_role(own.role);
  heartbeat.set_host(own.process.host);
  heartbeat.set_space(own.process.space);
  heartbeat.set_pid(own.process.pid);
  heartbeat.set_start_ticks(own.process.start_ticks);
  heartbeat.set_step(own.step);
  heartbeat.set_phase(own.phase);
  heartbeat.set_wait(own.wait.what);
  heartbeat.set_wait_peer(own.wait.peer);
  heartbeat.set_wait_s(own.wait.waited_s);
  heartbeat.set_failure(failure);
  heartbeat.set_colocated(own.colocated);
  heartbeat.set_wait_on_server(own.wait.on_server);
  heartbeat.set_server_wait(own.server_wait.what);
  heartbeat.set_server_wait_peer(own.server_wait.peer);
  heartbeat.set_server_wait_s(own.server_wait.waited_s);
  const std::string bytes = heartbeat.SerializeAsString();
  for (int rank = 0; rank < transport_->size(); ++rank) {
    if (rank == transport_->rank()) continue;
    Bytes body(bytes.size());
    std::memcpy(body.data(), bytes.data(), bytes.size());
    const Status sent = transport_->Send(Channel::kHeartbeats, rank, std::move(body));
    if (!sent.ok()) VLOG(1) << "heartbeat to rank " << rank << ": " << sent.message();
  }
}

void PeerWatch::Collect() {
  if (transport_ == nullptr) return;
  {
    MutexLock lock(&mutex_);
    // All count as silent for one more heartbeat; those that have sent one since are set back
    // below.
    for (PeerRecord& peer : peers_) {
      ++peer.silent_periods, peer.failed_periods += peer.view.state == PeerState::kFailed;
    }
  }
  while (true) {
    // With a deadline that has passed, Receive() takes what is there and waits for nothing.
    const StatusOr<Message> message =
        transport_->Receive(Channel::kHeartbeats, kAnyRank, Clock::now(), "heartbeats");
    if (!message.ok()) return;  // none is left; a broken transport shows where rows are waited for
    wire::Heartbeat heartbeat;
    if (!heartbeat.ParseFromArray(message->body.data(), static_cast<int>(message->body.size()))) {
      continue;
    }
    MutexLock lock(&mutex_);
    PeerRecord& peer = peers_[static_cast<size_t>(message->source)];
    peer.silent_periods = 0;
    peer.gone_probes = 0;
    PeerView& view = peer.view;
    view.role = heartbeat.role();
    view.process = {heartbeat.host(), heartbeat.space(), heartbeat.pid(), heartbeat.start_ticks()};
    view.step = heartbeat.step();
    view.phase = heartbeat.phase();
    view.wait = {heartbeat.wait(), heartbeat.wait_peer(), heartbeat.wait_s(), 0,
                 heartbeat.wait_on_server()};
    view.colocated = heartbeat.colocated();
    view.server_wait = {heartbeat.server_wait(), heartbeat.server_wait_peer(),
                        heartbeat.server_wait_s(), 0, false};
    // A message of a rank that ends is no sign of health.
    if (view.state == PeerState::kFailed) continue;
    view.state = heartbeat.kind() == wire::Heartbeat::LEFT     ? PeerState::kLeft
                 : heartbeat.kind() == wire::Heartbeat::FAILED ? PeerState::kFailed
                                                               : PeerState::kAlive;
    view.failure = heartbeat.failure();
  }
}

void PeerWatch::ClassifyPeers() {
  const Patience patience = this->patience();
  for (PeerRecord& peer : peers_) {
    peer.view.age_s = static_cast<double>(peer.silent_periods) * patience.period_s;
    // Only the first loss is kept. Ranks that are lost behind it are mostly consequences.
    if (peer.view.rank == transport_->rank() || !lost_.ok()) continue;
    // Only ranks that are late are probed, so that /proc is not read for every rank at every
    // heartbeat.
    const ProcessState process =
        NeedsProbe(peer) ? StateOf(peer.view.process, options_.self) : ProcessState::kUnknown;
    const std::string how = WhyLost(process, patience, &peer);
    if (how.empty()) continue;
    lost_rank_ = peer.view.rank;
    lost_since_ = Clock::now();
    lost_ = absl::UnavailableError(LossText(peer.view, how));
  }
}

Status PeerWatch::Overdue() {
  if (Clock::now() < patient_until_) return absl::OkStatus();
  // Waits end by themselves at their deadlines, with a better message than this one. The watchdog
  // is for those that cannot, such as a read from a file system that hangs (law L6).
  std::vector<RankStatus::WaitView> waits = status_->view().waits;
  {
    MutexLock lock(&mutex_);
    if (server_status_ != nullptr) {
      for (RankStatus::WaitView& wait : server_status_->view().waits) {
        waits.push_back(std::move(wait));
      }
    }
  }
  for (const RankStatus::WaitView& wait : waits) {
    if (wait.overdue_s < options_.grace_s) continue;
    return absl::DeadlineExceededError(absl::StrCat("waited ", Tenths(wait.waited_s), " for ",
                                                    wait.what,
                                                    ", which is longer than the deadline allows"));
  }
  MutexLock lock(&mutex_);
  const bool in_grace =
      Clock::now() - lost_since_ < std::chrono::duration<double>(options_.grace_s);
  return lost_.ok() || in_grace ? absl::OkStatus() : lost_;
}

// ---- what is known ------------------------------------------------------------------------------

std::vector<PeerView> PeerWatch::Ranks(bool probe) const {
  std::vector<PeerView> views;
  {
    MutexLock lock(&mutex_);
    for (const PeerRecord& peer : peers_) views.push_back(peer.view);
  }
  const PeerView own = Own();
  // Without other processes there is one view, this rank's own.
  if (views.empty()) views.resize(1);
  views[static_cast<size_t>(own.rank)] = own;
  for (PeerView& view : views) {
    if (!probe || view.rank == own.rank ||
        (view.state != PeerState::kAlive && view.state != PeerState::kSilent))
      continue;
    const ProcessState process = StateOf(view.process, options_.self);
    // A report is written once, so one probe of /proc has to do, where WhyLost() waits for a
    // second.
    if (process == ProcessState::kGone) view.state = PeerState::kDead;
    if (process == ProcessState::kStopped) view.state = PeerState::kStopped;
  }
  return views;
}

Status PeerWatch::Lost(int* rank) const {
  MutexLock lock(&mutex_);
  if (rank != nullptr) *rank = lost_rank_;
  return lost_;
}

JobView PeerWatch::View(bool probe) const {
  JobView job;
  job.ranks = Ranks(probe);
  job.own = rank();
  MutexLock lock(&mutex_);
  job.period_s = period();
  return job;
}

Endpoint PeerWatch::RootCauseOf(Endpoint peer, bool by_server) const {
  if (transport_ == nullptr) return {};
  return RootCause(View(/*probe=*/peer.rank == kAnyRank), peer, by_server);
}

std::string PeerWatch::Explain(Endpoint peer, bool by_server) const {
  if (transport_ == nullptr) return "";
  return CauseText(View(/*probe=*/true), peer, RootCauseOf(peer, by_server), by_server);
}

bool PeerWatch::PhaseAnnounced() const {
  MutexLock lock(&mutex_);
  if (!OwnLocked().phase.empty()) return true;
  // A silent rank is taken at its last word: if it does not come back, it is lost after the
  // silence.
  return std::any_of(peers_.begin(), peers_.end(), [](const PeerRecord& peer) {
    return peer.view.state != PeerState::kLeft && peer.view.state != PeerState::kFailed &&
           !peer.view.phase.empty();
  });
}

}  // namespace pepnet
