// Parameter: one number, switch or choice of a described type. Configs, the wire and their checks
// go through lists of them, so that a parameter is written down once.
//
//     inline constexpr Parameter<Loss> kFocal[] = {
//         Number<&Loss::focal_gamma>("gamma", kNotNegative), ...};
//
// Values are doubles on their way: a switch is 0 or 1, a choice or a word is the number of its
// enumerator. The default of a parameter is that of its proto field.
#pragma once

#include <cmath>
#include <limits>
#include <map>
#include <span>
#include <string>

#include "common/base/status.h"

namespace pepnet {

// The legal values, and how a message calls them: "...; expected <expected>". Neither end may be
// infinite.
struct ValueRange {
  double low = 0;
  bool with_low = true;
  double high = 0;
  bool with_high = true;
  const char* expected = "";

  // False for NaN.
  constexpr bool Contains(double value) const {
    return (with_low ? value >= low : value > low) && (with_high ? value <= high : value < high);
  }
};

inline constexpr double kNoLimit = std::numeric_limits<double>::infinity();
inline constexpr ValueRange kNotNegative = {0, true, kNoLimit, false, "a number >= 0"};
inline constexpr ValueRange kPositive = {0, false, kNoLimit, false, "a number > 0"};
inline constexpr ValueRange kBelowOne = {0, true, 1, false, "0 <= value < 1"};
inline constexpr ValueRange kUpToOne = {0, true, 1, true, "0 <= value <= 1"};

// ParameterInfo describes a parameter to its config and to the wire.
struct ParameterInfo {
  // Proto fields of type float, uint32, bool, enum; a text that is one of the choices.
  enum class Form { kReal, kWhole, kSwitch, kChoice, kWord };
  const char* name = "";  // of the field in the type's proto message
  Form form = Form::kReal;
  ValueRange range;
  // kChoice, kWord: the names, in the order of the enumerators
  std::span<const char* const> choices;
  // A field that is absent leaves a note of the default that is used.
  bool told = false;

  bool Accepts(double value) const {
    return range.Contains(value) && (form == Form::kReal || value == std::floor(value));
  }
};

template <typename Owner>
struct Parameter : ParameterInfo {
  double (*get)(const Owner&) = nullptr;
  void (*set)(Owner*, double) = nullptr;
};

template <auto kMember>
struct MemberAccess;
template <typename Owner, typename Value, Value Owner::*kMember>
struct MemberAccess<kMember> {
  static double Get(const Owner& owner) { return static_cast<double>(owner.*kMember); }
  static void Set(Owner* owner, double value) { owner->*kMember = static_cast<Value>(value); }
  static constexpr Parameter<Owner> Make(const ParameterInfo& info) { return {info, &Get, &Set}; }
};

template <auto kMember>
constexpr auto Number(const char* name, const ValueRange& range, bool told = false) {
  return MemberAccess<kMember>::Make({name, ParameterInfo::Form::kReal, range, {}, told});
}
template <auto kMember>
constexpr auto WholeNumber(const char* name, const ValueRange& range) {
  return MemberAccess<kMember>::Make({name, ParameterInfo::Form::kWhole, range, {}});
}
template <auto kMember>
constexpr auto Switch(const char* name) {
  return MemberAccess<kMember>::Make(
      {name, ParameterInfo::Form::kSwitch, {0, true, 1, true, "0 or 1"}, {}});
}
template <auto kMember>
constexpr auto Choice(const char* name, std::span<const char* const> choices) {
  const ValueRange range = {0, true, static_cast<double>(choices.size()) - 1, true,
                            "the number of one of its values"};
  return MemberAccess<kMember>::Make({name, ParameterInfo::Form::kChoice, range, choices});
}

template <auto kMember>
constexpr auto Word(const char* name, std::span<const char* const> choices, const char* expected) {
  const ValueRange range = {0, true, static_cast<double>(choices.size()) - 1, true, expected};
  return MemberAccess<kMember>::Make({name, ParameterInfo::Form::kWord, range, choices});
}

// A Finding tells an oddity of parameters that are each in their range.
struct Finding {
  bool is_error = false;  // else a note: the config is accepted
  const char* field = "";
  std::string text;
};

// name -> value of all parameters: the form in which they travel.
template <typename Owner>
std::map<std::string, double> ParameterValues(std::span<const Parameter<Owner>> parameters,
                                              const Owner& owner) {
  std::map<std::string, double> values;
  for (const Parameter<Owner>& parameter : parameters) {
    values[parameter.name] = parameter.get(owner);
  }
  return values;
}

// The way back. Error: a parameter is absent, out of range, or not one of the list.
template <typename Owner>
Status SetParameters(std::span<const Parameter<Owner>> parameters,
                     std::map<std::string, double> values, Owner* owner) {
  for (const Parameter<Owner>& parameter : parameters) {
    const auto found = values.find(parameter.name);
    if (found == values.end()) return InvalidInput(parameter.name, " is missing");
    if (!parameter.Accepts(found->second)) {
      return InvalidInput(parameter.name, " is ", found->second, ", expected ",
                          parameter.range.expected);
    }
    parameter.set(owner, found->second);
    values.erase(found);
  }
  if (!values.empty()) return InvalidInput("there is no parameter ", values.begin()->first);
  return absl::OkStatus();
}

}  // namespace pepnet
