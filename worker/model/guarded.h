// The boundary at which libtorch's exceptions end. Internal to this folder: includes torch.
#pragma once

#include <c10/util/Exception.h>

#include <exception>
#include <string>
#include <utility>

#include "common/base/status.h"

namespace pepnet {

inline std::string FirstLine(const std::string& text) { return text.substr(0, text.find('\n')); }

// Carries an error of ours through libtorch, out of a function of autograd.
class StatusError : public std::exception {
 public:
  explicit StatusError(Status status) : status_(std::move(status)), text_(status_.message()) {}
  const Status& status() const { return status_; }
  const char* what() const noexcept override { return text_.c_str(); }

 private:
  const Status status_;
  const std::string text_;
};

// Runs `body`, which returns a StatusOr; an exception of libtorch becomes Internal.
template <typename Body>
auto Guarded(const char* doing, Body body) -> decltype(body()) {
  try {
    return body();
  } catch (const StatusError& error) {
    return error.status();
  } catch (const c10::Error& error) {
    return absl::InternalError(
        absl::StrCat(doing, ": libtorch: ", FirstLine(error.what_without_backtrace())));
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat(doing, ": ", FirstLine(error.what())));
  }
}

}  // namespace pepnet
