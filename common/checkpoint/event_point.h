// EventPoint: a point of a job's event clock (ps/event_clock.h), as servers send and manifests keep
// it.
//
//   text: a JSON array of [step, time], one for each point
//
// Threads: no state.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/status.h"

namespace pepnet {

struct EventPoint {
  int64_t step = 0;  // the last one at whose end the clock showed `time`
  int64_t time = 0;  // seconds since 1970
  bool operator==(const EventPoint&) const = default;
};

// Event times are below this: 11 digits, the year 5138. Larger numbers are of another unit than
// seconds.
inline constexpr int64_t kEndOfEventTime = 100'000'000'000;

std::string EventPointsToJson(const std::vector<EventPoint>& points);
// DataLoss if the text is none, or if steps and times do not ascend: steps from 0 on, times from 1
// to kEndOfEventTime.
StatusOr<std::vector<EventPoint>> EventPointsFromJson(const std::string& json);

}  // namespace pepnet
