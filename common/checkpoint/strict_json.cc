#include "common/checkpoint/strict_json.h"

#include "absl/strings/str_format.h"

#include "common/base/name_watch.h"
#include "common/base/text.h"

namespace pepnet {
namespace {

using nlohmann::json;

StatusOr<const json*> Member(const json& object, const char* name) {
  if (!object.is_object()) return absl::DataLossError("expected a JSON object");
  const auto found = object.find(name);
  if (found == object.end()) return absl::DataLossError(absl::StrCat("\"", name, "\" is missing"));
  return &*found;
}

}  // namespace

StatusOr<json> ParseStrictJson(const std::string& text) {
  PEPNET_RETURN_IF_ERROR(CheckJsonDepth(text));
  // nlohmann keeps the last of two members of one name, other parsers the first: a file that means
  // two things is refused.
  NameWatch<json> watch;
  try {
    json value = json::parse(text, watch.Callback());
    if (!watch.duplicate().empty()) {
      return absl::DataLossError(
          absl::StrCat("\"", Printable(watch.duplicate()), "\" is named twice"));
    }
    return value;
  } catch (const json::exception& error) {
    return absl::DataLossError(absl::StrCat("not valid JSON: ", JsonErrorText(error.what())));
  }
}

StatusOr<std::string> JsonString(const json& object, const char* name) {
  PEPNET_ASSIGN_OR_RETURN(const json* member, Member(object, name));
  if (!member->is_string()) {
    return absl::DataLossError(absl::StrCat("\"", name, "\" is not a string"));
  }
  return member->get<std::string>();
}

StatusOr<int64_t> JsonInteger(const json& object, const char* name, int64_t minimum,
                              int64_t maximum) {
  PEPNET_ASSIGN_OR_RETURN(const json* member, Member(object, name));
  if (!member->is_number_integer()) {
    return absl::DataLossError(absl::StrCat("\"", name, "\" is not an integer"));
  }
  // A value above 2^63 - 1 is stored unsigned and would wrap to a negative one.
  const bool too_large =
      member->is_number_unsigned() && member->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX);
  const int64_t value = too_large ? 0 : member->get<int64_t>();
  if (too_large || value < minimum || value > maximum) {
    return absl::DataLossError(absl::StrCat("\"", name, "\" is ", member->dump(), ", expected ",
                                            minimum, " to ", maximum));
  }
  return value;
}

StatusOr<uint64_t> JsonUnsigned(const json& object, const char* name) {
  PEPNET_ASSIGN_OR_RETURN(const json* member, Member(object, name));
  if (!member->is_number_unsigned()) {
    return absl::DataLossError(absl::StrCat("\"", name, "\" is not an unsigned integer"));
  }
  return member->get<uint64_t>();
}

StatusOr<uint32_t> JsonCrc32c(const json& object, const char* name) {
  PEPNET_ASSIGN_OR_RETURN(const std::string hex, JsonString(object, name));
  if (hex.size() != 8 || hex.find_first_not_of("0123456789abcdef") != std::string::npos) {
    return absl::DataLossError(absl::StrCat("\"", name, "\" is '", Printable(hex, 64),
                                            "', expected 8 lower-case hex digits"));
  }
  return static_cast<uint32_t>(std::stoul(hex, nullptr, 16));
}

std::string Crc32cToHex(uint32_t crc32c) { return absl::StrFormat("%08x", crc32c); }

StatusOr<std::string> DumpJson(const nlohmann::ordered_json& value) {
  try {
    return value.dump();
  } catch (const nlohmann::ordered_json::exception& error) {
    return InvalidInput("cannot be written as JSON: ", JsonErrorText(error.what()));
  }
}

}  // namespace pepnet
