#include "tests/support/process.h"

#include <sys/wait.h>

#include <cstdlib>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/file/file.h"
#include "tests/support/paths.h"
#include "tests/support/temporary_directory.h"

namespace pepnet {

std::string ProcessResult::Cause() const {
  std::string cause;
  for (absl::string_view line : absl::StrSplit(err, '\n', absl::SkipWhitespace())) {
    if (line.find("pepnet: ") == 0 || line.find("pepnet_ps: ") == 0) cause = std::string(line);
  }
  return cause;
}

ProcessResult RunShell(const std::string& command, int limit_s) {
  TemporaryDirectory directory;
  const std::string script =
      absl::StrCat("export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1\n",
                   "PEPNET=", BinaryDir(), "/pepnet\n", "PEPNET_PS=", BinaryDir(), "/pepnet_ps\n",
                   "MPIRUN='mpirun --oversubscribe --bind-to none'\n", command, "\n");
  if (!WriteFileAtomically(directory / "script.sh", script).ok()) return {};
  const int status =
      std::system(absl::StrCat("timeout -k 5 ", limit_s, " bash ", directory / "script.sh", " >",
                               directory / "out", " 2>", directory / "err", " </dev/null")
                      .c_str());
  ProcessResult result;
  result.exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  result.out = ReadFile(directory / "out").value_or("");
  result.err = ReadFile(directory / "err").value_or("");
  return result;
}

}  // namespace pepnet
