#include "cli/commands/init.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"

namespace pepnet {
namespace {

namespace fs = std::filesystem;

// The folder `python` of the sources that the program was built in; empty: there are none. The
// build directory may lie anywhere below the sources, so all folders above the program are tried.
fs::path PackageFolder(const fs::path& program) {
  std::error_code error;
  for (fs::path folder = program.parent_path(); folder.has_relative_path();
       folder = folder.parent_path()) {
    if (fs::exists(folder / "python/pepnet_trainer/command.py", error)) return folder / "python";
  }
  return {};
}

// PEPNET_PYTHON, else the environment that the set-up made beside the package, else python3 of the
// path.
std::string Interpreter(const fs::path& package_folder) {
  if (const char* const chosen = std::getenv("PEPNET_PYTHON");
      chosen != nullptr && *chosen != '\0') {
    return chosen;
  }
  const fs::path beside = package_folder.parent_path() / ".venv/bin/python3";
  return access(beside.c_str(), X_OK) == 0 ? beside.string() : "python3";
}

}  // namespace

// The process becomes Python and does not come back: status, signals and terminal are init's own.
Status BecomeInit(int argc, char** argv) {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  const fs::path package_folder = error ? fs::path() : PackageFolder(program);
  if (package_folder.empty()) {
    return absl::NotFoundError(
        "init is a command of the Python package pepnet_trainer, which does not stand beside this "
        "program; install its "
        "wheel (docs/python.md), whose pepnet has init");
  }
  const char* const path = std::getenv("PYTHONPATH");
  const std::string folders = absl::StrCat(
      package_folder.string(), path != nullptr && *path != '\0' ? absl::StrCat(":", path) : "");
  setenv("PYTHONPATH", folders.c_str(), 1);
  setenv("PEPNET_BINARY", program.c_str(), 1);  // checks what it has written with this very program
  // execvp() wants pointers to char, which strings of our own give.
  std::string interpreter = Interpreter(package_folder);
  std::string option = "-c", call = "from pepnet_trainer.command import init; init()";
  std::vector<char*> words = {interpreter.data(), option.data(), call.data()};
  for (int i = 2; i < argc; ++i) words.push_back(argv[i]);
  words.push_back(nullptr);
  execvp(words[0], words.data());
  return absl::UnavailableError(absl::StrCat(
      "init needs Python, but ", interpreter,
      " cannot be started: ", std::error_code(errno, std::generic_category()).message(),
      "; PEPNET_PYTHON chooses another"));
}

}  // namespace pepnet
