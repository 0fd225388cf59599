// A text cell cut into its tokens, or into the elements of a sequence.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace pepnet {

// Calls add(token), which returns Status, for every token of `text`; empty tokens are skipped.
template <typename Add>
Status ForEachToken(std::string_view text, const std::string& separator, Add add) {
  while (!text.empty()) {
    const size_t stop =
        separator.empty() ? text.size() : std::min(text.find(separator), text.size());
    if (stop > 0) PEPNET_RETURN_IF_ERROR(add(text.substr(0, stop)));
    text.remove_prefix(std::min(text.size(), stop + separator.size()));
  }
  return absl::OkStatus();
}

// Calls add(text), which returns Status, for each element of a text, empty ones too; an empty text
// is one of them.
template <typename Add>
Status ForEachElement(std::string_view text, const std::string& delimiter, Add add) {
  for (;;) {
    const size_t stop = std::min(text.find(delimiter), text.size());
    PEPNET_RETURN_IF_ERROR(add(text.substr(0, stop)));
    if (stop == text.size()) return absl::OkStatus();
    text.remove_prefix(stop + delimiter.size());
  }
}

}  // namespace pepnet
