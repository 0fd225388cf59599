#include "tests/support/cli_job.h"

#include <stdexcept>

#include "absl/strings/str_cat.h"
#include "common/checkpoint/checkpoint.h"
#include "common/file/file.h"
#include "tests/support/cluster.h"

namespace pepnet {

CliJob::CliJob(const RandomJobOptions& options, const std::string& flags) : flags_(flags) {
  const Status written =
      WriteFileAtomically(directory_ / "job.config", WriteRandomJob(directory_.path(), options));
  if (!written.ok()) throw std::runtime_error(written.ToString());
}

std::string CliJob::Command(const std::string& start, const std::string& command,
                            const std::string& model) const {
  return absl::StrCat(start, " ", command, " --pipeline_config_path ", directory_ / "job.config",
                      " --threads=1 ", flags_, " --model_dir ", directory_ / model);
}

ProcessResult CliJob::Run(const std::string& start, const std::string& command,
                          const std::string& model, const std::string& flags, int limit_s) const {
  return RunShell(absl::StrCat(Command(start, command, model), " ", flags), limit_s);
}

std::string CliJob::Difference(const std::string& model_a, const std::string& model_b) const {
  const StatusOr<std::string> a = ResolveCheckpoint(directory_ / model_a),
                              b = ResolveCheckpoint(directory_ / model_b);
  if (!a.ok()) return a.status().ToString();
  if (!b.ok()) return b.status().ToString();
  return CheckpointDifference(*a, *b);
}

nlohmann::json CliJob::Report(const std::string& model) const {
  return nlohmann::json::parse(ReadFile(directory_ / model + "/job_report.json").value_or("{}"));
}

}  // namespace pepnet
