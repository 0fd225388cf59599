// A random job run by the built binaries, as a user would: what the command-line tests of training
// share.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/process.h"
#include "tests/support/random_job.h"
#include "tests/support/temporary_directory.h"

namespace pepnet {

// A directory with job.config and its data, and a model_dir for each name that a test chooses.
class CliJob {
 public:
  // `flags` go with every command. Throws if the files cannot be written.
  explicit CliJob(const RandomJobOptions& options, const std::string& flags = "");

  // The path of `name` in the directory.
  std::string operator/(const std::string& name) const { return directory_ / name; }
  const std::string& path() const { return directory_.path(); }

  // "<start> <command> --pipeline_config_path ... --threads=1 <flags> --model_dir
  // <directory>/<model>"; `start` is $PEPNET, or what stands before it under mpirun.
  std::string Command(const std::string& start, const std::string& command,
                      const std::string& model) const;
  // Runs that command, with further flags behind it.
  ProcessResult Run(const std::string& start, const std::string& command, const std::string& model,
                    const std::string& flags = "", int limit_s = 120) const;

  // CheckpointDifference() of the newest checkpoints of two models: "" if they hold the same bits.
  std::string Difference(const std::string& model_a, const std::string& model_b) const;
  // job_report.json of a model; {} if there is none.
  nlohmann::json Report(const std::string& model) const;

 private:
  const TemporaryDirectory directory_;
  const std::string flags_;
};

}  // namespace pepnet
