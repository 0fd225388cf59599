// JSON from files: strict where nlohmann-json is lenient, and without exceptions.
//
// Only .cc files include this header, so that users of the checkpoint library do not need
// nlohmann-json.
#pragma once

#include <cstdint>
#include <string>

#include "nlohmann/json.hpp"

#include "common/base/status.h"

namespace pepnet {

// DataLoss if `text` is not one JSON value, nests deeper than kMaxJsonDepth (common/base/text.h),
// or if an object in it names a member twice.
StatusOr<nlohmann::json> ParseStrictJson(const std::string& text);

// Members of an object; DataLoss names the member that is missing or has another type or range.
StatusOr<std::string> JsonString(const nlohmann::json& object, const char* name);
StatusOr<int64_t> JsonInteger(const nlohmann::json& object, const char* name, int64_t minimum,
                              int64_t maximum);
StatusOr<uint64_t> JsonUnsigned(const nlohmann::json& object, const char* name);
// A crc32c, written as 8 lower-case hex digits.
StatusOr<uint32_t> JsonCrc32c(const nlohmann::json& object, const char* name);
std::string Crc32cToHex(uint32_t crc32c);

// `value` as one line of text; InvalidArgument if a string in it is not UTF-8.
StatusOr<std::string> DumpJson(const nlohmann::ordered_json& value);

}  // namespace pepnet
