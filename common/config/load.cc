#include "common/config/load.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

#include "common/base/text.h"
#include "common/config/convert.h"
#include "common/config/convert_parameters.h"
#include "common/config/descriptions.h"
#include "common/config/effective_text.h"
#include "common/config/field_support.h"
#include "common/config/parse/config_source.h"
#include "common/config/parse/edit_config.h"
#include "common/config/parse/json_parser.h"
#include "common/config/parse/legacy_dialect.h"
#include "common/config/parse/text_parser.h"
#include "common/config/unused_features.h"
#include "common/file/file.h"

namespace pepnet {
namespace {

constexpr int64_t kMaxConfigBytes = int64_t{64} << 20;
// The limit of Linux file systems for one component of a path.
constexpr size_t kMaxFileNameBytes = 255;

// An empty flag leaves the file's value: none of these fields has a meaning for "".
void ApplyOverride(const std::string& flag, const std::string& value,
                   google::protobuf::Message* message, const std::string& field,
                   ConfigSource* source) {
  if (value.empty()) return;
  const auto* descriptor = message->GetDescriptor()->FindFieldByName(field);
  message->GetReflection()->SetString(message, descriptor, value);
  source->MarkFieldEdited(*message, *descriptor, flag);
}

// As above for the enum data_config.dataset_type.
Status ApplyDatasetType(const std::string& name, config::EasyRecConfig* config,
                        ConfigSource* source) {
  constexpr char kFlag[] = "--dataset_type";
  if (name.empty()) return absl::OkStatus();
  config::DatasetType type;
  if (!config::DatasetType_Parse(name, &type)) {
    std::vector<std::string> names;
    for (int i = 0; i < config::DatasetType_descriptor()->value_count(); ++i) {
      names.push_back(config::DatasetType_descriptor()->value(i)->name());
    }
    return InvalidInput(kFlag, ": \"", Printable(name, 200), "\"; expected ",
                        JoinNames(names, " or "), Suggestion(name, names));
  }
  config::DataConfig* data = config->mutable_data_config();
  data->set_dataset_type(type);
  source->MarkFieldEdited(*data, *data->GetDescriptor()->FindFieldByName("dataset_type"), kFlag);
  return absl::OkStatus();
}

// Presence of what every job needs.
std::vector<Status> FindMissingSections(const config::EasyRecConfig& config,
                                        const ConfigSource& source) {
  std::vector<Status> faults;
  for (const char* field : {"train_input_path", "model_dir", "train_config", "data_config",
                            "feature_configs", "model_config"}) {
    if (!HasField(config, field)) {
      faults.push_back(source.Error(config, field, "is missing; it is required"));
    }
  }
  return faults;
}

// Keeps what is wrong, in order: all of it where somebody asked for all, else the first.
class Faults {
 public:
  explicit Faults(bool all) : all_(all) {}
  // True if the work is to stop here.
  bool Add(const Status& status) {
    if (!status.ok() && (all_ || faults_.empty())) faults_.push_back(std::string(status.message()));
    if (!status.ok() && code_ == absl::StatusCode::kOk) code_ = status.code();
    return !all_ && !faults_.empty();
  }
  bool Add(const std::vector<Status>& statuses) {
    for (const Status& status : statuses) Add(status);
    return !all_ && !faults_.empty();
  }
  bool empty() const { return faults_.empty(); }
  // True if a fault is in a section of the config, by its path or the type of its message. Faults
  // are sentences by now, so sections are found in their text: a path for a field that was set, the
  // message type for an unknown one.
  bool Names(const char* section, const char* type) const {
    return std::any_of(faults_.begin(), faults_.end(), [&](const std::string& fault) {
      return fault.find(section) != std::string::npos || fault.find(type) != std::string::npos;
    });
  }
  Status First() const {
    return Status(code_ == absl::StatusCode::kOk ? absl::StatusCode::kInvalidArgument : code_,
                  faults_.front());
  }
  std::vector<std::string>& list() { return faults_; }

