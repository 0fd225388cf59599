#include "worker/train/train_report.h"

#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "common/base/log_functions.h"
#include "worker/checkpoint/model_dir.h"
#include "worker/eval/evaluator.h"

namespace pepnet {

TrainReport::TrainReport(const WorkerContext* context)
    : context_(*context), config_(*context->config), data_watch_(context->config) {}

Status TrainReport::Open(const TrainSession& session) {
  if (!context_.first()) return absl::OkStatus();
  RunLogOptions options;
  options.tensorboard = config_.train.use_tensorboard;
  options.summarize_loss = config_.train.summarize_loss;
  options.summarize_learning_rate = config_.train.summarize_learning_rate;
  options.metrics_textfile = context_.options.metrics_textfile;
  PEPNET_ASSIGN_OR_RETURN(log_, RunLog::Open(config_.model_dir, session.start_step(), options));
  return WriteEffectiveConfig(config_.model_dir, config_.effective_text);
}

void TrainReport::Observe(const Batch& batch) {
  data_watch_.Observe(batch);
  rows_trained_ += batch.global_rows;
}

Status TrainReport::LogStep(const Batch& batch, const LearningRates& lr, const TrainSession& session,
                            const TrainStep& step) {
  if (!session.IsLast(batch) && session.counters().finished_steps % config_.train.log_step_count_steps != 0) {
    return absl::OkStatus();
  }
  std::vector<double> losses = step.losses().values;
  PEPNET_RETURN_IF_ERROR(context_.collective->AllreduceSum(std::span<double>(losses), "losses"));
  if (!log_.has_value()) return absl::OkStatus();
  StepRecord record = RecordOf(lr, session, step);
  record.losses = std::move(losses);
  return log_->Step(record, times_);
}

StepRecord TrainReport::RecordOf(const LearningRates& lr, const TrainSession& session, const TrainStep& step) const {
  const TrainConfig& train = config_.train;
  const TrainCounters& counters = session.counters();
  StepRecord record;
  record.step = counters.finished_steps;
  record.epoch = counters.position.epoch;
  const double rows_per_epoch = static_cast<double>(session.feeder()->loader().rows_per_epoch());
  if (rows_per_epoch > 0) record.epoch_fraction = static_cast<double>(counters.position.rows_in_epoch) / rows_per_epoch;
  if (train.num_steps > 0) {
    record.total_fraction = static_cast<double>(counters.finished_steps - session.start_step()) /
                            static_cast<double>(train.num_steps - session.start_step());
  } else if (rows_per_epoch > 0) {
    const double rows_to_train = static_cast<double>(session.last_epoch() - counters.position.epoch) * rows_per_epoch -
                                 static_cast<double>(counters.position.rows_in_epoch);
    const double rows_done = static_cast<double>(rows_trained_);
    record.total_fraction = rows_done / (rows_done + rows_to_train);
  }
  record.loss_names = step.losses().names;
  record.lr_sparse = lr.sparse;
  record.lr_dense = lr.dense;
  record.rows = rows_trained_;
  record.train_metrics = session.metrics().Values();
  record.gradient_norms = step.gradient_norms();
  return record;
}

Status TrainReport::Evaluated(const EvaluationResult& result) {
  return log_.has_value() ? log_->Evaluation(result) : absl::OkStatus();
}

Status TrainReport::Close(const TrainSession& session, const CheckpointSaver* saver, const std::string& checkpoint,
                          const BestKeeper* best) {
  const RankStatus::Phase phase(context_.status(), "end");
  const ReadCounts read = session.read_counts();
  std::vector<int64_t> sums = {session.clamped_ids(), read.decoded_rows, read.passed_rows, read.bytes};
  PEPNET_RETURN_IF_ERROR(context_.collective->AllreduceSum(std::span<int64_t>(sums), "clamped ids and rows read"));
  LogClampedIds(context_, sums[0]);
  if (context_.first() && rows_trained_ > 0) {
    const auto trained = static_cast<double>(rows_trained_);
    LogInfo(absl::StrFormat(
        "for each row trained on the workers decoded %.2f rows, passed over %.2f and read %.0f bytes of the "
        "files",
        static_cast<double>(sums[1]) / trained, static_cast<double>(sums[2]) / trained,
        static_cast<double>(sums[3]) / trained));
  }
  PEPNET_ASSIGN_OR_RETURN(const std::vector<std::string> warnings, data_watch_.Warnings(context_.collective));
  for (const std::string& warning : warnings) LogWarning(warning);
  if (!log_.has_value()) return absl::OkStatus();
  PEPNET_ASSIGN_OR_RETURN(const std::vector<std::string> stats, context_.client->Stats());
  for (const std::string& warning : TableWarnings(config_, RowsOfServers(stats))) LogWarning(warning);
  const int64_t steps = session.counters().finished_steps - session.start_step();
  log_->Report(steps, rows_trained_, times_, stats, checkpoint);
  log_->ReportSaves(saver->costs(), save_delays_);
  const PsClient::StepTraffic& traffic = context_.client->step_traffic();
  const double rows = static_cast<double>(rows_trained_) / context_.collective->count();
  if (rows > 0) {
    LogInfo(absl::StrFormat("worker 0 sent %.1f and received %.1f bytes of ids, rows and gradients a sample",
                            static_cast<double>(traffic.sent) / rows, static_cast<double>(traffic.received) / rows));
  }
  const std::string peaks = DescribePeaks(config_.model, ReadEvaluations(config_.model_dir));
  if (!peaks.empty()) LogInfo("the tasks were best at different steps: " + peaks);
  if (best != nullptr) LogInfo(best->BestText());
  return absl::OkStatus();
}

TrainReport::StepTimer::StepTimer(TrainReport* report, const CheckpointSaver* saver)
    : report_(report),
      saver_(saver),
      start_(Clock::now()),
      evaluated_(report->times_.seconds(Stage::kEval)),
      saving_(Saving()) {}

void TrainReport::StepTimer::Done() {
  const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
  report_->save_delays_.Add(seconds - (report_->times_.seconds(Stage::kEval) - evaluated_), saving_ || Saving());
}

}  // namespace pepnet
