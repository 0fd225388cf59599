// Numbers in the JSON that a run writes: null where there is none, or none that JSON has (NaN,
// infinity).
#pragma once

#include <cmath>
#include <optional>

#include "nlohmann/json.hpp"

namespace pepnet {

inline nlohmann::ordered_json JsonNumber(const std::optional<double>& value) {
  if (value.has_value() && std::isfinite(*value)) return *value;
  return nullptr;
}

}  // namespace pepnet
