// EventClock: the event time of a job, step by step, and until which step rows were last named too
// long ago.
//
// Time:     of a step is the latest event time of all its rows, but never earlier than that of the
//           step before, and later by at most `max_jump_seconds`: a row with a wrong date moves the
//           clock no further. The first step that has a time sets it.
// Points:   (step, time): at the end of `step`, and of no later one, the clock showed `time`. Not
//           all are kept: a time between two kept ones counts as the later of them. Neighbours are
//           at most a 64th of the shortest time to live of the job apart, unless one step moved on
//           by more, so that rows leave so much late at most, and never early. Beyond kMostPoints
//           the one goes that leaves the smallest gap beside its age.
// Order:    the points are a function of the steps' times alone, so all servers have the same, for
//           any number of workers.
// Threads:  one.
#pragma once

#include <cstdint>
#include <vector>

#include "common/checkpoint/event_point.h"

namespace pepnet {

class EventClock {
 public:
  static constexpr size_t kMostPoints = 4096;

  // `ttl_seconds`: of the tables of a job, 0: a table without one. Without any the points are an
  // hour apart.
  EventClock(int64_t max_jump_seconds, const std::vector<int64_t>& ttl_seconds);

  // Step `step` is about to be applied; `time` is the latest of its rows, 0: none has one. Steps
  // ascend.
  void Advance(int64_t step, int64_t time);
  // Goes on from the points of a checkpoint.
  void Restore(std::vector<EventPoint> points);

  // The time now; 0: no row has had one.
  int64_t now() const { return points_.empty() ? 0 : points_.back().time; }
  // Rows whose last step is this or an earlier one were last named `ttl_seconds` ago or earlier;
  // -1: none.
  int64_t LastStepBefore(int64_t ttl_seconds) const { return LastStepBefore(points_, ttl_seconds); }
  // The same for the points of a checkpoint.
  static int64_t LastStepBefore(const std::vector<EventPoint>& points, int64_t ttl_seconds);

  const std::vector<EventPoint>& points() const { return points_; }
  // Steps that would have moved the clock on by more than the limit, since the start of the server.
  int64_t limited_steps() const { return limited_steps_; }

 private:
  void Thin();

  int64_t max_jump_, spacing_;
  int64_t longest_ttl_ = 0;  // points that it no longer needs are dropped; 0: none is
  std::vector<EventPoint> points_;
  int64_t limited_steps_ = 0;
};

}  // namespace pepnet
