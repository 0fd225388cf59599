// Threads that start and end in a sentence: what would end the process in std::terminate becomes an
// error.
//
//     std::thread writer =
//         StartThread("write", [this] { status_ = Caught([&] { return WriteAll(); }); });
//
// StartThread: std::thread under a name (at most 15 letters, for debuggers and traces). Failure:
//   where the system has no further thread, throws std::runtime_error with what to raise; who has
//   started others ends them first. Caught(), or main at the latest, makes a Status of it.
// Caught: what `body` returns, a Status or StatusOr; an exception (memory, a thread, one of a
// library) as a Status.
#pragma once

#include <pthread.h>

#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "common/base/status.h"

namespace pepnet {

// To be called from a catch block.
inline Status CurrentExceptionStatus() {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        "there is not enough memory; the machine, a container or ulimit -v allows no more");
  } catch (const std::length_error& error) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "there is not enough memory: a size is beyond all limits (", error.what(), ")"));
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());
  }
}

template <typename Body>
auto Caught(Body&& body) -> decltype(body()) {
  try {
    return body();
  } catch (const std::exception&) {
    return CurrentExceptionStatus();
  }
}

template <typename Body>
std::thread StartThread(const std::string& name, Body&& body) {
  try {
    return std::thread([name, body = std::forward<Body>(body)]() mutable {
      pthread_setname_np(pthread_self(), name.c_str());
      body();
    });
  } catch (const std::system_error& error) {
    throw std::runtime_error(
        absl::StrCat("cannot start the thread \"", name, "\": ", error.code().message(),
                     "; raise the number of processes and threads that this user or container "
                     "may have (ulimit -u, pids limit) or its memory (ulimit -v)"));
  }
}

}  // namespace pepnet
