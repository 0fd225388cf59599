#include "cli/report/run_files.h"

#include <cmath>
#include <limits>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "cli/inspect/inspect.h"
#include "cli/inspect/neighbours.h"
#include "cli/report/config_fields.h"
#include "common/base/text.h"
#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/strict_json.h"
#include "common/config/load.h"
#include "common/file/file.h"
#include "common/health/job_report.h"

namespace pepnet {
namespace {

// Files beyond these sizes are not what a training writes, and are not loaded into memory.
constexpr int64_t kMostReportBytes = int64_t{16} << 20;
constexpr int64_t kNearestShown = 5;
constexpr int64_t kMostConfigBytes = int64_t{64} << 20;

// The text gives the fields as they stand there, the parsed config gives tasks, tables and
// vocabularies; a config of a newer version may have fields that are unknown here.
Status ReadConfig(RunRecord* run) {
  const std::string path = run->directory + "/pipeline.config";
  PEPNET_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMostConfigBytes));
  StatusOr<std::vector<ConfigField>> fields = FieldsOfConfig(text);
  if (!fields.ok()) return Annotate(fields.status(), path);
  run->config_fields = *std::move(fields);
  ConfigOverrides overrides;
  overrides.ignore_unknown_fields = true;
  PEPNET_ASSIGN_OR_RETURN(run->config, ParseJobConfig(text, path, overrides));
  return absl::OkStatus();
}

// TextAt() and IntegerAt() give "" and 0 for what is absent or of another type: the report of a job
// is only shown.
std::string TextAt(const nlohmann::json& json, const char* name) {
  const auto found = json.find(name);
  return found != json.end() && found->is_string() ? found->get<std::string>() : "";
}

// Manifests may claim anything that is a number.
int64_t Sum(int64_t a, int64_t b) {
  int64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? std::numeric_limits<int64_t>::max() : sum;
}

int64_t Product(int64_t a, int64_t b) {
  int64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? std::numeric_limits<int64_t>::max() : product;
}

int64_t IntegerAt(const nlohmann::json& json, const char* name) {
  const auto found = json.find(name);
  return found != json.end() && found->is_number_integer() ? found->get<int64_t>() : 0;
}

Status ReadJob(RunRecord* run) {
  const std::string path = absl::StrCat(run->directory, "/", kJobReportName);
  if (!PathExists(path)) return absl::OkStatus();  // of an import, or of a version that wrote none
  PEPNET_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMostReportBytes));
  const StatusOr<nlohmann::json> json = ParseStrictJson(text);
  if (!json.ok()) return Annotate(json.status(), path);
  if (!json->is_object()) return absl::DataLossError(path + " holds no JSON object");
  JobState job;
  job.status = TextAt(*json, "status");
  if (const auto cause = json->find("first_cause"); cause != json->end() && cause->is_object()) {
    job.message = TextAt(*cause, "message");
  }
  if (const auto ranks = json->find("ranks"); ranks != json->end() && ranks->is_array()) {
    for (const nlohmann::json& rank : *ranks) {
      if (!rank.is_object()) continue;
      job.ranks.push_back({IntegerAt(rank, "rank"), TextAt(rank, "role"), TextAt(rank, "host"),
                           TextAt(rank, "state"), TextAt(rank, "phase"), IntegerAt(rank, "step")});
    }
  }
  run->job = std::move(job);
  return absl::OkStatus();
}

// ---- explained.json -----------------------------------------------------------------------------

std::optional<double> FiniteAt(const nlohmann::json& json, const char* name) {
  const auto found = json.find(name);
  if (found == json.end() || !found->is_number() || !std::isfinite(found->get<double>())) {
    return std::nullopt;
  }
  return found->get<double>();
}

