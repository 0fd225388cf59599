#include "worker/train/train_report.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "common/base/log_functions.h"
#include "common/base/screen.h"
#include "common/job_config/evaluation_metrics.h"
#include "worker/checkpoint/model_dir.h"
#include "worker/eval/evaluator.h"
#include "worker/report/run_lines.h"
#include "worker/report/slice_report.h"
#include "worker/watch/table_watch.h"
#include "worker/watch/vocabulary_watch.h"

namespace pepnet {

namespace {

// After which the worst mistakes are told.
constexpr int64_t kEarlyRows = LabelCopies::kWatchedRows;
constexpr int kUsualWidth = 120;  // of a log that somebody reads later

// The names of the losses as the progress line has them: that of the task where it has one loss.
std::vector<std::string> LossLabels(const Model& model) {
  std::vector<std::string> labels;
  for (const Tower& tower : model.towers) {
    for (const Loss& loss : tower.losses) {
      labels.push_back(tower.losses.size() == 1 ? tower.name : loss.name);
    }
  }
  return labels;
}

}  // namespace

TrainReport::TrainReport(const WorkerContext* context)
    : context_(*context),
      config_(*context->config),
      loss_labels_(LossLabels(context->config->model)),
      data_watch_(context->config),
      trained_rows_(context->config) {}

Status TrainReport::Open(const TrainSession& session) {
  // Rows of a pass are counted only if the pass is seen from its first row on.
  pass_is_whole_ = session.counters().position.rows_in_epoch == 0;
  if (!context_.first()) return absl::OkStatus();
  RunLogOptions options;
  options.tensorboard = config_.train.use_tensorboard;
  options.summarize_loss = config_.train.summarize_loss;
  options.summarize_learning_rate = config_.train.summarize_learning_rate;
  options.hyperparameters =
      HyperparametersOf(config_, context_.collective->count(), session.counters().seed);
  for (const EvaluationMetric& metric : EvaluationMetrics(config_.model)) {
    if (metric.loss) options.losses.insert(metric.name);
  }
  options.metrics_textfile = context_.options.metrics_textfile;
  PEPNET_ASSIGN_OR_RETURN(log_, RunLog::Open(config_.model_dir, session.start_step(), options));
  PEPNET_RETURN_IF_ERROR(log_->Warn(session.start_step(), earlier_warnings_, /*logged=*/true));
  return WriteEffectiveConfig(config_.model_dir, config_.effective_text);
}

void TrainReport::Observe(const Batch& batch, const TrainSession& session) {
  data_watch_.Observe(batch);
  if (!looked_for_rows_) trained_rows_.Observe(batch);
  rows_trained_ += batch.global_rows;
  // Of files that do not say how many rows they have, the first pass that is seen whole says it.
  rows_of_pass_ += batch.global_rows;
  const int64_t known = session.prefetcher()->loader().rows_per_epoch();
  if (known > 0) {
    rows_per_epoch_ = known;
  } else if (batch.last_in_epoch && pass_is_whole_) {
    rows_per_epoch_ = rows_of_pass_;
  }
  if (!batch.last_in_epoch) return;
  rows_of_pass_ = 0;
  pass_is_whole_ = true;
}

Status TrainReport::LogStep(const Batch& batch, const LearningRates& lr,
                            const TrainSession& session, const TrainStep& step) {
  // The number of rows trained is global, so all workers look at the same step: the warnings are
  // sums over the workers, made by a collective operation.
  if (!looked_early_ && rows_trained_ >= kEarlyRows) {
    looked_early_ = true;
    PEPNET_ASSIGN_OR_RETURN(std::vector<Warning> warnings, DataWarnings(session));
    // Other warnings may be due to the order of the rows.
    std::erase_if(warnings, [](const Warning& warning) {
      return warning.kind != warning_kinds::kLeak && warning.kind != warning_kinds::kRange &&
             warning.kind != warning_kinds::kVocabulary;
    });
    if (log_.has_value()) {
      PEPNET_RETURN_IF_ERROR(log_->Warn(session.counters().finished_steps, warnings));
    }
  }
  if (!session.IsLast(batch) &&
      session.counters().finished_steps % config_.train.log_step_count_steps != 0) {
    return absl::OkStatus();
  }
  std::vector<double> losses = step.losses().values;
  // The sum is collective, so it comes before the return of workers without a log.
  PEPNET_RETURN_IF_ERROR(context_.collective->AllreduceSum(std::span<double>(losses), "losses"));
  if (!log_.has_value()) return absl::OkStatus();
  StepRecord record = RecordOf(lr, session, step);
  record.losses = std::move(losses);
  record.loss_weights = step.losses().weights;
  if (std::any_of(config_.tables.begin(), config_.tables.end(),
                  [](const Table& table) { return table.grows(); })) {
    // The statistics are as of this step: the answer waits until the servers have applied it.
    PEPNET_ASSIGN_OR_RETURN(const std::vector<std::string> stats,
                            context_.client->Stats(record.step));
    record.tables = DynamicTablesOf(config_, stats);
  }
  return log_->Step(record, times_);
}

StepRecord TrainReport::RecordOf(const LearningRates& lr, const TrainSession& session,
                                 const TrainStep& step) const {
  const TrainConfig& train = config_.train;
  const TrainCounters& counters = session.counters();
  StepRecord record;
  record.step = counters.finished_steps;
  record.epoch = counters.position.epoch;
  record.total_steps = train.num_steps;
  const double rows_per_epoch = static_cast<double>(rows_per_epoch_);
  const double steps_per_epoch = StepsPerEpoch();
  if (rows_per_epoch > 0) {
    record.epoch_fraction = static_cast<double>(counters.position.rows_in_epoch) / rows_per_epoch;
  }
  if (train.num_steps > 0) {
    // The share is that of this run alone, for the time that is left.
    record.total_fraction = static_cast<double>(counters.finished_steps - session.start_step()) /
                            static_cast<double>(train.num_steps - session.start_step());
  } else if (rows_per_epoch > 0) {
    // The rows left are those of the passes to come, less the part of the running one that is done.
    const double rows_to_train =
        static_cast<double>(session.last_epoch() - counters.position.epoch) * rows_per_epoch -
        static_cast<double>(counters.position.rows_in_epoch);
    const double rows_done = static_cast<double>(rows_trained_);
    record.total_fraction = rows_done / (rows_done + rows_to_train);
    const double batch =
        static_cast<double>(config_.data.batch_size) * context_.collective->count();
    const double steps_in_epoch =
        std::ceil(static_cast<double>(counters.position.rows_in_epoch) / batch);
    const double passes = static_cast<double>(session.last_epoch() - counters.position.epoch);
    record.total_steps =
        counters.finished_steps +
        static_cast<int64_t>(std::max(0.0, passes * steps_per_epoch - steps_in_epoch));
  }
  if (train.num_steps == 0) record.total_epochs = session.last_epoch();
  record.loss_names = step.losses().names;
  record.loss_labels = loss_labels_;
  record.lr_sparse = lr.sparse;
  record.lr_dense = lr.dense;
  for (const int part : session.state().optimizers.parts()) {
    record.lr_parts.emplace_back(part, lr.parts[part]);
  }
  record.rows = rows_trained_;
  record.train_metrics = session.metrics().Values();
  record.train_windows = session.metrics().Windows();
  record.train_slices = session.metrics().Slices();
  record.gradient_norms = step.gradient_norms();
  return record;
}

const TrainedRows* TrainReport::RowsToFind() {
  if (looked_for_rows_ || rows_trained_ == 0) return nullptr;
  looked_for_rows_ = true;
  return &trained_rows_;
}

Status TrainReport::Evaluated(const EvaluationResult& result) {
  if (!log_.has_value()) return absl::OkStatus();
  slice_table_ = SliceTable(result.step, result.slices);
  PEPNET_RETURN_IF_ERROR(log_->Evaluation(result));
  std::vector<Warning> given;
  const std::vector<Warning> before = std::exchange(held_, {});
  for (const Warning& warning : result.warnings) {
    // Predictions that get better from one evaluation to the next are those of a training under
    // way.
    const bool stands = std::any_of(before.begin(), before.end(), [&](const Warning& earlier) {
      return earlier.kind == warning.kind && earlier.subject == warning.subject &&
             earlier.distance <= warning.distance;
    });
    (stands || warning.kind != warning_kinds::kCalibration ? given : held_).push_back(warning);
  }
  return log_->Warn(result.step, given);
}

StatusOr<std::vector<Warning>> TrainReport::DataWarnings(const TrainSession& session) const {
  PEPNET_ASSIGN_OR_RETURN(std::vector<Warning> warnings, data_watch_.Warnings(context_.collective));
  PEPNET_ASSIGN_OR_RETURN(
      std::vector<Warning> lacking,
      VocabularyWarnings(config_, session.encode_counts(), "training", context_.collective));
  for (Warning& warning : lacking) warnings.push_back(std::move(warning));
  return warnings;
}

Status TrainReport::Close(const TrainSession& session, const CheckpointSaver* saver,
                          const std::string& checkpoint, const BestKeeper* best) {
  const RankStatus::Phase phase(context_.status(), "end");
  const ReadCounts read = session.read_counts();
  // One allreduce for all counts, made by every worker; what follows is worker 0's.
  std::vector<int64_t> sums = {session.encode_counts().clamped, read.decoded_rows, read.passed_rows,
                               read.bytes};
  PEPNET_RETURN_IF_ERROR(
      context_.collective->AllreduceSum(std::span<int64_t>(sums), "clamped ids and rows read"));
  LogClampedIds(context_, sums[0]);
  if (context_.first() && rows_trained_ > 0) {
    const auto trained = static_cast<double>(rows_trained_);
    LogVerbose(absl::StrFormat(
        "reading: %.2f rows decoded, %.2f skipped and %.0f bytes read for each training row",
        static_cast<double>(sums[1]) / trained, static_cast<double>(sums[2]) / trained,
        static_cast<double>(sums[3]) / trained));
  }
  PEPNET_ASSIGN_OR_RETURN(const std::vector<Warning> warnings, DataWarnings(session));
  if (!log_.has_value()) return absl::OkStatus();
  PEPNET_ASSIGN_OR_RETURN(const std::vector<std::string> stats, context_.client->Stats());
  const int64_t step = session.counters().finished_steps;
  // No evaluation follows that could take these back.
  PEPNET_RETURN_IF_ERROR(log_->Warn(step, held_));
  PEPNET_RETURN_IF_ERROR(log_->Warn(step, warnings));
  PEPNET_RETURN_IF_ERROR(log_->Warn(step, TableWarnings(config_, RowsOfServers(stats))));
  for (const DynamicTableCounts& counts : DynamicTablesOf(config_, stats)) {
    LogInfo(DynamicTableLine(counts));
  }
  if (const std::string line = EventTimeLine(config_, stats); !line.empty()) LogInfo(line);
  if (const std::vector<TrainSlice> slices = session.metrics().Slices(); !slices.empty()) {
    LogLines(TrainSliceTable(step, slices));
  }
  // Once, as the evaluations before it would be pages; verbosely each stands where it was made.
  if (!slice_table_.empty() && !LogsVerbosely()) LogLines(slice_table_);
  const int64_t steps = step - session.start_step();
  log_->Report(steps, rows_trained_, times_, stats, checkpoint);
  log_->ReportSaves(saver->costs(), save_delays_);
  const PsClient::StepTraffic& traffic = context_.client->step_traffic();
  const double rows = static_cast<double>(rows_trained_) / context_.collective->count();
  if (rows > 0 && !context_.client->reads_in_place()) {
    LogVerbose(absl::StrFormat(
        "worker 0 sent %.1f and received %.1f bytes of ids, rows and gradients per sample",
        static_cast<double>(traffic.sent) / rows, static_cast<double>(traffic.received) / rows));
  }
  LogEvaluations(best);
  return log_->Finish(step, BestValues());
}

// By metric, then by keep_best's sum where that is none of them: the best of the evaluations.
std::vector<std::pair<std::string, double>> TrainReport::BestValues() const {
  std::vector<std::pair<std::string, double>> values;
  const auto add = [&](const BestRule& rule, const std::string& name) {
    const std::optional<ValuedStep> best =
        StandingOf(rule, ReadValuedSteps(config_.model_dir, rule)).best;
    const auto same = [&](const auto& value) { return value.first == name; };
    if (best.has_value() && std::none_of(values.begin(), values.end(), same)) {
      values.push_back({name, best->value});
    }
  };
  for (const EvaluationMetric& metric : EvaluationMetrics(config_.model)) {
    BestRule rule;
    rule.metrics = {{metric.name}};
    rule.larger_is_better = metric.larger_is_better;
    add(rule, metric.name);
  }
  if (config_.train.best.enabled()) add(config_.train.best, NameOf(config_.train.best));
  return values;
}

void TrainReport::LogEvaluations(const BestKeeper* best) const {
  const std::vector<EvaluationLine> evaluations = ReadEvaluations(config_.model_dir);
  const std::vector<EvaluationMetric> metrics = EvaluationMetrics(config_.model);
  if (evaluations.size() > 1) {
    LogLines(absl::StrCat(
        "the evaluations (* best of its column)\n",
        EvaluationTable(metrics, evaluations, StepsPerEpoch(), ScreenWidth(kUsualWidth))));
  }
  const std::string peaks = DescribePeaks(config_.model, evaluations);
  if (!peaks.empty()) LogInfo("the tasks were best at different steps: " + peaks);
  if (best != nullptr) {
    LogInfo(best->BestText());
  } else if (const std::string hint = KeepBestHint(metrics, evaluations); !hint.empty()) {
    LogInfo(hint);
  }
}

// Steps of a pass over the data; 0: unknown.
double TrainReport::StepsPerEpoch() const {
  const double batch = static_cast<double>(config_.data.batch_size) * context_.collective->count();
  if (rows_per_epoch_ <= 0) return 0;
  const double steps = static_cast<double>(rows_per_epoch_) / batch;
  return config_.data.drop_remainder ? std::floor(steps) : std::ceil(steps);
}

TrainReport::StepTimer::StepTimer(TrainReport* report, const CheckpointSaver* saver)
    : report_(report),
      saver_(saver),
      start_(Clock::now()),
      evaluated_(report->times_.seconds(Stage::kEval)),
      saving_(Saving()) {}

void TrainReport::StepTimer::Done() {
  // The evaluation inside of a step is no delay of saving.
  const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
  report_->save_delays_.Add(seconds - (report_->times_.seconds(Stage::kEval) - evaluated_),
                            saving_ || Saving());
}

}  // namespace pepnet
