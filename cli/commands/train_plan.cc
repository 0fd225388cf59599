#include "cli/commands/train_plan.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "worker/data/files/input_files.h"
#include "worker/model/parameters.h"

namespace pepnet {
namespace {

constexpr double kMebibyte = 1 << 20;

StatusOr<InputFiles> Files(const JobConfig& config, const std::string& input_path) {
  return FindInputFiles(input_path, config.data.dataset_type, config.data.dataset_type_name);
}

std::string DataLine(const JobConfig& config, const std::string& input_path) {
  if (input_path.empty()) return "none";
  const auto files = Files(config, input_path);
  if (!files.ok()) return std::string(files.status().message());
  uintmax_t bytes = 0;
  for (const std::string& path : files->paths) {
    std::error_code error;
    const uintmax_t size = std::filesystem::file_size(path, error);
    if (!error) bytes += size;
  }
  return absl::StrFormat("%s: %d file(s), %.1f MiB", input_path, files->paths.size(),
                         static_cast<double>(bytes) / kMebibyte);
}

std::string LengthLine(const JobConfig& config) {
  const TrainConfig& train = config.train;
  std::string text =
      train.num_steps > 0 ? absl::StrCat(train.num_steps, " steps") : absl::StrCat(train.num_epochs, " epochs");
  if (train.save_checkpoints_epochs > 0) {
    absl::StrAppend(&text, "; a checkpoint every ", train.save_checkpoints_epochs, " epochs");
  } else if (train.save_checkpoints_steps > 0) {
    absl::StrAppend(&text, "; a checkpoint every ", train.save_checkpoints_steps, " steps");
  }
  absl::StrAppend(&text, train.save_checkpoints_epochs + train.save_checkpoints_steps > 0 ? " and" : "; a checkpoint",
                  " at the end, ",
                  train.keep_checkpoint_max > 0 ? absl::StrCat("the newest ", train.keep_checkpoint_max,
                                                               config.train.best.enabled() ? " and the best" : "")
                                                : "all",
                  " are kept");
  return text;
}

std::set<std::string> Canonical(const InputFiles& files) {
  std::set<std::string> paths;
  for (const std::string& path : files.paths) {
    std::error_code error;
    const std::filesystem::path canonical = std::filesystem::canonical(path, error);
    paths.insert(error ? path : canonical.string());
  }
  return paths;
}

}  // namespace

std::string TrainPlan(const JobConfig& config, const TrainRanks& ranks) {
  const int64_t workers = static_cast<int64_t>(ranks.workers.size());
  std::string text = absl::StrCat(
      "the plan\n  ranks: ", workers, " worker(s) (", absl::StrJoin(ranks.workers, ", "), ") with ", ranks.threads,
      " thread(s) each, ", ranks.servers, " server(s)", ranks.colocated ? " in the same ranks" : "",
      "\n  global batch: ", workers * config.data.batch_size,
      " rows\n  train data: ", DataLine(config, config.train_input_path),
      "\n  eval data: ", DataLine(config, config.eval_input_path), "\n  length: ", LengthLine(config), "\n  tables:\n");
  double total = 0;
  for (const Table& table : config.tables) {
    const int state = SparseStateDim(config.train.sparse_optimizer.kind, table.dim);
    const double bytes = static_cast<double>(table.RowsToPlanFor()) * (table.dim + state) * sizeof(float);
    total += bytes;
    const std::string policy = RowPolicyText(table.policy);
    absl::StrAppendFormat(&text, "    %s: %s %d rows x %d, %.1f MiB with optimizer state%s%s%s\n", table.name,
                          table.grows() ? "grows, expected" : "at most", table.RowsToPlanFor(), table.dim,
                          bytes / kMebibyte, table.trainable ? "" : ", not trained", policy.empty() ? "" : "; ",
                          policy);
  }
  int64_t dense = 0;
  for (const ParameterSpec& spec : DenseParameterList(config)) dense += spec.elements();
  absl::StrAppendFormat(&text, "  %d tables, at most %.1f MiB; %d dense parameters; model_dir %s", config.tables.size(),
                        total / kMebibyte, dense, config.model_dir);
  return text;
}

std::vector<std::string> PlanWarnings(const JobConfig& config) {
  std::vector<std::string> warnings;
  if (config.eval_input_path.empty()) {
    warnings.emplace_back("eval_input_path is empty: nothing is evaluated");
  } else {
    const auto train = Files(config, config.train_input_path), eval = Files(config, config.eval_input_path);
    if (train.ok() && eval.ok()) {
      const std::set<std::string> trained = Canonical(*train), evaluated = Canonical(*eval);
      std::vector<std::string> both;
      std::set_intersection(trained.begin(), trained.end(), evaluated.begin(), evaluated.end(),
                            std::back_inserter(both));
      if (!both.empty()) {
        warnings.push_back(
            absl::StrCat("eval data are train data (", both.size(), " of ", evaluated.size(), " files, first ", both[0],
                         "): the metrics will say how well rows are remembered, not how well new ones are predicted"));
      }
    }
  }
  const TrainConfig& train = config.train;
  if (train.save_checkpoints_epochs == 0 && train.num_steps > 10000 &&
      (train.save_checkpoints_steps == 0 || train.save_checkpoints_steps >= train.num_steps)) {
    warnings.push_back(absl::StrCat("there is no checkpoint before the end of ", train.num_steps,
                                    " steps: a crash costs all of them; set save_checkpoints_steps"));
  }
  return warnings;
}

}  // namespace pepnet
