#include <algorithm>
#include <cmath>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

#include "common/config/convert.h"
#include "common/config/parse/text_parser.h"
#include "common/config/values/value_strings.h"
#include "common/file/file.h"

namespace pepnet {
namespace {

// Lines "<name in this model>\t<name in the checkpoint>".
Status ReadParameterMap(const config::TrainConfig& train, const ConfigSource& source, TrainConfig* out) {
  const std::string& path = train.fine_tune_ckpt_param_map();
  if (path.empty()) return absl::OkStatus();
  const std::string where = source.Where(train, "fine_tune_ckpt_param_map");
  const auto contents = ReadFile(path);
  if (!contents.ok()) return Annotate(contents.status(), where);
  int number = 0;
  for (const auto& view : absl::StrSplit(*contents, '\n')) {
    ++number;
    std::string line(view);
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty()) continue;
    const std::vector<std::string> names = absl::StrSplit(line, '\t');
    if (names.size() != 2 || names[0].empty() || names[1].empty()) {
      return InvalidInput(where, ": ", path, ":", number, ": \"", line,
                          "\" is not of the form <name in this model><tab><name in the checkpoint>");
    }
    if (!out->fine_tune_param_map.emplace(names[0], names[1]).second) {
      return InvalidInput(where, ": ", path, ":", number, ": ", names[0], " is mapped twice");
    }
  }
  return absl::OkStatus();
}

Status ConvertGradClipping(const config::GradClipping& from, const ConfigSource& source, TrainConfig* out) {
  const std::string& type = from.clipping_type();
  if (type != "none" && type != "norm" && type != "value") {
    return source.Error(from, "clipping_type", "\"", type, "\"; expected none, norm or value");
  }
  out->clipping = type == "none" ? ClippingType::kNone : type == "norm" ? ClippingType::kNorm : ClippingType::kValue;
  out->clip_max_gradient = ShortestDecimal(from.max_gradient());
  out->clip_norm_type = ShortestDecimal(from.norm_type());
  if (!(std::isfinite(out->clip_max_gradient) && out->clip_max_gradient > 0)) {
    return source.Error(from, "max_gradient", out->clip_max_gradient, "; expected a number > 0");
  }
  if (!(out->clip_norm_type > 0))
    return source.Error(from, "norm_type", out->clip_norm_type, "; expected p > 0 or inf");
  return absl::OkStatus();
}

Status ConvertSummaries(const config::TrainConfig& train, ConfigSource* source, TrainConfig* out) {
  out->use_tensorboard = train.use_tensorboard();
  if (train.tensorboard_summaries_size() == 0) return absl::OkStatus();
  out->summarize_loss = out->summarize_learning_rate = false;
  for (const std::string& name : train.tensorboard_summaries()) {
    if (name == "loss") {
      out->summarize_loss = true;
    } else if (name == "learning_rate") {
      out->summarize_learning_rate = true;
    } else if (name == "global_gradient_norm") {
      out->summarize_global_gradient_norm = true;
    } else if (name == "gradient_norm") {
      out->summarize_gradient_norm = true;
    } else if (name == "parameter" || name == "gradient") {
      source->Note(train, "tensorboard_summaries",
                   absl::StrCat("\"", name, "\" is accepted without effect: histograms are not written"));
    } else {
      const std::vector<std::string> known = {"loss",          "learning_rate", "parameter", "global_gradient_norm",
                                              "gradient_norm", "gradient"};
      return source->Error(train, "tensorboard_summaries", "\"", name, "\"; expected one of ",
                           absl::StrJoin(known, ", "), Suggestion(name, known));
    }
  }
  return absl::OkStatus();
}

}  // namespace

