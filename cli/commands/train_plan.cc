#include "cli/commands/train_plan.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "cli/job/job.h"
#include "common/base/text.h"
#include "worker/data/files/input_files.h"
#include "worker/data/history/file_identity.h"
#include "worker/explain/feature_importance.h"
#include "worker/model/parameters.h"
#include "worker/report/run_lines.h"

namespace pepnet {
namespace {

constexpr double kMebibyte = 1 << 20;

// Files and their size, which show at once that a glob has matched too little.
std::string DataLine(const JobConfig& config, const std::string& input_path) {
  if (input_path.empty()) return "none";
  const auto files = FindJobFiles(config, input_path);
  if (!files.ok()) return absl::StrCat(input_path, ": cannot be read");  // the training says why
  uintmax_t bytes = 0;
  for (const std::string& path : files->paths) {
    std::error_code error;
    const uintmax_t size = std::filesystem::file_size(path, error);
    if (!error) bytes += size;
  }
  return absl::StrFormat("%s: %s, %.1f MiB", input_path,
                         Counted(static_cast<int64_t>(files->paths.size()), "file"),
                         static_cast<double>(bytes) / kMebibyte);
}

// "every epoch", "every 2 epochs".
std::string Every(int64_t count, const std::string& word) {
  return count == 1 ? word : Counted(count, word);
}

// Length of the training, and which checkpoints come and stay.
std::string LengthLine(const JobConfig& config) {
  const TrainConfig& train = config.train;
  std::string text =
      train.num_steps > 0 ? Counted(train.num_steps, "step") : Counted(train.num_epochs, "epoch");
  if (train.save_checkpoints_epochs > 0) {
    absl::StrAppend(&text, "; a checkpoint every ", Every(train.save_checkpoints_epochs, "epoch"));
  } else if (train.save_checkpoints_steps > 0) {
    absl::StrAppend(&text, "; a checkpoint every ", Every(train.save_checkpoints_steps, "step"));
  }
  absl::StrAppend(
      &text,
      train.save_checkpoints_epochs + train.save_checkpoints_steps > 0 ? " and" : "; a checkpoint",
      " at the end, ",
      train.keep_checkpoint_max > 0
          ? absl::StrCat("the newest ", train.keep_checkpoint_max,
                         config.train.best.enabled() ? " and the best" : "")
          : "all",
      " are kept");
  return text;
}

std::string EventTimeLine(const JobConfig& config) {
  if (!config.data.event_time.has_value()) return "";
  return absl::StrCat("  event time: the latest of column ", config.data.event_time->name,
                      "; a step moves it on by ", config.data.event_time->max_jump_seconds,
                      " s at most\n");
}

// The memory of all tables at their largest on all servers, and the parameters of the network.
std::string SizeLine(const JobConfig& config) {
  double total = 0;
  for (const Table& table : config.tables) total += PlannedBytes(table, config);
  int64_t dense = 0;
  for (const ParameterSpec& spec : DenseParameterList(config)) dense += spec.elements();
  return absl::StrFormat("%s of at most %.1f MiB, %s",
                         Counted(static_cast<int64_t>(config.tables.size()), "table"),
                         total / kMebibyte, Counted(dense, "dense parameter"));
}

// A path without links, by which two names of one file are equal.
std::string Canonical(const std::string& path) {
  std::error_code error;
  const std::filesystem::path canonical = std::filesystem::canonical(path, error);
  return error ? path : canonical.string();
}

// Digest of the file's content, "" for an empty or unreadable file, which proves nothing.
std::string DigestOf(const std::string& path) {
  const auto identity = IdentifyFile(path);
  return identity.ok() && identity->bytes > 0 ? identity->digest : "";
}

// Files of `eval` that are files of `train`, or copies of them. Sizes are compared first: only
// files of equal size are read for their digests.
std::optional<Warning> OverlapOf(const InputFiles& train, const InputFiles& eval) {
  std::set<std::string> trained;
  std::map<uintmax_t, std::vector<std::string>> by_size;
  for (const std::string& path : train.paths) {
    trained.insert(Canonical(path));
    std::error_code error;
    const uintmax_t size = std::filesystem::file_size(path, error);
    if (!error) by_size[size].push_back(path);
  }
  std::vector<std::string> both;  // as the warning names them
  for (const std::string& path : eval.paths) {
    if (trained.contains(Canonical(path))) {
      both.push_back(path);
      continue;
    }
    std::error_code error;
    const uintmax_t size = std::filesystem::file_size(path, error);
    const auto candidates = by_size.find(size);
    if (error || candidates == by_size.end()) continue;
    const std::string digest = DigestOf(path);
    for (const std::string& other : candidates->second) {
      if (digest.empty() || DigestOf(other) != digest) continue;
      both.push_back(absl::StrCat(path, ", a copy of ", other));
      break;
    }
  }
  if (both.empty()) return std::nullopt;
  return Warning{
      warning_kinds::kOverlap, "eval_input_path",
      absl::StrCat("eval data are train data (", both.size(), " of ", eval.paths.size(),
                   " files, first ", both[0],
                   "): the metrics will say how well rows are remembered, not how well new ones ",
                   "are predicted; evaluate on rows that are not trained on")};
}

}  // namespace

// The long form has one line per table: memory is what a plan goes wrong with.
std::string TrainPlan(const JobConfig& config, const TrainRanks& ranks) {
  const int64_t workers = static_cast<int64_t>(ranks.workers.size());
  std::string text = absl::StrCat(
      "the plan\n  ranks: ", Counted(workers, "worker"), " (", absl::StrJoin(ranks.workers, ", "),
      ") with ", Counted(ranks.threads, "thread"), " each, ", Counted(ranks.servers, "server"),
      ranks.colocated ? " in the same ranks" : "",
      "\n  global batch: ", workers * config.data.batch_size,
      " rows\n  train data: ", DataLine(config, config.train_input_path),
      "\n  eval data: ", DataLine(config, config.eval_input_path),
      "\n  length: ", LengthLine(config), "\n", EventTimeLine(config), "  tables:\n");
  const ValueKind state_kind = config.train.sparse_optimizer.state_kind;
  for (const Table& table : config.tables) {
    const double bytes = PlannedBytes(table, config);
    const std::string policy = RowPolicyText(table.policy);
    absl::StrAppendFormat(
        &text, "    %s: %s %d rows x %s, %.1f MiB with optimizer state%s%s%s%s\n", table.name,
        table.grows() ? "grows, expected" : "at most", table.RowsToPlanFor(),
        NumbersText(table.dim, table.value_kind), bytes / kMebibyte,
        state_kind == ValueKind::kFp32 ? "" : absl::StrCat(" in ", TypeOf(state_kind).name),
        table.trainable ? "" : ", not trained", policy.empty() ? "" : "; ", policy);
  }
  absl::StrAppend(&text, "  ", SizeLine(config), "; model_dir ", config.model_dir);
  return text;
}

std::vector<std::string> BriefTrainPlan(const JobConfig& config, const TrainRanks& ranks) {
  const auto workers = static_cast<int64_t>(ranks.workers.size());
  std::vector<std::string> lines = {
      absl::StrCat(Counted(workers, "worker"), " with ", Counted(ranks.threads, "thread"),
                   workers == 1 ? "" : " each", ", ", Counted(ranks.servers, "server"),
                   ranks.colocated ? " in the same ranks" : "", "; ", SizeLine(config)),
      absl::StrCat(DataLine(config, config.train_input_path), "; batches of ",
                   Counted(workers * config.data.batch_size, "row"), "; ", LengthLine(config),
                   " in ", config.model_dir)};
  // A number over all rows hides a domain that is badly ranked or predicted far too high.
  const std::string domain = DomainColumn(config);
  if (!domain.empty() && !config.eval_input_path.empty() && config.eval.slice_by.empty()) {
    lines.push_back(absl::StrCat(
        "evaluations are over all rows; by domain as well with eval_config { slice_by: \"",
        Printable(domain, 40), "\" }"));
  }
  return lines;
}

// Mistakes that no error can catch, because such a config may be meant: they are warned of at start
// and kept in warnings.jsonl.
std::vector<Warning> ConfigWarnings(const JobConfig& config) {
  std::vector<Warning> warnings;
  for (const Feature& feature : config.features) {
    if (!feature.is_read) continue;
    for (const std::string& column : ColumnsOf(feature)) {
      for (const Tower& tower : config.model.towers) {
        if (config.data.labels[tower.label] != column) continue;
        warnings.push_back(
            {warning_kinds::kLeak, absl::StrCat(feature.name, " ", column),
             absl::StrCat("feature ", feature.name, " reads column ", column,
                          ", the label of task ", tower.name,
                          ": the model learns to copy it, and when the model is used the ",
                          "label is not known yet; take the feature out of feature_groups")});
        break;
      }
    }
    // Lines such as "iPhone 13" are read as a word and its row.
    const auto words = static_cast<int64_t>(feature.vocabulary.size());
    // A vocabulary without numbers has about as many rows as words; far more rows come from numbers
    // that were part of the words.
    if (feature.bucketizer == Bucketizer::kVocabulary && feature.rows > 2 * words + 4) {
      const std::string example = Printable(feature.vocabulary.begin()->first, 40);
      const int64_t row = feature.vocabulary.begin()->second;
      warnings.push_back(
          {warning_kinds::kVocabulary, feature.name,
           absl::StrCat("feature ", feature.name, ": its vocabulary has ", words, " words for ",
                        feature.rows, " rows, '", example, "' in row ", row,
                        " for example: if the number belongs to the word, write '", example, " ",
                        row, " 0', the word and its row, in vocab_file")});
    }
  }
  return warnings;
}

std::vector<Warning> PlanWarnings(const JobConfig& config) {
  std::vector<Warning> warnings = ConfigWarnings(config);
  if (config.eval_input_path.empty()) {
    warnings.push_back({warning_kinds::kPlan, "eval_input_path",
                        "eval_input_path is empty: nothing is evaluated"});
  } else {
    const auto train = FindJobFiles(config, config.train_input_path);
    const auto eval = FindJobFiles(config, config.eval_input_path);
    if (train.ok() && eval.ok()) {
      if (std::optional<Warning> overlap = OverlapOf(*train, *eval)) {
        warnings.push_back(*std::move(overlap));
      }
    }
  }
  const TrainConfig& train = config.train;
  // Short trainings are repeated easily, so they are not warned of.
  if (train.save_checkpoints_epochs == 0 && train.num_steps > 10000 &&
      (train.save_checkpoints_steps == 0 || train.save_checkpoints_steps >= train.num_steps)) {
    warnings.push_back(
        {warning_kinds::kPlan, "save_checkpoints_steps",
         absl::StrCat("there is no checkpoint before the end of ", train.num_steps,
                      " steps: a crash costs all of them; set save_checkpoints_steps")});
  }
  return warnings;
}

}  // namespace pepnet
