// The contract of every Transport, as bodies that all ranks of a job run together: threads over the
// in-process hub, processes over MPI. A body returns an error that says what went wrong on its
// rank.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/net/transport.h"

namespace pepnet {

struct RankCase {
  std::string name;
  std::function<Status(Transport*)> body;
};

// `split_bytes`: where the transport cuts a message in pieces (any size if it does not).
std::vector<RankCase> TransportCases(size_t split_bytes);

// Runs the body, then lets the ranks wait for each other, so that no message of one case reaches
// the next one.
Status RunCase(const RankCase& rank_case, Transport* transport);

// A body of `bytes` bytes that depends on (from, to, number), and the check that a received one is
// exactly it.
Bytes PatternBody(int from, int to, uint64_t number, size_t bytes);
Status CheckPattern(const Message& message, int from, int to, uint64_t number, size_t bytes);

}  // namespace pepnet

// For rank bodies, where gtest's macros cannot return from a thread: an error with the text of the
// condition.
#define PEPNET_REQUIRE(condition, ...)                                                      \
  do {                                                                                      \
    if (!(condition))                                                                       \
      return absl::InternalError(absl::StrCat("not true: " #condition " ", ##__VA_ARGS__)); \
  } while (false)