Status ConvertTrain(const config::TrainConfig& train, ConfigSource* source, TrainConfig* out) {
  if (!train.has_sparse_optimizer()) {
    return source->Error(train, "sparse_optimizer", "is missing; expected the optimizer of the embedding tables");
  }
  if (!train.has_dense_optimizer()) {
    return source->Error(train, "dense_optimizer", "is missing; expected the optimizer of the network");
  }
  PEPNET_RETURN_IF_ERROR(ConvertSparseOptimizer(train.sparse_optimizer(), source, &out->sparse_optimizer));
  PEPNET_RETURN_IF_ERROR(ConvertDenseOptimizer(train.dense_optimizer(), source, &out->dense_optimizer));
  if ((train.num_steps() > 0) == (train.num_epochs() > 0)) {
    return source->Error(train, train.has_num_steps() ? "num_steps" : "num_epochs", "num_steps is ", train.num_steps(),
                         " and num_epochs is ", train.num_epochs(), "; expected exactly one of them > 0");
  }
  out->num_steps = train.num_steps();
  out->num_epochs = train.num_epochs();
  out->save_checkpoints_steps = train.save_checkpoints_steps();
  out->save_checkpoints_epochs = train.save_checkpoints_epochs();
  if (train.has_save_checkpoints_steps() && train.save_checkpoints_epochs() > 0) {
    source->Note(train, "save_checkpoints_steps", "without effect: save_checkpoints_epochs is set");
  }
  out->keep_checkpoint_max = train.keep_checkpoint_max();
  out->fine_tune_checkpoint = train.fine_tune_checkpoint();
  PEPNET_RETURN_IF_ERROR(ReadParameterMap(train, *source, out));
  if (train.log_step_count_steps() == 0) {
    return source->Error(train, "log_step_count_steps", "0; expected at least 1 step between log lines");
  }
  out->log_step_count_steps = train.log_step_count_steps();
  PEPNET_RETURN_IF_ERROR(ConvertSummaries(train, source, out));
  out->gradient_accumulation_steps = train.gradient_accumulation_steps() == 0 ? 1 : train.gradient_accumulation_steps();
  if (train.has_grad_clipping()) PEPNET_RETURN_IF_ERROR(ConvertGradClipping(train.grad_clipping(), *source, out));
  const std::string& precision = train.mixed_precision();
  if (!precision.empty() && precision != "BF16" && precision != "FP16") {
    return source->Error(train, "mixed_precision", "\"", precision, "\"; expected BF16 or FP16, or remove it");
  }
  if (!precision.empty()) {
    out->mixed_precision = "BF16";
    source->Note(
        train, "mixed_precision",
        absl::StrCat(precision, precision == "FP16" ? ", read as BF16, which is as fast and does not overflow" : "",
                     ": matrix products run in bfloat16 (autocast) where the device has it; parameters, tables "
                     "and losses stay float32"));
  }
  return absl::OkStatus();
}

namespace {

// The feature or label field that `name` names.
StatusOr<SliceColumn> FindSliceColumn(const config::EvalConfig& eval, const std::string& name,
                                      const ConfigSource& source, const JobConfig& job) {
  SliceColumn column{name, -1, -1};
  std::vector<std::string> names = job.data.labels;
  column.label = IndexOf(name, names);
  if (column.label >= 0) return column;
  for (size_t f = 0; f < job.features.size(); ++f) {
    names.push_back(job.features[f].name);
    if (job.features[f].name != name) continue;
    if (job.features[f].bucketizer == Bucketizer::kNone) {
      return source.Error(eval, "slice_by", "\"", name, "\" has no ids; expected an id feature or a label field");
    }
    column.feature = static_cast<int>(f);
    return column;
  }
  return source.Error(eval, "slice_by", "neither a feature nor a label field is named \"", name, "\"",
                      Suggestion(name, names));
}

}  // namespace

Status ConvertSlices(const config::EvalConfig& eval, const ConfigSource& source, JobConfig* job) {
  if (eval.slice_top() == 0 || eval.slice_top() > 100'000) {
    return source.Error(eval, "slice_top", eval.slice_top(), "; expected from 1 to 100000 values");
  }
  job->eval.slice_top = static_cast<int>(eval.slice_top());
  for (const std::string& name : eval.slice_by()) {
    for (const SliceColumn& known : job->eval.slice_by) {
      if (known.name == name) return source.Error(eval, "slice_by", "\"", name, "\" stands twice");
    }
    PEPNET_ASSIGN_OR_RETURN(SliceColumn column, FindSliceColumn(eval, name, source, *job));
    job->eval.slice_by.push_back(std::move(column));
  }
  const std::vector<Tower>& towers = job->model.towers;
  if (!job->eval.slice_by.empty() && std::none_of(towers.begin(), towers.end(), HasScore)) {
    return source.Error(eval, "slice_by",
                        "needs a task with the probability of a click or the like (num_class 1 or 2 and "
                        "a classifying loss), but no tower has one");
  }
  return absl::OkStatus();
}

Status ConvertEval(const config::EvalConfig& eval, const ConfigSource& source, EvalConfig* out) {
  out->num_steps = eval.num_steps();
  if (eval.log_step_count_steps() == 0) {
    return source.Error(eval, "log_step_count_steps", "0; expected at least 1 step between log lines");
  }
  out->log_step_count_steps = eval.log_step_count_steps();
  return absl::OkStatus();
}

Status ConvertExport(const config::ExportConfig& from, ConfigSource* source, ExportConfig* out) {
  if (from.exporter_type() != "latest" && from.exporter_type() != "best") {
    return source->Error(from, "exporter_type", "\"", from.exporter_type(), "\"; expected latest or best");
  }
  if (from.export_format() != config::TORCHSCRIPT) {
    return source->Error(from, "export_format", config::ExportFormat_Name(from.export_format()),
                         " is not supported; remove it and choose with pepnet export --format");
  }
  if (from.has_export_format()) {
    source->Note(from, "export_format", "accepted without effect: pepnet export writes open formats, see its --format");
  }
  out->best = from.exporter_type() == "best";
  out->best_exporter_metric = from.best_exporter_metric();
  out->metric_larger_is_better = from.metric_larger_is_better();
  return absl::OkStatus();
}

}  // namespace pepnet
