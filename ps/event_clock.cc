#include "ps/event_clock.h"

#include <algorithm>
#include <utility>

namespace pepnet {

EventClock::EventClock(int64_t max_jump_seconds, const std::vector<int64_t>& ttl_seconds)
    : max_jump_(max_jump_seconds) {
  constexpr int64_t kParts = 64, kHour = 3600;
  int64_t shortest = 0;
  for (const int64_t ttl : ttl_seconds) {
    if (ttl == 0) continue;
    shortest = shortest == 0 ? ttl : std::min(shortest, ttl);
    longest_ttl_ = std::max(longest_ttl_, ttl);
  }
  // Points are kept without a time to live as well: a resumed run whose config sets one finds them
  // in the checkpoint.
  spacing_ = shortest == 0 ? kHour : shortest / kParts;
}

void EventClock::Advance(int64_t step, int64_t time) {
  if (points_.empty()) {
    if (time > 0) points_.push_back({step, time});
    return;
  }
  const int64_t before = now();
  // One row dated years ahead would otherwise expire whole tables. A true jump, as after a gap in
  // the data, is caught up with step by step.
  if (time - before > max_jump_) {
    time = before + max_jump_;
    ++limited_steps_;
  }
  const size_t count = points_.size();
  // The clock stands still (late or undated rows): this is now the last step that ended at that
  // time.
  if (time <= before) {
    points_.back().step = step;
  } else if (count >= 2 && time - points_[count - 2].time <= spacing_) {
    // The last point gives way to this one. Rows that it dated now count as named at `time`, which
    // is later by no more than the spacing: they leave late, never early.
    points_.back() = {step, time};
  } else {
    points_.push_back({step, time});
  }
  Thin();
}

void EventClock::Restore(std::vector<EventPoint> points) { points_ = std::move(points); }

// Thinning looks at the points alone, so that a run that stops goes on with the same ones.
void EventClock::Thin() {
  if (longest_ttl_ > 0) {
    const auto needed = std::find_if(points_.begin(), points_.end(), [&](const EventPoint& point) {
      return point.time > now() - longest_ttl_;
    });
    // The last point before them is that of the rows that are to leave.
    if (needed - points_.begin() > 1) points_.erase(points_.begin(), needed - 1);
  }
  if (points_.size() <= kMostPoints) return;
  const auto gap = [this](size_t i) {  // that the point leaves, as a part of its age
    return static_cast<double>(points_[i + 1].time - points_[i - 1].time) /
           static_cast<double>(now() - points_[i].time);
  };
  // The last two stay: the last is the time now, and Advance() measures the spacing from the one
  // before.
  size_t dropped = 1;
  for (size_t i = 2; i + 2 < points_.size(); ++i) {
    if (gap(i) < gap(dropped)) dropped = i;
  }
  points_.erase(points_.begin() + static_cast<ptrdiff_t>(dropped));
}

int64_t EventClock::LastStepBefore(const std::vector<EventPoint>& points, int64_t ttl_seconds) {
  if (points.empty() || ttl_seconds == 0) return -1;
  // A point holds the last step that ended at its time, so rows that no later step has named are at
  // least that old.
  const int64_t until = points.back().time - ttl_seconds;
  const auto later =
      std::upper_bound(points.begin(), points.end(), until,
                       [](int64_t time, const EventPoint& point) { return time < point.time; });
  return later == points.begin() ? -1 : (later - 1)->step;
}

}  // namespace pepnet