// The qualities of a feature stand in the order of `base`, by which they are found later, hence the
// check of their number in ExplainedFromJson().
StatusOr<std::vector<ExplainRecord::Quality>> QualitiesAt(const nlohmann::json& json) {
  std::vector<ExplainRecord::Quality> qualities;
  const auto list = json.find("tasks");
  if (list == json.end() || !list->is_array()) return absl::DataLossError("\"tasks\" is no list");
  for (const nlohmann::json& one : *list) {
    if (!one.is_object()) return absl::DataLossError("a member of \"tasks\" is no object");
    ExplainRecord::Quality quality;
    PEPNET_ASSIGN_OR_RETURN(quality.task, JsonString(one, "task"));
    if (const auto domain = one.find("domain"); domain != one.end() && domain->is_string()) {
      quality.domain = domain->get<std::string>();
    }
    quality.auc = FiniteAt(one, "auc");
    quality.auc_drop = FiniteAt(one, "auc_drop");
    quality.logloss_rise = FiniteAt(one, "logloss_rise");
    for (const std::optional<double>& auc : {quality.auc, quality.auc_drop}) {
      if (std::fabs(auc.value_or(0)) > 1) {
        return absl::DataLossError(
            absl::StrCat("an AUC, or a drop of it, is ", *auc, ", expected -1 to 1"));
      }
    }
    qualities.push_back(std::move(quality));
  }
  return qualities;
}

StatusOr<ExplainRecord> ExplainedFromJson(const nlohmann::json& json) {
  if (!json.is_object()) return absl::DataLossError("holds no JSON object");
  ExplainRecord record;
  record.checkpoint = TextAt(json, "checkpoint");
  record.rows = IntegerAt(json, "rows");
  record.gate_rows = IntegerAt(json, "gate_rows");
  record.domain_column = TextAt(json, "domain_column");
  PEPNET_ASSIGN_OR_RETURN(record.base, QualitiesAt(json));
  const auto features = json.find("features"), gates = json.find("gates");
  if (features == json.end() || !features->is_array()) {
    return absl::DataLossError("\"features\" is no list");
  }
  for (const nlohmann::json& one : *features) {
    if (!one.is_object()) return absl::DataLossError("a member of \"features\" is no object");
    ExplainRecord::Feature feature;
    PEPNET_ASSIGN_OR_RETURN(feature.name, JsonString(one, "name"));
    PEPNET_ASSIGN_OR_RETURN(feature.tasks, QualitiesAt(one));
    if (feature.tasks.size() != record.base.size()) {
      return absl::DataLossError(absl::StrCat("feature ", Printable(feature.name, 100), " has ",
                                              feature.tasks.size(), " tasks and domains, expected ",
                                              record.base.size()));
    }
    record.features.push_back(std::move(feature));
  }
  if (gates == json.end() || !gates->is_array()) return record;
  for (const nlohmann::json& one : *gates) {
    if (!one.is_object()) return absl::DataLossError("a member of \"gates\" is no object");
    const auto number = [&one](const char* name) { return FiniteAt(one, name).value_or(0); };
    record.gates.push_back({TextAt(one, "network"), TextAt(one, "task"), TextAt(one, "part"),
                            number("mean"), number("from_one"), number("varies"), number("off"),
                            number("full")});
  }
  return record;
}

Status ReadExplained(RunRecord* run) {
  const std::string path = run->directory + "/explained.json";
  if (!PathExists(path)) return absl::OkStatus();
  PEPNET_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMostReportBytes));
  const StatusOr<nlohmann::json> json = ParseStrictJson(text);
  if (!json.ok()) return Annotate(json.status(), path);
  StatusOr<ExplainRecord> record = ExplainedFromJson(*json);
  if (!record.ok()) return Annotate(record.status(), path);
  run->explained = *std::move(record);
  return absl::OkStatus();
}

// "tables/uid_emb/part-00001-of-00002.arrow" -> 1; -1 for another form.
int PartNumber(const std::string& file) {
  const size_t at = file.rfind("part-");
  int number = -1;
  if (at == std::string::npos || !absl::SimpleAtoi(file.substr(at + 5, 5), &number)) return -1;
  return number;
}

