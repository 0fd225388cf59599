#include "common/health/rank_status.h"

#include "absl/strings/match.h"

namespace pepnet {
namespace {

double Seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace

void RankStatus::SetStep(int64_t step) {
  MutexLock lock(&mutex_);
  step_ = step;
}

void RankStatus::Expect(int rank) {
  MutexLock lock(&mutex_);
  expected_ = rank;
}

RankStatus::WaitView RankStatus::ViewOf(const OpenWait& wait, int expected) {
  // A server waits for any request; Expect() has said whose is missing, which is what others want
  // to know.
  const Clock::time_point now = Clock::now();
  return {wait.what, wait.peer == kAnyRank ? expected : wait.peer, Seconds(now - wait.start),
          Seconds(now - wait.deadline), wait.on_server};
}

RankStatus::View RankStatus::view() const {
  MutexLock lock(&mutex_);
  View view;
  view.step = step_;
  if (!phases_.empty()) view.phase = phases_.back();
  for (const OpenWait& wait : waits_) view.waits.push_back(ViewOf(wait, expected_));
  return view;
}

std::optional<RankStatus::WaitView> RankStatus::FailedWait(absl::string_view error) const {
  MutexLock lock(&mutex_);
  // Errors get context on their way up, so the text of the wait is a part of the final one. The
  // latest comes first: waits may fail and be tried again.
  for (auto it = failed_.rbegin(); it != failed_.rend(); ++it) {
    if (absl::StrContains(error, it->first)) return it->second;
  }
  return std::nullopt;
}

RankStatus::Phase::Phase(RankStatus* status, const std::string& name) : status_(status) {
  if (status_ == nullptr) return;
  MutexLock lock(&status_->mutex_);
  status_->phases_.push_back(name);
}

RankStatus::Phase::~Phase() {
  if (status_ == nullptr) return;
  MutexLock lock(&status_->mutex_);
  status_->phases_.pop_back();
}

RankStatus::Wait::Wait(RankStatus* status, int peer, Deadline deadline, const std::string& what,
                       bool on_server)
    : status_(status) {
  if (status_ == nullptr) return;
  MutexLock lock(&status_->mutex_);
  entry_ = status_->waits_.insert(status_->waits_.end(),
                                  OpenWait{what, peer, Clock::now(), deadline, on_server});
}

RankStatus::Wait::~Wait() {
  if (status_ == nullptr) return;
  MutexLock lock(&status_->mutex_);
  status_->waits_.erase(entry_);
}

void RankStatus::Wait::Extend(Clock::duration by) {
  if (status_ == nullptr) return;
  MutexLock lock(&status_->mutex_);
  // The start moves as well as the deadline, so that the time waited is time in which this process
  // ran.
  entry_->start += by;
  entry_->deadline += by;
}

RankStatus::WaitView RankStatus::Wait::view() const {
  if (status_ == nullptr) return {};
  MutexLock lock(&status_->mutex_);
  return ViewOf(*entry_, status_->expected_);
}

void RankStatus::Wait::Fail(const Status& error) {
  constexpr size_t kKept = 8;
  if (status_ == nullptr) return;
  MutexLock lock(&status_->mutex_);
  status_->failed_.emplace_back(std::string(error.message()), ViewOf(*entry_, status_->expected_));
  if (status_->failed_.size() > kKept) status_->failed_.pop_front();
}

}  // namespace pepnet
