// Runs the built binaries as a user would: real processes, under mpirun where asked.
#pragma once

#include <string>
#include <vector>

namespace pepnet {

struct ProcessResult {
  int exit_status = -1;  // 124: it outlasted the limit and was killed
  std::string out, err;
  // The last non-empty line of stderr that is not mpirun's own: the cause, by the project's rule.
  std::string Cause() const;
};

// Runs a shell command line; $PEPNET and $PEPNET_PS are the binaries, $MPIRUN is mpirun with the
// options every test needs.
ProcessResult RunShell(const std::string& command, int limit_s = 120);

}  // namespace pepnet
