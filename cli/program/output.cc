#include "cli/program/output.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <iostream>

namespace pepnet {

void HoldStandardStreams() {
  // A reader that went away or a file at its limit is an error of the write, with a sentence, not
  // the end of the process.
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  for (int stream = 0; stream <= 2; ++stream) {
    if (fcntl(stream, F_GETFD) >= 0 || errno != EBADF) continue;
    // The lowest free number, which is `stream`.
    if (open("/dev/null", stream == STDOUT_FILENO ? O_RDONLY : O_RDWR) < 0) return;
  }
}

Status CheckStandardOutput() {
  errno = 0;
  std::cout.flush();
  const bool flushed = std::fflush(stdout) == 0;
  const int reason = errno;
  if (flushed && std::cout.good() && std::ferror(stdout) == 0) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("cannot write the result to standard output",
                   reason != 0 ? absl::StrCat(": ", std::strerror(reason)) : ""));
}

}  // namespace pepnet
