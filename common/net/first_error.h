// FirstError: keeps the first error of an object whose calls make no sense behind one: workers that
// no longer agree on what comes next. Every later call returns it.
//
// Threads: one at a time.
#pragma once

#include <type_traits>

#include "common/base/status.h"

namespace pepnet {

class FirstError {
 public:
  // OK: there is none.
  const Status& status() const { return status_; }

  // Returns the result of body() (Status or StatusOr), or the first error without calling it.
  // on_error() is called when that comes.
  template <typename Body, typename OnError>
  auto Guard(const Body& body, const OnError& on_error) -> decltype(body()) {
    if (!status_.ok()) return status_;
    auto result = body();
    if constexpr (std::is_same_v<decltype(result), Status>) {
      status_ = result;
    } else {
      status_ = result.status();
    }
    if (!status_.ok()) on_error();
    return result;
  }

 private:
  Status status_;
};

}  // namespace pepnet
