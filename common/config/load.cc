#include "common/config/load.h"

#include "common/config/config_source.h"
#include "common/config/convert.h"
#include "common/config/descriptions.h"
#include "common/config/edit_config.h"
#include "common/config/field_support.h"
#include "common/config/legacy_dialect.h"
#include "common/config/text_parser.h"
#include "common/file/file.h"

namespace pepnet {
namespace {

void ApplyOverride(const std::string& flag, const std::string& value, google::protobuf::Message* message,
                   const std::string& field, ConfigSource* source) {
  if (value.empty()) return;
  const auto* descriptor = message->GetDescriptor()->FindFieldByName(field);
  message->GetReflection()->SetString(message, descriptor, value);
  source->MarkFieldEdited(*message, *descriptor, flag);
}

// Presence of what every job needs.
Status CheckSections(const config::EasyRecConfig& config, const ConfigSource& source) {
  for (const char* field : {"train_input_path", "eval_input_path", "model_dir", "train_config", "data_config",
                            "feature_configs", "model_config"}) {
    const auto* descriptor = config.GetDescriptor()->FindFieldByName(field);
    const bool present = descriptor->is_repeated() ? config.GetReflection()->FieldSize(config, descriptor) > 0
                                                   : config.GetReflection()->HasField(config, descriptor);
    if (!present) return source.Error(config, field, "is missing; it is required");
  }
  return absl::OkStatus();
}

}  // namespace

StatusOr<JobConfig> LoadJobConfig(const std::string& path, const ConfigOverrides& overrides) {
  PEPNET_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  return ParseJobConfig(text, path, overrides);
}

StatusOr<JobConfig> ParseJobConfig(const std::string& text, const std::string& source_name,
                                   const ConfigOverrides& overrides) {
  PEPNET_RETURN_IF_ERROR(CheckDescriptions());
  ConfigSource source(source_name);
  config::EasyRecConfig config;
  PEPNET_RETURN_IF_ERROR(ParseText(text, overrides.ignore_unknown_fields, &source, &config));
  PEPNET_RETURN_IF_ERROR(EditConfig(overrides.edit_config_json, &source, &config));
  ApplyOverride("--train_input_path", overrides.train_input_path, &config, "train_input_path", &source);
  ApplyOverride("--eval_input_path", overrides.eval_input_path, &config, "eval_input_path", &source);
  ApplyOverride("--model_dir", overrides.model_dir, &config, "model_dir", &source);
  if (!overrides.fine_tune_checkpoint.empty()) {
    ApplyOverride("--fine_tune_checkpoint", overrides.fine_tune_checkpoint, config.mutable_train_config(),
                  "fine_tune_checkpoint", &source);
  }
  PEPNET_RETURN_IF_ERROR(RewriteLegacyDialect(&source, &config));
  PEPNET_RETURN_IF_ERROR(CheckFieldSupport(config, &source));
  PEPNET_RETURN_IF_ERROR(CheckSections(config, source));

  JobConfig job;
  job.train_input_path = config.train_input_path();
  job.eval_input_path = config.eval_input_path();
  job.model_dir = config.model_dir();
  PEPNET_RETURN_IF_ERROR(ConvertData(config.data_config(), &source, &job.data));
  PEPNET_RETURN_IF_ERROR(ConvertFeatures(config, &source, &job));
  PEPNET_RETURN_IF_ERROR(ConvertModel(config, &source, &job));
  PEPNET_RETURN_IF_ERROR(ConvertTrain(config.train_config(), &source, &job.train));
  PEPNET_RETURN_IF_ERROR(ConvertEval(config.eval_config(), source, &job.eval));
  PEPNET_RETURN_IF_ERROR(ConvertExport(config.export_config(), source, &job.export_config));
  google::protobuf::TextFormat::Printer printer;
  printer.SetUseUtf8StringEscaping(true);
  printer.PrintToString(config, &job.effective_text);
  job.notes = source.notes();
  return job;
}

}  // namespace pepnet