 private:
  const bool all_;
  std::vector<std::string> faults_;
  absl::StatusCode code_ = absl::StatusCode::kOk;
};

// Names that become files or travel between ranks, while nothing has been trained yet.
Status CheckNames(const JobConfig& job, const std::string& source) {
  if (job.model_dir.empty()) {
    return InvalidInput(source, ": model_dir is empty; it names the directory of checkpoints");
  }
  if (job.model_dir[0] == '~') {
    return InvalidInput(source, ": model_dir ", job.model_dir,
                        " begins with ~, which only a shell expands; write the path");
  }
  if (job.model_dir.find('\0') != std::string::npos) {
    return InvalidInput(source, ": model_dir holds a zero byte");
  }
  std::vector<std::pair<const char*, std::string>> names = {{"model_dir", job.model_dir}};
  for (const Table& table : job.tables) names.emplace_back("table", table.name);
  for (const Feature& feature : job.features) names.emplace_back("feature", feature.name);
  for (const Tower& tower : job.model.towers) names.emplace_back("tower", tower.name);
  for (const auto& [what, name] : names) {
    if (!IsUtf8(name)) {
      return InvalidInput(source, ": the ", what, " name \"", Printable(name), "\" is not UTF-8");
    }
  }
  for (const Table& table : job.tables) {
    // Its directory in a checkpoint has this name, each byte of a letter beyond ASCII as three.
    size_t bytes = 0;
    for (const char c : table.name) {
      bytes += absl::ascii_isalnum(c) || c == '_' || c == '-' || c == '.' ? 1 : 3;
    }
    if (bytes <= kMaxFileNameBytes) continue;
    return InvalidInput(source, ": the table name \"", Printable(table.name), "\" takes ", bytes,
                        " bytes as the name of a directory, where each letter beyond ASCII takes "
                        "three for each of its "
                        "bytes; expected at most ",
                        kMaxFileNameBytes, ": set a shorter feature_name or embedding_name");
  }
  return absl::OkStatus();
}

// Of the values and optimizer state.
int64_t RowBytesOf(const JobConfig& job, const Table& table) {
  return ShapeOf(job.train.sparse_optimizer, table).bytes();
}

// Gives the tables that grow without a limit of their own their shares of
// train_config.dynamic_table_budget_mb.
Status ShareBudget(const config::TrainConfig& train, ConfigSource* source, JobConfig* job) {
  constexpr char kField[] = "dynamic_table_budget_mb";
  constexpr uint64_t kMostMib = uint64_t{1} << 42;
  const uint64_t mib = train.dynamic_table_budget_mb();
  if (mib == 0) return absl::OkStatus();
  if (mib > kMostMib) return source->Error(train, kField, mib, "; expected at most ", kMostMib);
  // Tables with limits of their own are paid for first; what is left is shared in proportion to the
  // memory that the expected rows of the others take.
  int64_t left = static_cast<int64_t>(mib << 20);
  std::vector<std::pair<Table*, double>> sharing;  // and what its expected rows take
  double wanted = 0;
  for (Table& table : job->tables) {
    if (!table.grows()) continue;
    const int64_t bytes = MostBytesPerRow(RowBytesOf(*job, table), table.policy);
    if (table.policy.limits_rows()) {
      const int64_t rows = RowLimit(RowBytesOf(*job, table), table.policy);
      // The comparison divides because the product may not fit.
      left = rows > left / bytes ? 0 : left - rows * bytes;
      left = std::max<int64_t>(0, left - table.policy.filter_bytes);
    } else {
      sharing.emplace_back(&table,
                           static_cast<double>(table.expected_rows) * static_cast<double>(bytes));
      wanted += sharing.back().second;
    }
  }
  if (sharing.empty()) {
    return source->Error(
        train, kField, mib,
        ", but no table grows without a limit of its own; remove it, or max_rows and "
        "memory_budget_mb of a dynamic_table");
  }
  for (const auto& [table, wants] : sharing) {
    table->policy.memory_budget_bytes =
        static_cast<int64_t>(wants / wanted * static_cast<double>(left));
    // 0 would mean "no limit", the opposite of what is left.
    if (table->policy.memory_budget_bytes == 0) {
      return source->Error(train, kField, mib, ", of which nothing is left for table \"",
                           table->name, "\" beside the limits of others; raise it");
    }
    source->Note(
        train, kField,
        absl::StrCat("table ", table->name, " has ", table->policy.memory_budget_bytes >> 20,
                     " MiB of it: ", RowPolicyText(table->policy)));
  }
  return absl::OkStatus();
}

// The limits of tables, now that features and optimizer together say how large a row is.
Status CheckPolicies(const JobConfig& job, const std::string& source) {
  for (const Table& table : job.tables) {
    const RowPolicy& policy = table.policy;
    if ((policy.eviction != EvictionKind::kLru || policy.half_life_steps > 0) &&
        !policy.limits_rows()) {
      return InvalidInput(source, ": dynamic_table of table \"", table.name,
                          "\": eviction says which rows leave first, but neither max_rows nor "
                          "memory_budget_mb limits them, "
                          "nor train_config.dynamic_table_budget_mb; set one");
    }
    if (policy.ttl_seconds > 0 && !job.data.event_time.has_value()) {
      return InvalidInput(
          source, ": dynamic_table of table \"", table.name, "\": ttl_seconds is ",
          policy.ttl_seconds,
          ", but no column says when events happened; set data_config.event_time { field }");
    }
    if (policy.counts_clicks() &&
        std::count(job.data.labels.begin(), job.data.labels.end(), policy.click_label) == 0) {
      return InvalidInput(source, ": dynamic_table of table \"", table.name,
                          "\": click_label is \"", Printable(policy.click_label),
                          "\"; expected one of data_config.label_fields");
    }
    if (!policy.is_active()) continue;
    const std::string fault = RowPolicyFault(table.policy, RowBytesOf(job, table));
    if (!fault.empty()) {
      return InvalidInput(source, ": dynamic_table of table \"", table.name, "\": ", fault);
    }
  }
  return absl::OkStatus();
}

}  // namespace

StatusOr<JobConfig> LoadJobConfig(const std::string& path, const ConfigOverrides& overrides,
                                  std::vector<std::string>* all) {
  PEPNET_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxConfigBytes));
  return ParseJobConfig(text, path, overrides, all);
}