// A part file is one server's part of one table, so its number tells the server.
StatusOr<CheckpointRecord> ReadCheckpoint(const std::string& directory) {
  PEPNET_ASSIGN_OR_RETURN(const Manifest manifest, ReadManifest(directory));
  CheckpointRecord record;
  record.step = manifest.step;
  record.servers = manifest.server_count;
  record.workers = manifest.worker_count;
  record.batch_size = manifest.batch_size;
  record.seed = manifest.seed;
  record.cpu = manifest.cpu;
  for (const FileEntry& file : manifest.files) record.bytes = Sum(record.bytes, file.bytes);
  for (const PartEntry& part : manifest.candidates) record.bytes = Sum(record.bytes, part.bytes);
  for (const FilterEntry& filter : manifest.filters) record.bytes = Sum(record.bytes, filter.bytes);
  for (const PartEntry& part : manifest.parts) {
    record.bytes = Sum(record.bytes, part.bytes);
    record.rows = Sum(record.rows, part.rows);
    int64_t& table_rows = record.table_rows[part.table];
    table_rows = Sum(table_rows, part.rows);
    const int number = PartNumber(part.file);
    if (number < 0) continue;
    if (record.server_rows.size() <= static_cast<size_t>(number)) {
      record.server_rows.resize(number + 1);
    }
    record.server_rows[number] = Sum(record.server_rows[number], part.rows);
  }
  return record;
}

// The word of an id in the vocabulary of the features that read the table.
std::string WordOf(const JobConfig& config, int table, int64_t id) {
  for (const Leaf& leaf : config.leaves) {
    if (leaf.table != table || leaf.feature < 0) continue;
    const Feature& feature = config.features[leaf.feature];
    // The first feature that reads the table decides: features that share a table by name may have
    // different vocabularies, and then a word is a hint only.
    if (feature.bucketizer == Bucketizer::kVocabulary) {
      if (const std::string* const word = VocabularyWord(feature, id); word != nullptr) {
        return word->empty() ? "(empty)" : *word;
      }
      return id == feature.unknown_id ? "(unknown)" : "";
    }
    if (feature.bucketizer != Bucketizer::kBoundaries) continue;
    const std::vector<double>& bounds = feature.boundaries;
    const auto count = static_cast<int64_t>(bounds.size());
    if (id < 0 || id > count) return "";
    if (id == 0) return absl::StrCat("below ", bounds.empty() ? 0 : bounds[0]);
    return id == count ? absl::StrCat("from ", bounds[id - 1])
                       : absl::StrCat(bounds[id - 1], " to ", bounds[id]);
  }
  return "";
}

// Place of a table in the config; -1 where the config is missing or has no such table (any more).
int TableIndex(const RunRecord& run, const std::string& name) {
  if (!run.config.has_value()) return -1;
  for (size_t i = 0; i < run.config->tables.size(); ++i) {
    if (run.config->tables[i].name == name) return static_cast<int>(i);
  }
  return -1;
}

// Fills in the members of tables that a manifest has.
void DescribeTables(const Manifest& manifest, RunRecord* run) {
  std::map<std::string, TableRecord> tables;
  for (const PartEntry& part : manifest.parts) {
    TableRecord& table = tables[part.table];
    table.name = part.table;
    table.rows = Sum(table.rows, part.rows);
    table.file_bytes = Sum(table.file_bytes, part.bytes);
    table.dim = part.dim;
    table.state_dim = part.state_dim;
    table.value_kind = part.value_kind;
    table.state_kind = part.state_kind;
    table.row_bytes = part.shape().bytes();
  }
  for (auto& [table_name, described] : tables) {
    const std::string& name = table_name;
    TableRecord& table = described;
    const int index = TableIndex(*run, name);
    const RowPolicy policy = index >= 0 ? run->config->tables[index].policy : RowPolicy();
    // A growing table takes ids of any size: a share of their range would say nothing.
    if (index >= 0 && !run->config->tables[index].grows()) {
      table.id_range = run->config->tables[index].rows;
    }
    table.memory_bytes = Product(table.rows, MostBytesPerRow(table.row_bytes, policy));
    const auto rows_in = [&name](const CheckpointRecord& checkpoint) {
      const auto found = checkpoint.table_rows.find(name);
      return found == checkpoint.table_rows.end() ? int64_t{0} : found->second;
    };
    // Older checkpoints are removed while training goes on, so this is no growth since the start.
    table.grown = rows_in(run->checkpoints.back()) - rows_in(run->checkpoints.front());
    run->tables.push_back(std::move(table));
  }
}

// The rows that point the way of the table's hottest one. A row without a direction has none.
void AddLearntId(const std::string& directory, const TableRecord& table, RunRecord* run) {
  const int index = TableIndex(*run, table.name);
  if (table.hottest.empty()) return;
  const StatusOr<Neighbours> found =
      FindNeighbours(directory, table.name, table.hottest[0].id, kNearestShown);
  if (!found.ok()) return;
  LearntId learnt{table.name, table.hottest[0], found->norm, found->mean_cosine, {}};
  for (const Neighbour& near : found->nearest) {
    learnt.nearest.push_back(
        {near.id, index >= 0 ? WordOf(*run->config, index, near.id) : std::string(), near.cosine});
  }
  run->learnt.push_back(std::move(learnt));
}

