// The lookup of descriptions. Each header of this folder that has an enum of kinds
// (SparseOptimizerKind, LossKind, ...) also has one description per enumerator and an overload of
//
//     constexpr const LossType* FindType(LossKind kind);  // a switch without default
//
// The compiler refuses a switch that lacks an enumerator, so no kind goes without its description;
// a number that is no enumerator gives null. Enumerators count from 0 without gaps.
// docs/extending.md shows how a kind is added.
#pragma once

#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pepnet {

// The description of `kind`. A number that is no enumerator is a bug of the caller and ends the
// process.
template <typename Kind>
constexpr const auto& TypeOf(Kind kind) {
  const auto* type = FindType(kind);
  if (type == nullptr) std::abort();
  return *type;
}

// All enumerators, in their order.
template <typename Kind>
std::vector<Kind> AllKinds() {
  std::vector<Kind> kinds;
  for (int number = 0; FindType(static_cast<Kind>(number)) != nullptr; ++number) {
    kinds.push_back(static_cast<Kind>(number));
  }
  return kinds;
}

// The kind whose description holds `text` in `member`, for example &LossType::name. nullopt: there
// is none.
template <typename Kind, typename Type>
std::optional<Kind> FindKind(const char* const Type::*member, std::string_view text) {
  for (const Kind kind : AllKinds<Kind>()) {
    if (TypeOf(kind).*member == text) return kind;
  }
  return std::nullopt;
}

// "a, b and c" with `last` = " and ".
inline std::string JoinNames(const std::vector<std::string>& names, std::string_view last) {
  std::string text;
  for (size_t i = 0; i < names.size(); ++i) {
    if (i > 0) text += i + 1 < names.size() ? ", " : last;
    text += names[i];
  }
  return text;
}

// One text of all kinds, joined as JoinNames() does: what messages list as supported.
template <typename Kind, typename Type>
std::string ListOfKinds(const char* const Type::*member, std::string_view last) {
  std::vector<std::string> names;
  for (const Kind kind : AllKinds<Kind>()) names.emplace_back(TypeOf(kind).*member);
  return JoinNames(names, last);
}

}  // namespace pepnet
