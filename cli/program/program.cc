#include "cli/program/program.h"

#include <limits.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <utility>

#include "absl/strings/numbers.h"
#include "cli/program/arguments.h"
#include "cli/program/output.h"
#include "common/base/logging.h"
#include "common/base/mutex.h"
#include "common/base/screen.h"
#include "common/base/text.h"
#include "common/base/threads.h"
#include "common/process/keep_freed_memory.h"

namespace pepnet {
namespace {

constexpr int kFailedExitStatus = 1;
constexpr int kUsageExitStatus = 2;

// Before any library begins: where the current directory has been removed, MKL's own start ends the
// process with a word about a library that cannot be loaded.
__attribute__((no_sanitize("address", "undefined", "thread"))) void CheckCurrentDirectory() {
  static char path[PATH_MAX];
  if (syscall(SYS_getcwd, path, sizeof(path)) >= 0 || errno != ENOENT) return;
  static constexpr char kWords[] =
      "pepnet: the current directory does not exist any more; change to one that does\n";
  (void)!write(STDERR_FILENO, kWords, sizeof(kWords) - 1);
  _exit(kFailedExitStatus);
}

__attribute__((section(".preinit_array"),
               used)) void (*const check_current_directory)() = &CheckCurrentDirectory;

}  // namespace

Program::Program(std::string name, const char* argv0) : name_(std::move(name)) {
  HoldStandardStreams();
  KeepFreedMemory();
  InitLogging(argv0, "");
}

Program::~Program() = default;

void Program::Parse(CLI::App* app, int argc, const char* const* argv) {
  app->set_version_flag("--version", PEPNET_VERSION);
  app->failure_message(CLI::FailureMessage::simple);
  if (const Status known = CheckArguments(*app, argc, argv); !known.ok()) {
    Exit(std::string(known.message()), kUsageExitStatus);
  }
  try {
    app->parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) Exit(error.what(), kUsageExitStatus);
    app->exit(error);  // prints the help or the version
    std::exit(Run([] { return absl::OkStatus(); }));
  }
}

const std::atomic<int>* Program::MeetSignals() {
  stop_ = std::make_unique<StopSignal>(MpiSession::StartedByLauncher(),
                                       [this](int signal) { EndBySignal(signal); });
  return &stop_->requested();
}

Status Program::Join(double timeout_s) {
  if (MpiSession::StartedByLauncher()) {
    PEPNET_ASSIGN_OR_RETURN(session_, MpiSession::Start());
    SetLogLabel(absl::StrCat("rank ", session_->transport()->rank()));
  }
  const bool one_process = session_ == nullptr || session_->transport()->size() == 1;
  watch_ = std::make_unique<JobWatch>(one_process ? nullptr : session_->transport(), timeout_s,
                                      [this](const Status& error) { Fail(error); });
  watch_for_signals_ = watch_.get();
  return absl::OkStatus();
}

int Program::Run(const std::function<Status()>& work) {
  // The output counts as part of the work: a result that was cut by a full disk must not end with
  // 0.
  Status status = Caught(work);  // of a library; ours return Status
  if (status.ok()) status = CheckStandardOutput();
  const bool stopped = IsStoppedOnRequest(status);
  if (!status.ok() && !stopped) Fail(status);
  if (watch_ != nullptr) watch_->Close(stopped ? "stopped" : "done");
  // The thread of the signals goes before the watch, which it may ask.
  stop_.reset();
  watch_.reset();  // deregisters this rank from the others
  if (!stopped) return 0;
  LOG(INFO) << status.message();
  return kStoppedExitStatus;
}

void Program::Fail(const Status& status) {
  static Mutex once;
  once.Lock();  // never unlocked: the process ends here
  if (watch_ != nullptr) watch_->Fail(status);
  // Ranks beside the first wait a moment: where all have the same error, one says it.
  if (session_ != nullptr && session_->transport()->rank() != 0) usleep(1000 * 1000);
  Exit(std::string(status.message()), kFailedExitStatus);
}

void Program::Exit(const std::string& last_words, int exit_status) {
  // The results come before the last message, although both are written through buffers of their
  // own.
  std::fflush(stdout);
  EndProgress();
  std::cerr << name_ << ": " << PrintableMessage(last_words, /*keep_lines=*/false) << std::endl;
  if (session_ != nullptr) session_->Abort(exit_status);
  std::_Exit(exit_status);
}

void Program::EndBySignal(int signal) {
  // The signal may come at any moment, even while Join() or Run() changes watch_, so it has a
  // pointer of its own.
  JobWatch* const watch = watch_for_signals_;
  LOG(WARNING) << (watch == nullptr ? absl::StrCat("ended by ", SignalName(signal))
                                    : watch->EndedBy(SignalName(signal)));
  LingerBeforeExit();
  std::_Exit(128 + signal);
}

Status CheckOneProcess(const std::string& command) {
  const char* ranks = std::getenv("OMPI_COMM_WORLD_SIZE");
  int count = 0;  // mpirun wrote it: what is no number is not mpirun's
  if (ranks == nullptr || !absl::SimpleAtoi(ranks, &count) || count <= 1) return absl::OkStatus();
  return InvalidInput(command, " runs as one process, not as ", ranks,
                      " ranks; write it without mpirun");
}

}  // namespace pepnet