// The checkpoint is that of the best evaluation if it is still there, else the newest, as
// ShownSlices() chooses, so that tables and slices are of one state where possible.
Status ReadTables(bool rows, RunRecord* run) {
  if (run->checkpoints.empty()) return absl::OkStatus();
  int64_t step = run->checkpoints.back().step;
  for (const CheckpointRecord& checkpoint : run->checkpoints) {
    if (run->best.has_value() && checkpoint.step == run->best->step) step = checkpoint.step;
  }
  const std::string directory = absl::StrCat(run->directory, "/", CheckpointName(step));
  PEPNET_ASSIGN_OR_RETURN(const Manifest manifest, ReadManifest(directory));
  run->tables_step = step;
  DescribeTables(manifest, run);
  if (!rows) return absl::OkStatus();
  // Contents are verified before rows are believed: a damaged part would give wrong hot ids.
  PEPNET_RETURN_IF_ERROR(VerifyCheckpoint(directory, manifest));
  PEPNET_ASSIGN_OR_RETURN(const CheckpointSummary summary, SummarizeCheckpoint(directory));
  for (TableRecord& table : run->tables) {
    for (const TableSummary& seen : summary.tables) {
      if (seen.table != table.name) continue;
      table.dead_rows = seen.statistics.dead_rows;
      table.not_finite_rows = seen.statistics.non_finite_rows;
      const int index = TableIndex(*run, table.name);
      for (const TableStatistics::HotRow& row : seen.statistics.hottest) {
        table.hottest.push_back({row.id, row.frequency,
                                 index >= 0 ? WordOf(*run->config, index, row.id) : std::string()});
      }
    }
    AddLearntId(directory, table, run);
  }
  return absl::OkStatus();
}

}  // namespace

// Each part is read on its own; the order matters only where a part uses another: WordOf() needs
// the config, ReadTables() the best and the checkpoints.
void ReadRunFiles(bool rows, RunRecord* run) {
  const auto note = [run](const Status& status, const std::string& missing) {
    if (!status.ok()) run->notices.push_back(absl::StrCat(status.message(), "; ", missing));
  };
  note(ReadConfig(run),
       "so what only the config says is missing (its fields, vocabulary words, tasks)");
  note(ReadExplained(run), "so what the features are worth is missing");
  note(ReadJob(run), "so how the job ended is not known");
  if (PathExists(absl::StrCat(run->directory, "/", kBestCheckpointFile))) {
    StatusOr<BestCheckpoint> best = ReadBestCheckpoint(run->directory);
    note(best.status(), "so no checkpoint is marked as the best");
    if (best.ok()) run->best = *std::move(best);
  }
  const StatusOr<std::vector<int64_t>> steps = ListCheckpoints(run->directory);
  note(steps.status(), "so no checkpoint is listed");
  for (const int64_t step : steps.value_or(std::vector<int64_t>())) {
    const std::string directory = absl::StrCat(run->directory, "/", CheckpointName(step));
    const StatusOr<CheckpointRecord> checkpoint = ReadCheckpoint(directory);
    if (!checkpoint.ok() && !PathExists(directory)) continue;  // a run in progress has removed it
    note(checkpoint.status(), "so that checkpoint is left out");
    if (checkpoint.ok()) run->checkpoints.push_back(*checkpoint);
  }
  const StatusOr<std::vector<std::string>> names = ListDirectory(run->directory);
  note(names.status(), "so checkpoints that were set aside are not listed");
  for (const std::string& name : names.value_or(std::vector<std::string>())) {
    const bool is_checkpoint = absl::StartsWith(name, "model.ckpt-");
    if (is_checkpoint && (absl::EndsWith(name, ".damaged") || absl::EndsWith(name, ".rejected"))) {
      run->set_aside.push_back(name);
    }
  }
  note(ReadTables(rows, run), "so what the rows of that checkpoint say is missing");
}

}  // namespace pepnet
