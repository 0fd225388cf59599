#include "tests/support/golden_job.h"

#include <cmath>
#include <cstdlib>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "cli/commands/commands.h"
#include "cli/job/load_config.h"
#include "common/checkpoint/safetensors.h"
#include "common/config/load.h"

namespace pepnet {
namespace {

void Require(const Status& status) {
  if (status.ok()) return;
  std::cerr << status << std::endl;
  std::abort();
}

ConfigFlags Flags(const std::string& golden_case, const std::string& model_dir,
                  const std::string& edits) {
  ConfigFlags flags;
  flags.pipeline_config_path = GoldenPath(golden_case, "pipeline.config");
  flags.edit_config_json = edits;
  flags.model_dir = model_dir;
  flags.train_input_path = flags.eval_input_path = GoldenPath(golden_case, "train.csv");
  return flags;
}

}  // namespace

JobConfig LoadGoldenJob(const std::string& golden_case, const std::string& model_dir,
                        const std::string& edits) {
  auto config = LoadConfig(Flags(golden_case, model_dir, edits));
  Require(config.status());
  return std::move(*config);
}

void ImportGolden(const std::string& golden_case, const std::string& model_dir,
                  const std::string& edits) {
  Require(ImportCommand(
      {Flags(golden_case, model_dir, edits), GoldenPath(golden_case, "init.safetensors"), 0}));
}

std::string ExportCheckpoint(const std::string& golden_case, const std::string& model_dir,
                             const std::string& edits, const std::string& export_dir) {
  ExportFlags flags;
  flags.config = Flags(golden_case, model_dir, edits);
  flags.export_dir = export_dir;
  Require(ExportCommand(flags));
  return export_dir + "/model.safetensors";
}

std::string CompareTensors(const std::string& actual, const std::string& reference, double absolute,
                           double relative) {
  auto ours = SafetensorsReader::Open(actual), theirs = SafetensorsReader::Open(reference);
  Require(ours.status());
  Require(theirs.status());
  double worst = 1;
  std::string report;
  for (const auto& [name, info] : (*theirs)->tensors()) {
    if (!(*ours)->Contains(name)) return absl::StrCat(actual, " holds no ", name);
    const std::vector<double> x = *(*ours)->ReadDoubles(name), ref = *(*theirs)->ReadDoubles(name);
    if (x.size() != ref.size()) {
      return absl::StrCat(name, ": ", x.size(), " values, expected ", ref.size());
    }
    for (size_t i = 0; i < x.size(); ++i) {
      const double ratio = std::abs(x[i] - ref[i]) / (absolute + relative * std::abs(ref[i]));
      if (ratio <= worst) continue;
      worst = ratio;
      report = absl::StrCat(name, "[", i, "] is ", x[i], ", the reference has ", ref[i], " (",
                            ratio, " times the tolerance)");
    }
  }
  return report;
}

}  // namespace pepnet