StatusOr<JobConfig> ParseJobConfig(const std::string& text, const std::string& source_name,
                                   const ConfigOverrides& overrides,
                                   std::vector<std::string>* all) {
  // A type that is half added must not start a job; the comparison is made once per process.
  PEPNET_RETURN_IF_ERROR(CheckDescriptions());
  ConfigSource source(source_name);
  config::EasyRecConfig config;
  Faults faults(all != nullptr);
  // A config that cannot be parsed or edited cannot be checked further.
  const auto ended = [&](const Status& status) {
    faults.Add(status);
    if (all != nullptr) *all = faults.list();
    return faults.First();
  };
  const auto parse = absl::EndsWith(source_name, ".json") ? ParseJson : ParseText;
  if (const Status parsed = parse(text, overrides.ignore_unknown_fields, &source, &config,
                                  all != nullptr ? &faults.list() : nullptr);
      !parsed.ok()) {
    // The parser has filled the list itself.
    if (all != nullptr && !faults.empty()) {
      *all = faults.list();
      return parsed;
    }
    return ended(parsed);
  }
  // The order is that of precedence: the file, --edit_config_json, --set, then the flags that have
  // a name of their own. Old spellings are rewritten behind all of them, since edits may use them
  // as well.
  if (const Status edited = EditConfig(overrides.edit_config_json, &source, &config);
      !edited.ok()) {
    return ended(edited);
  }
  if (const Status set = SetFields(overrides.set, &source, &config); !set.ok()) return ended(set);
  ApplyOverride("--train_input_path", overrides.train_input_path, &config, "train_input_path",
                &source);
  ApplyOverride("--eval_input_path", overrides.eval_input_path, &config, "eval_input_path",
                &source);
  ApplyOverride("--model_dir", overrides.model_dir, &config, "model_dir", &source);
  if (!overrides.fine_tune_checkpoint.empty()) {
    ApplyOverride("--fine_tune_checkpoint", overrides.fine_tune_checkpoint,
                  config.mutable_train_config(), "fine_tune_checkpoint", &source);
  }
  if (const Status typed = ApplyDatasetType(overrides.dataset_type, &config, &source);
      !typed.ok()) {
    return ended(typed);
  }
  if (const Status legacy = RewriteLegacyDialect(&source, &config); !legacy.ok()) {
    return ended(legacy);
  }
  // Unused features go before unsupported fields are looked for, since they may have such fields.
  DropUnusedFeatures(&source, &config);
  // Unsupported fields are looked for before conversion, whose code does not know them and would
  // read on without a word (law L7).
  if (faults.Add(FindUnsupportedFields(config, &source))) return faults.First();
  if (faults.Add(FindMissingSections(config, source))) return faults.First();

  JobConfig job;
  job.train_input_path = config.train_input_path();
  job.eval_input_path = config.eval_input_path();
  job.model_dir = config.model_dir();
  // Sections that have no fault yet: in the others, what is missing now may only follow from it.
  const bool whole_data = !faults.Names("data_config", "DataConfig");
  const bool whole_features = !faults.Names("feature_configs", "FeatureConfig");
  const bool whole_model = !faults.Names("model_config", "ModelConfig");
  const bool whole_train = !faults.Names("train_config", "TrainConfig");
  if (whole_data && faults.Add(ConvertData(config.data_config(), &source, &job.data))) {
    return faults.First();
  }
  job.data.sequence_joint = SequenceJoint(config);
  if (job.data.sequence_joint == kRtpSequenceJoint) {
    source.AddNote(absl::StrCat(
        source_name,
        ": feature_groups name the features of sequences as the reference does with USE_RTP=1, "
        "<sequence_name>_<feature_name>; the columns of sequences are read by such names, too. "
        "Jobs of that kind hash with --hash=farm"));
  }
  if (whole_data && whole_features) {
    // Defaults of sequences are written into the message itself, so that the effective config,
    // printed from it at the end, shows them.
    FillSequenceDefaults(job.data, &config);
    const Status features = ConvertFeatures(config, &source, &job);
    if (faults.Add(features)) return faults.First();
    // The model is looked at only with all its features.
    if (features.ok() && whole_model) {
      const Status model = ConvertModel(config, &source, &job);
      if (faults.Add(model)) return faults.First();
      if (model.ok() && faults.Add(ConvertSlices(config.eval_config(), source, &job))) {
        return faults.First();
      }
    }
  }
  if (whole_train && faults.Add(ConvertTrain(config.train_config(), &source, &job.train))) {
    return faults.First();
  }
  if (faults.empty() && faults.Add(ShareBudget(config.train_config(), &source, &job))) {
    return faults.First();
  }
  if (faults.empty() && faults.Add(CheckPolicies(job, source_name))) return faults.First();
  if (faults.Add(ConvertEval(config.eval_config(), source, &job.eval))) return faults.First();
  if (faults.Add(ConvertExport(config.export_config(), &source, &job.export_config))) {
    return faults.First();
  }
  if (faults.empty()) faults.Add(ConvertUseOfAverages(config, source, &job));
  // It compares metrics of the model; what is missing where something else is wrong may only follow
  // from that.
  if (faults.empty()) faults.Add(ConvertBest(config, overrides.for_training, &source, &job));
  if (faults.empty()) faults.Add(CheckNames(job, source_name));
  if (!faults.empty()) {
    if (all != nullptr) *all = faults.list();
    return faults.First();
  }
  // The text is printed from the message, behind edits, flags and rewriting, and not from the
  // structs: read again, it gives the same job.
  job.effective_text = EffectiveText(config);
  job.notes = source.notes();
  return job;
}

}  // namespace pepnet
