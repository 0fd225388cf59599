// Numbers of all workers on worker 0, as the bytes that a collective carries.
// Threads: as Collective.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/net/collective.h"

namespace pepnet {

template <typename Number>
std::string BytesOf(const std::vector<Number>& numbers) {
  return std::string(reinterpret_cast<const char*>(numbers.data()),
                     numbers.size() * sizeof(Number));
}

// Internal if the bytes are no whole numbers; `what` says in the message what they are.
template <typename Number>
Status AppendBytes(const std::string& bytes, const std::string& what,
                   std::vector<Number>* numbers) {
  if (bytes.size() % sizeof(Number) != 0) {
    return absl::InternalError(absl::StrCat(what, ": ", bytes.size(), " bytes"));
  }
  const size_t before = numbers->size();
  numbers->resize(before + bytes.size() / sizeof(Number));
  if (!bytes.empty()) std::memcpy(numbers->data() + before, bytes.data(), bytes.size());
  return absl::OkStatus();
}

// Worker 0's numbers get those of the others behind them, in worker order; those of the others are
// empty afterwards. A collective operation.
template <typename Number>
Status GatherNumbers(Collective* collective, const std::string& what,
                     std::vector<Number>* numbers) {
  const bool first = collective->index() == 0;
  std::string mine;
  if (!first) {
    mine = BytesOf(*numbers);
    *numbers = {};
  }
  PEPNET_ASSIGN_OR_RETURN(std::vector<std::string> parts, collective->GatherToFirst(mine, what));
  for (std::string& part : parts) {
    PEPNET_RETURN_IF_ERROR(AppendBytes(part, what, numbers));
    part = std::string();  // two copies of one worker's numbers at a time, not of all
  }
  return absl::OkStatus();
}

}  // namespace pepnet
