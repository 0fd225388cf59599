#include "common/checkpoint/event_point.h"

#include "common/checkpoint/strict_json.h"

namespace pepnet {

std::string EventPointsToJson(const std::vector<EventPoint>& points) {
  std::string json = "[";
  for (const EventPoint& point : points) {
    absl::StrAppend(&json, json.size() > 1 ? ", " : "", "[", point.step, ", ", point.time, "]");
  }
  return json + "]";
}

StatusOr<std::vector<EventPoint>> EventPointsFromJson(const std::string& json) {
  constexpr int64_t kMostSteps = int64_t{1} << 62;
  PEPNET_ASSIGN_OR_RETURN(const nlohmann::json list, ParseStrictJson(json));
  std::vector<EventPoint> points;
  const auto fits = [](const nlohmann::json& item, int64_t least, int64_t end) {
    // Above 2^63 - 1 a number is stored unsigned, and would turn negative.
    return item.is_number_integer() &&
           (!item.is_number_unsigned() || item.get<uint64_t>() < uint64_t{1} << 63) &&
           item.get<int64_t>() >= least && item.get<int64_t>() < end;
  };
  if (!list.is_array()) return absl::DataLossError("\"event_times\" is not a list");
  for (const nlohmann::json& item : list) {
    // The clock searches the points, so both members have to ascend.
    const int64_t least_step = points.empty() ? 0 : points.back().step + 1;
    const int64_t least_time = points.empty() ? 1 : points.back().time + 1;
    if (!item.is_array() || item.size() != 2 || !fits(item[0], least_step, kMostSteps) ||
        !fits(item[1], least_time, kEndOfEventTime)) {
      return absl::DataLossError(absl::StrCat(
          "\"event_times\" holds ", item.dump(), ", expected [step, time] with a step of at least ",
          least_step, " and a time from ", least_time, " to ", kEndOfEventTime - 1));
    }
    points.push_back({item[0].get<int64_t>(), item[1].get<int64_t>()});
  }
  return points;
}

}  // namespace pepnet
