// Where libtorch's exceptions end. Internal to this folder: includes torch.
#pragma once

#include <c10/util/Exception.h>

#include <exception>
#include <string>

#include "common/base/status.h"

namespace pepnet {

inline std::string FirstLine(const std::string& text) { return text.substr(0, text.find('\n')); }

// Runs `body`, which returns a StatusOr; an exception of libtorch becomes Internal.
template <typename Body>
auto Guarded(const char* doing, Body body) -> decltype(body()) {
  try {
    return body();
  } catch (const c10::Error& error) {
    return absl::InternalError(absl::StrCat(doing, ": libtorch: ", FirstLine(error.what_without_backtrace())));
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat(doing, ": ", FirstLine(error.what())));
  }
}

}  // namespace pepnet
