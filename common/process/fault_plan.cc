#include "common/process/fault_plan.h"

#include <algorithm>
#include <cctype>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace pepnet {
namespace {

// A kind of fault and the keys that it takes; any other key is an error, or a test would believe in
// a fault that never comes.
struct KindRule {
  const char* name;
  FaultKind kind;
  std::vector<std::string> keys;  // beside rank
};

const std::vector<KindRule>& Kinds() {
  static const std::vector<KindRule> kinds = {
      {"kill", FaultKind::kKill, {"step", "point", "nth", "path"}},
      {"stop", FaultKind::kStop, {"step"}},
      {"fail-write", FaultKind::kFailWrite, {"nth", "path"}},
      {"fail-fsync", FaultKind::kFailSync, {"nth", "path"}},
      {"fail-rename", FaultKind::kFailRename, {"nth", "path"}},
      {"enospc", FaultKind::kDiskFull, {"after", "path"}},
      {"bitflip", FaultKind::kBitFlip, {"nth", "bit", "path"}},
      {"delay", FaultKind::kDelay, {"max_ms", "seed", "step"}},
      {"drop-reply", FaultKind::kDropReply, {"nth"}},
  };
  return kinds;
}

// The moments of a file operation at which a process may die: before and after each, and within a
// write.
const std::vector<std::string>& KillPoints() {
  static const std::vector<std::string> points = {"before_write", "mid_write",   "after_write",
                                                  "before_fsync", "after_fsync", "before_rename",
                                                  "after_rename"};
  return points;
}

StatusOr<int64_t> Number(const std::string& key, const std::string& value, int64_t least) {
  int64_t number = 0;
  if (!absl::SimpleAtoi(value, &number) || number < least) {
    return InvalidInput(key, "=", value, ": expected a whole number of at least ", least);
  }
  return number;
}

// "1MB", "64k", "100": bytes.
StatusOr<int64_t> ByteCount(const std::string& key, const std::string& value) {
  size_t digits = 0;
  while (digits < value.size() && std::isdigit(static_cast<unsigned char>(value[digits]))) ++digits;
  std::string unit = absl::AsciiStrToUpper(value.substr(digits));
  if (!unit.empty() && unit.back() == 'B') unit.pop_back();
  // The place of the unit is its power of 1024; the blank stands for none.
  const std::string units = " KMG";
  const size_t power = unit.empty() ? 0 : unit.size() == 1 ? units.find(unit) : std::string::npos;
  int64_t number = 0;
  if (power >= units.size() || !absl::SimpleAtoi(value.substr(0, digits), &number) ||
      number > int64_t{1} << 30) {
    return InvalidInput(key, "=", value, ": expected a size like 4096, 64k or 1MB");
  }
  // The product is at most 2^30 << 30, which fits.
  return number << (10 * power);
}

Status SetKey(const std::string& key, const std::string& value, Fault* fault) {
  if (key == "path") {
    fault->path = value;
    return value.empty() ? InvalidInput("path=: expected a part of a path") : absl::OkStatus();
  }
  if (key == "point") {
    fault->point = value;
    const auto& points = KillPoints();
    if (std::find(points.begin(), points.end(), value) != points.end()) return absl::OkStatus();
    return InvalidInput("point=", value, ": known points are ", absl::StrJoin(points, ", "));
  }
  if (key == "after") {
    PEPNET_ASSIGN_OR_RETURN(fault->after_bytes, ByteCount(key, value));
    return absl::OkStatus();
  }
  // Steps and calls are counted from 1; ranks, bits and seeds from 0.
  PEPNET_ASSIGN_OR_RETURN(const int64_t number,
                          Number(key, value, key == "nth" || key == "step" ? 1 : 0));
  if (key == "rank") fault->rank = static_cast<int>(number);
  if (key == "step") fault->step = number;
  if (key == "nth") fault->nth = number;
  if (key == "bit") fault->bit = number;
  if (key == "max_ms") fault->max_ms = number;
  if (key == "seed") fault->seed = static_cast<uint64_t>(number);
  return absl::OkStatus();
}

// A kill is by step or by a moment of a file operation, and not both: two conditions would need a
// rule for which one counts.
Status CheckComplete(const Fault& fault) {
  if (fault.kind == FaultKind::kKill && (fault.step < 0) == fault.point.empty()) {
    return InvalidInput("expected either step=S or point=P (", absl::StrJoin(KillPoints(), ", "),
                        ")");
  }
  if (fault.kind == FaultKind::kStop && fault.step < 0) return InvalidInput("expected step=S");
  if (fault.kind == FaultKind::kDelay && fault.max_ms <= 0) {
    return InvalidInput("expected max_ms of at least 1");
  }
  return absl::OkStatus();
}

StatusOr<Fault> ParseFault(const std::string& text) {
  // The grammar of the header: name ":" key "=" value { "," key "=" value }. A path may hold colons
  // and equal signs.
  const std::vector<std::string> halves = absl::StrSplit(text, absl::MaxSplits(':', 1));
  const std::string name(absl::StripAsciiWhitespace(halves[0]));
  const auto& kinds = Kinds();
  const auto rule = std::find_if(kinds.begin(), kinds.end(),
                                 [&](const KindRule& kind) { return name == kind.name; });
  if (rule == kinds.end()) {
    const auto add_name = [](std::string* out, const KindRule& kind) { out->append(kind.name); };
    return InvalidInput("there is no fault '", name, "'; known are ",
                        absl::StrJoin(kinds, ", ", add_name));
  }
  Fault fault;
  fault.kind = rule->kind;
  fault.text = text;
  const std::vector<std::string> pairs =
      absl::StrSplit(halves.size() > 1 ? halves[1] : "", ',', absl::SkipWhitespace());
  for (const std::string& pair : pairs) {
    const std::vector<std::string> parts = absl::StrSplit(pair, absl::MaxSplits('=', 1));
    const std::string key(absl::StripAsciiWhitespace(parts[0]));
    if (key != "rank" && std::find(rule->keys.begin(), rule->keys.end(), key) == rule->keys.end()) {
      return InvalidInput("there is no key '", key, "'; known are rank, ",
                          absl::StrJoin(rule->keys, ", "));
    }
    if (parts.size() < 2) return InvalidInput("key '", key, "' has no value; write ", key, "=...");
    PEPNET_RETURN_IF_ERROR(SetKey(key, std::string(absl::StripAsciiWhitespace(parts[1])), &fault));
  }
  PEPNET_RETURN_IF_ERROR(CheckComplete(fault));
  return fault;
}

}  // namespace

// Faults of all ranks stand in one text, which every rank parses: a mistake ends the job
// everywhere.
StatusOr<std::vector<Fault>> ParseFaultPlan(const std::string& text) {
  std::vector<Fault> plan;
  const std::vector<std::string> parts = absl::StrSplit(text, ';', absl::SkipWhitespace());
  for (const std::string& part : parts) {
    StatusOr<Fault> fault = ParseFault(std::string(absl::StripAsciiWhitespace(part)));
    if (!fault.ok()) return Annotate(fault.status(), absl::StrCat("--inject \"", part, "\""));
    plan.push_back(*std::move(fault));
  }
  return plan;
}

}  // namespace pepnet
