#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

#include "common/base/spelling.h"
#include "common/config/convert.h"
#include "common/config/parse/text_parser.h"
#include "common/config/values/value_strings.h"
#include "common/file/file.h"
#include "common/job_config/evaluation_metrics.h"

namespace pepnet {
namespace {

// Lines "<name in this model>\t<name in the checkpoint>".
Status ReadParameterMap(const config::TrainConfig& train, const ConfigSource& source,
                        TrainConfig* out) {
  const std::string& path = train.fine_tune_ckpt_param_map();
  if (path.empty()) return absl::OkStatus();
  // Names are those of docs/spec.md section 7. Names that stand in no line are the same on both
  // sides.
  const std::string where = source.Where(train, "fine_tune_ckpt_param_map");
  const auto contents = ReadFile(path);
  if (!contents.ok()) return Annotate(contents.status(), where);
  int number = 0;
  for (const auto& view : absl::StrSplit(*contents, '\n')) {
    ++number;
    std::string line(view);
    // Files written on Windows end their lines with \r\n.
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty()) continue;
    const std::vector<std::string> names = absl::StrSplit(line, '\t');
    if (names.size() != 2 || names[0].empty() || names[1].empty()) {
      return InvalidInput(
          where, ": ", path, ":", number, ": \"", line,
          "\" is not of the form <name in this model><tab><name in the checkpoint>");
    }
    if (!out->fine_tune_param_map.emplace(names[0], names[1]).second) {
      return InvalidInput(where, ": ", path, ":", number, ": ", names[0], " is mapped twice");
    }
  }
  return absl::OkStatus();
}

// norm_type may be infinity (the largest absolute gradient), max_gradient may not.
Status ConvertGradClipping(const config::GradClipping& from, const ConfigSource& source,
                           TrainConfig* out) {
  const std::string& type = from.clipping_type();
  if (type != "none" && type != "norm" && type != "value") {
    return source.Error(from, "clipping_type", "\"", type, "\"; expected none, norm or value");
  }
  out->clipping = type == "none"   ? ClippingType::kNone
                  : type == "norm" ? ClippingType::kNorm
                                   : ClippingType::kValue;
  out->clip_max_gradient = ShortestDecimal(from.max_gradient());
  out->clip_norm_type = ShortestDecimal(from.norm_type());
  if (!(std::isfinite(out->clip_max_gradient) && out->clip_max_gradient > 0)) {
    return source.Error(from, "max_gradient", out->clip_max_gradient, "; expected a number > 0");
  }
  if (!(out->clip_norm_type > 0)) {
    return source.Error(from, "norm_type", out->clip_norm_type, "; expected p > 0 or inf");
  }
  return absl::OkStatus();
}

// A list replaces the defaults, loss and learning rate, as a whole.
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
      source->Note(
          train, "tensorboard_summaries",
          absl::StrCat("\"", name, "\" is accepted without effect: histograms are not written"));
    } else {
      const std::vector<std::string> known = {"loss",          "learning_rate",
                                              "parameter",     "global_gradient_norm",
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
    return source->Error(train, "sparse_optimizer",
                         "is missing; expected the optimizer of the embedding tables");
  }
  if (!train.has_dense_optimizer()) {
    return source->Error(train, "dense_optimizer",
                         "is missing; expected the optimizer of the network");
  }
  PEPNET_RETURN_IF_ERROR(
      ConvertSparseOptimizer(train.sparse_optimizer(), source, &out->sparse_optimizer));
  PEPNET_RETURN_IF_ERROR(
      ConvertDenseOptimizer(train.dense_optimizer(), source, &out->dense_optimizer));
  PEPNET_RETURN_IF_ERROR(ConvertPartOptimizers(train.dense_optimizer(), source, out));
  PEPNET_RETURN_IF_ERROR(ConvertEma(train.dense_optimizer(), *source, out));
  // Setting both would need a rule for which one wins, and setting neither would train forever.
  if ((train.num_steps() > 0) == (train.num_epochs() > 0)) {
    return source->Error(train, train.has_num_steps() ? "num_steps" : "num_epochs", "num_steps is ",
                         train.num_steps(), " and num_epochs is ", train.num_epochs(),
                         "; expected exactly one of them > 0");
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
    return source->Error(train, "log_step_count_steps",
                         "0; expected at least 1 step between log lines");
  }
  out->log_step_count_steps = train.log_step_count_steps();
  PEPNET_RETURN_IF_ERROR(ConvertSummaries(train, source, out));
  // 0 and 1 both mean an optimizer step behind every micro-batch.
  out->gradient_accumulation_steps =
      train.gradient_accumulation_steps() == 0 ? 1 : train.gradient_accumulation_steps();
  if (train.has_grad_clipping()) {
    PEPNET_RETURN_IF_ERROR(ConvertGradClipping(train.grad_clipping(), *source, out));
  }
  const std::string& precision = train.mixed_precision();
  if (!precision.empty() && precision != "BF16" && precision != "FP16") {
    return source->Error(train, "mixed_precision", "\"", precision,
                         "\"; expected BF16 or FP16, or remove it");
  }
  if (!precision.empty()) {
    // FP16 needs loss scaling against overflow; bfloat16 has the exponent of float32 and does not.
    out->mixed_precision = "BF16";
    source->Note(
        train, "mixed_precision",
        absl::StrCat(
            precision,
            precision == "FP16" ? ", read as BF16, which is as fast and does not overflow" : "",
            ": matrix products run in bfloat16 (autocast) where the device has it; parameters, "
            "tables "
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
      return source.Error(eval, "slice_by", "\"", name,
                          "\" has no ids; expected an id feature or a label field");
    }
    column.feature = static_cast<int>(f);
    return column;
  }
  return source.Error(eval, "slice_by", "neither a feature nor a label field is named \"", name,
                      "\"", Suggestion(name, names));
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
  // The measures of slices (AUC, PCOC and the like) are of a probability per row.
  if (!job->eval.slice_by.empty() && std::none_of(towers.begin(), towers.end(), HasScore)) {
    return source.Error(
        eval, "slice_by",
        "needs a task with the probability of a click or the like (num_class 1 or 2 and "
        "a classifying loss), but no tower has one");
  }
  return absl::OkStatus();
}

Status ConvertEval(const config::EvalConfig& eval, const ConfigSource& source, EvalConfig* out) {
  out->num_steps = eval.num_steps();
  if (eval.log_step_count_steps() == 0) {
    return source.Error(eval, "log_step_count_steps",
                        "0; expected at least 1 step between log lines");
  }
  out->log_step_count_steps = eval.log_step_count_steps();
  return absl::OkStatus();
}

Status ConvertExport(const config::ExportConfig& from, ConfigSource* source, ExportConfig* out) {
  if (from.exporter_type() != "latest" && from.exporter_type() != "best") {
    return source->Error(from, "exporter_type", "\"", from.exporter_type(),
                         "\"; expected latest or best");
  }
  // TORCHSCRIPT is the schema's default, so it says nothing; other formats were asked for.
  if (from.export_format() != config::TORCHSCRIPT) {
    return source->Error(from, "export_format", config::ExportFormat_Name(from.export_format()),
                         " is not supported; remove it and choose with pepnet export --format");
  }
  if (from.has_export_format()) {
    source->Note(from, "export_format",
                 "accepted without effect: pepnet export writes open formats, see its --format");
  }
  out->best = from.exporter_type() == "best";
  return absl::OkStatus();
}

namespace {

// Whether a section, eval_config or export_config, reads the averages of `ema`: what it says, else
// whenever they are kept.
template <typename Section>
StatusOr<bool> UsesAverages(const Section& section, bool kept, const ConfigSource& source) {
  if (!section.has_use_dense_ema()) return kept;
  if (section.use_dense_ema() && !kept) {
    return source.Error(
        section, "use_dense_ema",
        "true, but train_config.dense_optimizer keeps no averages; add ema {} there or remove it");
  }
  return section.use_dense_ema();
}

}  // namespace

Status ConvertUseOfAverages(const config::EasyRecConfig& config, const ConfigSource& source,
                            JobConfig* job) {
  const bool kept = job->train.ema_decay.has_value();
  PEPNET_ASSIGN_OR_RETURN(job->eval.uses_averages,
                          UsesAverages(config.eval_config(), kept, source));
  PEPNET_ASSIGN_OR_RETURN(job->export_config.uses_averages,
                          UsesAverages(config.export_config(), kept, source));
  return absl::OkStatus();
}

// ---- keep_best, patience and min_delta, and exporter_type "best": one rule ----------------------

namespace {

// A number of an evaluation that may be the best, and what a rule says of it.
struct Candidate {
  BestMetric metric;
  bool larger_is_better;
};

// The numbers of an evaluation over all rows: every metric and every loss.
std::vector<Candidate> WholeEvaluation(const Model& model) {
  std::vector<Candidate> candidates;
  for (const EvaluationMetric& metric : EvaluationMetrics(model)) {
    candidates.push_back({{metric.name}, metric.larger_is_better});
  }
  return candidates;
}

// The measures of slices that have a better direction. Grouped AUCs exist only for tasks with a
// grouped_auc metric, which names the groups.
std::vector<Candidate> OfSlices(const Model& model) {
  std::vector<Candidate> candidates;
  for (const Tower& tower : model.towers) {
    if (!HasScore(tower)) continue;
    for (const SliceMeasureType& type : kSliceMeasures) {
      const bool by_group = type.measure == SliceMeasure::kGroupedAuc ||
                            type.measure == SliceMeasure::kGroupedAucByImpressions;
      if (by_group && GroupedAucOf(tower) == nullptr) continue;
      BestMetric metric;
      metric.name = NameOfMeasure(type.measure, tower.name);
      metric.measure = type.measure;
      metric.task = tower.name;
      candidates.push_back({std::move(metric), type.larger_is_better});
    }
  }
  return candidates;
}

std::vector<std::string> NamesOf(const std::vector<Candidate>& candidates) {
  std::vector<std::string> names;
  for (const Candidate& candidate : candidates) names.push_back(candidate.metric.name);
  return names;
}

const Candidate* Find(const std::vector<Candidate>& candidates, const std::string& name) {
  for (const Candidate& candidate : candidates) {
    if (candidate.metric.name == name) return &candidate;
  }
  return nullptr;
}

StatusOr<Candidate> ConvertBestMetric(const config::BestMetric& from, const ConfigSource& source,
                                      const JobConfig& job) {
  if (from.metric().empty()) {
    return source.Error(from, "metric", "is missing; expected one of ",
                        absl::StrJoin(NamesOf(WholeEvaluation(job.model)), ", "));
  }
  // slice_value has presence, since "" is a value that rows may have.
  if (from.slice_by().empty() != !from.has_slice_value()) {
    return source.Error(from, from.slice_by().empty() ? "slice_value" : "slice_by",
                        "slice_by and slice_value go together: a column of eval_config.slice_by "
                        "and one of its values");
  }
  if (!from.slice_by().empty()) {
    std::vector<std::string> columns;
    for (const SliceColumn& column : job.eval.slice_by) columns.push_back(column.name);
    if (IndexOf(from.slice_by(), columns) < 0) {
      return source.Error(
          from, "slice_by", "\"", from.slice_by(), "\" is no column of eval_config.slice_by; ",
          columns.empty() ? "that is empty, so add it there"
                          : absl::StrCat("expected one of ", absl::StrJoin(columns, ", "),
                                         Suggestion(from.slice_by(), columns)));
    }
  }
  // A slice has the measures of slices alone; the metrics of the towers are of all rows.
  const std::vector<Candidate> candidates =
      from.slice_by().empty() ? WholeEvaluation(job.model) : OfSlices(job.model);
  const Candidate* const found = Find(candidates, from.metric());
  if (found == nullptr) {
    const std::vector<std::string> names = NamesOf(candidates);
    return source.Error(from, "metric", "\"", from.metric(), "\" is no ",
                        from.slice_by().empty() ? "metric of an evaluation"
                                                : "metric of a slice with a best direction",
                        "; expected one of ", absl::StrJoin(names, ", "),
                        Suggestion(from.metric(), names));
  }
  Candidate candidate = *found;
  candidate.metric.slice_by = from.slice_by();
  candidate.metric.slice_value = from.slice_value();
  candidate.metric.weight = ShortestDecimal(from.weight());
  if (!std::isfinite(from.weight()) || from.weight() == 0) {
    return source.Error(from, "weight", from.weight(), "; expected a finite number other than 0");
  }
  if (from.weight() < 0) candidate.larger_is_better = !candidate.larger_is_better;
  return candidate;
}

Status ConvertKeepBest(const config::TrainConfig& train, ConfigSource* source, const JobConfig& job,
                       BestRule* rule) {
  std::optional<bool> larger;
  bool mixed = false;
  for (const config::BestMetric& from : train.keep_best()) {
    PEPNET_ASSIGN_OR_RETURN(const Candidate candidate, ConvertBestMetric(from, *source, job));
    // The same number twice would be one with the sum of the weights, which is what to write.
    for (const BestMetric& known : rule->metrics) {
      if (known.name == candidate.metric.name && known.slice_by == candidate.metric.slice_by &&
          known.slice_value == candidate.metric.slice_value) {
        return source->Error(from, "metric", "\"", known.name,
                             "\" stands twice; give it one weight");
      }
    }
    // A sum of an AUC and a loss has no better direction, unless one of them has a negative weight,
    // which turns its own around.
    mixed = mixed || (larger.has_value() && *larger != candidate.larger_is_better);
    larger = candidate.larger_is_better;
    rule->metrics.push_back(candidate.metric);
  }
  if (train.has_metric_larger_is_better()) {
    // A mixed sum has no expected direction, so none is worth a note.
    if (!mixed && *larger != train.metric_larger_is_better()) {
      source->Note(
          train, "metric_larger_is_better",
          absl::StrCat("the ", train.metric_larger_is_better() ? "largest " : "smallest ",
                       NameOf(*rule),
                       " counts as the best, although it is the worst by what it measures"));
    }
    larger = train.metric_larger_is_better();
  } else if (mixed) {
    return source->Error(
        train, "keep_best",
        "adds metrics of which some are better when larger and others when smaller; give one kind "
        "a negative weight, or set metric_larger_is_better");
  }
  rule->larger_is_better = *larger;
  return absl::OkStatus();
}

// exporter_type "best" without keep_best. The reference trains on with a name that no evaluation
// has (its default has no task in it); so does this, with a note, and only the export that wants
// the best one is refused.
void ConvertBestExporter(const config::ExportConfig& from, ConfigSource* source, JobConfig* job) {
  const std::vector<Candidate> candidates = WholeEvaluation(job->model);
  const std::string& name = from.best_exporter_metric();
  const Candidate* const found = Find(candidates, name);
  if (found == nullptr) {
    const std::vector<std::string> names = NamesOf(candidates);
    job->export_config.no_best =
        absl::StrCat(source->Where(from, "best_exporter_metric"), ": \"", name,
                     "\" is no metric of an evaluation; expected one of ",
                     absl::StrJoin(names, ", "), Suggestion(name, names));
    source->Note(
        from, "best_exporter_metric",
        absl::StrCat("\"", name,
                     "\" is no metric of an evaluation, so no checkpoint is kept as the best one; "
                     "expected one of ",
                     absl::StrJoin(names, ", "), Suggestion(name, names)));
    return;
  }
  // One metric of weight 1 is the rule that the reference has.
  job->train.best.metrics = {found->metric};
  job->train.best.larger_is_better = from.metric_larger_is_better();
  if (from.metric_larger_is_better() != found->larger_is_better) {
    source->Note(
        from, "metric_larger_is_better",
        absl::StrCat("the ", from.metric_larger_is_better() ? "largest " : "smallest ", name,
                     " counts as the best, although it is the worst by what it measures"));
  }
}

// exporter_type "best" beside keep_best must not ask for something else.
Status CheckSameBest(const config::ExportConfig& from, const ConfigSource& source,
                     const BestRule& rule) {
  const bool same_metric = rule.metrics.size() == 1 && rule.metrics[0].slice_by.empty() &&
                           rule.metrics[0].name == from.best_exporter_metric();
  if (from.has_best_exporter_metric() && !same_metric) {
    return source.Error(
        from, "best_exporter_metric", "\"", from.best_exporter_metric(),
        "\", but train_config.keep_best is ", NameOf(rule),
        "; leave best_exporter_metric out, and the best one by keep_best is exported");
  }
  if (from.has_metric_larger_is_better() &&
      from.metric_larger_is_better() != rule.larger_is_better) {
    return source.Error(from, "metric_larger_is_better",
                        from.metric_larger_is_better() ? "true" : "false",
                        ", but by train_config.keep_best ",
                        rule.larger_is_better ? "larger" : "smaller", " is better; leave it out");
  }
  return absl::OkStatus();
}

// Evaluations before the end, where the config alone says how many; -1: the data decide.
int64_t EvaluationsBeforeTheEnd(const TrainConfig& train) {
  if (train.save_checkpoints_epochs > 0) {
    // The evaluation at the very end does not count: there is nothing left that it could end early.
    return train.num_epochs > 0 ? (train.num_epochs - 1) / train.save_checkpoints_epochs : -1;
  }
  if (train.save_checkpoints_steps == 0) return 0;
  return train.num_steps > 0 ? (train.num_steps - 1) / train.save_checkpoints_steps : -1;
}

// Patience that can never run out is refused or noted now, since the training itself would say
// nothing about it.
Status ConvertPatience(const config::TrainConfig& train, ConfigSource* source, const JobConfig& job,
                       BestRule* rule) {
  const bool unused = train.patience() == 0;
  if (!std::isfinite(train.min_delta()) || train.min_delta() < 0) {
    return source->Error(train, "min_delta", train.min_delta(),
                         "; expected a finite number of at least 0");
  }
  if (unused) {
    if (train.has_min_delta()) {
      source->Note(train, "min_delta", "without effect: patience is not set");
    }
    return absl::OkStatus();
  }
  if (!rule->enabled()) {
    return source->Error(
        train, "patience", train.patience(),
        ", but nothing says which evaluation is better; add keep_best { metric: \"...\" }");
  }
  const int64_t evaluations = EvaluationsBeforeTheEnd(job.train);
  if (evaluations == 0) {
    return source->Error(
        train, "patience", train.patience(),
        ", but there is no evaluation before the end, as evaluations come with checkpoints; lower "
        "save_checkpoints_steps or save_checkpoints_epochs");
  }
  if (evaluations > 0 && evaluations <= train.patience()) {
    source->Note(
        train, "patience",
        absl::StrCat(train.patience(), " cannot end the training early: ",
                     evaluations == 1 ? "only 1 evaluation comes"
                                      : absl::StrCat("only ", evaluations, " evaluations come"),
                     " before its end"));
  }
  rule->patience = train.patience();
  rule->min_delta = ShortestDecimal(train.min_delta());
  return absl::OkStatus();
}

}  // namespace

Status ConvertBest(const config::EasyRecConfig& config, bool for_training, ConfigSource* source,
                   JobConfig* job) {
  const config::TrainConfig& train = config.train_config();
  BestRule* const rule = &job->train.best;
  if (train.keep_best_size() > 0) {
    PEPNET_RETURN_IF_ERROR(ConvertKeepBest(train, source, *job, rule));
    if (job->export_config.best) {
      PEPNET_RETURN_IF_ERROR(CheckSameBest(config.export_config(), *source, *rule));
    }
  } else {
    if (train.has_metric_larger_is_better()) {
      source->Note(train, "metric_larger_is_better", "without effect: keep_best is not set");
    }
    if (job->export_config.best) ConvertBestExporter(config.export_config(), source, job);
  }
  // Patience follows the rule, wherever that came from.
  PEPNET_RETURN_IF_ERROR(ConvertPatience(train, source, *job, rule));
  // Other commands read the same config without evaluating during training, so they need no path.
  if (for_training && job->eval_input_path.empty() &&
      (train.keep_best_size() > 0 || rule->patience > 0)) {
    return source->Error(train, rule->patience > 0 ? "patience" : "keep_best",
                         "needs evaluations, but eval_input_path is empty; set it");
  }
  return absl::OkStatus();
}

}  // namespace pepnet
