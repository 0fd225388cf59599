// Status at every boundary: what comes from outside (file, network, config, user, MPI) returns
// absl::Status or absl::StatusOr<T>; what can only be our own bug is a CHECK. Context is added on
// the way up, cause last.
#pragma once

#include <cstdio>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace pepnet {

using absl::Status;
using absl::StatusOr;

// Errors of the user's input: config, flags, data. The message names the value seen, the value
// expected, what to do.
template <typename... Args>
Status InvalidInput(const Args&... args) {
  return absl::InvalidArgumentError(absl::StrCat(args...));
}

// `status` with "context: " in front of its message; an OK status stays OK. Payloads are lost, so
// StoppedOnRequest() (common/process/stop_signal.h) goes up without it.
inline Status Annotate(const Status& status, const std::string& context) {
  if (status.ok()) return status;
  return Status(status.code(), absl::StrCat(context, ": ", status.message()));
}

// Writes to stderr that the error passes this line on its way up: what PEPNET_PASSES_ON does in a
// build with -DPEPNET_STATUS_LOCATIONS=ON.
inline void TellWhereItPasses(const Status& error, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: passes on: %s\n", file, line, std::string(error.message()).c_str());
}

}  // namespace pepnet

#ifdef PEPNET_STATUS_LOCATIONS
#define PEPNET_PASSES_ON(error) ::pepnet::TellWhereItPasses(error, __FILE__, __LINE__)
#else
#define PEPNET_PASSES_ON(error) static_cast<void>(0)
#endif

#define PEPNET_CONCAT_INNER(a, b) a##b
#define PEPNET_CONCAT(a, b) PEPNET_CONCAT_INNER(a, b)

// Returns from the enclosing function if `expr` is not OK.
#define PEPNET_RETURN_IF_ERROR(expr)                                  \
  do {                                                                \
    if (::absl::Status pepnet_status = (expr); !pepnet_status.ok()) { \
      PEPNET_PASSES_ON(pepnet_status);                                \
      return pepnet_status;                                           \
    }                                                                 \
  } while (false)

// PEPNET_ASSIGN_OR_RETURN(auto x, F()): declares x, or returns F's error.
#define PEPNET_ASSIGN_OR_RETURN(lhs, expr) \
  PEPNET_ASSIGN_OR_RETURN_IMPL(PEPNET_CONCAT(pepnet_statusor_, __LINE__), lhs, expr)
#define PEPNET_ASSIGN_OR_RETURN_IMPL(var, lhs, expr) \
  auto var = (expr);                                 \
  if (!var.ok()) {                                   \
    PEPNET_PASSES_ON(var.status());                  \
    return var.status();                             \
  }                                                  \
  lhs = std::move(var).value()
