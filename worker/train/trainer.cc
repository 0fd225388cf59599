#include "worker/train/trainer.h"

#include <cmath>

#include "absl/strings/str_format.h"
#include "common/base/log_functions.h"
#include "common/checkpoint/checkpoint.h"
#include "common/file/file.h"
#include "worker/checkpoint/checkpointing.h"
#include "worker/checkpoint/resume_choice.h"
#include "worker/eval/evaluator.h"
#include "worker/model/engine/make_model.h"
#include "worker/optim/learning_rate.h"
#include "worker/train/divergence.h"

namespace pepnet {

Trainer::Trainer(const WorkerContext& context)
    : context_(context), config_(*context.config), train_metrics_(context.config), data_watch_(context.config) {}
Trainer::~Trainer() = default;

Status Trainer::Run() {
  PEPNET_RETURN_IF_ERROR(Start());
  for (;;) {
    PEPNET_ASSIGN_OR_RETURN(bool more, Step());
    if (!more) break;
  }
  // A job that had already finished evaluates once more; so does one that found nothing left to train on.
  if (!stopped_ && (saved_step_ != state_->counters.finished_steps || evaluation_.empty())) {
    PEPNET_RETURN_IF_ERROR(SaveAndEvaluate());
  }
  PEPNET_RETURN_IF_ERROR(FinishSave());
  return Report();
}

Status Trainer::Start() {
  const RankStatus::Phase phase(context_.status(), "start");
  state_ = std::make_unique<TrainState>(config_, context_.options.seed);
  PEPNET_ASSIGN_OR_RETURN(std::string resume_from, EnterModelDir());
  if (resume_from.empty()) {
    PEPNET_RETURN_IF_ERROR(StartFresh());
  } else {
    PEPNET_RETURN_IF_ERROR(Resume(resume_from));
  }
  start_step_ = state_->counters.finished_steps;
  if (context_.status() != nullptr) context_.status()->SetStep(start_step_ + 1);
  PEPNET_ASSIGN_OR_RETURN(model_,
                          MakeModel(&config_, &state_->parameters, ModelOptionsOf(context_, state_->counters.seed)));
  if (context_.first()) {
    RunLogOptions log_options;
    log_options.tensorboard = config_.train.use_tensorboard;
    log_options.summarize_loss = config_.train.summarize_loss;
    log_options.summarize_learning_rate = config_.train.summarize_learning_rate;
    log_options.metrics_textfile = context_.options.metrics_textfile;
    PEPNET_ASSIGN_OR_RETURN(RunLog log, RunLog::Open(config_.model_dir, start_step_, log_options));
    log_ = std::move(log);
    saver_.emplace(context_.client, config_.model_dir, config_.train.keep_checkpoint_max);
    PEPNET_RETURN_IF_ERROR(WriteFileAtomically(config_.model_dir + "/pipeline.config", config_.effective_text));
  }
  PEPNET_RETURN_IF_ERROR(OpenData());
  return EvaluateRestored();
}

Status Trainer::Report() {
  const RankStatus::Phase phase(context_.status(), "end");
  const ReadCounts read = loader_ == nullptr ? ReadCounts() : loader_->counts();
  std::vector<int64_t> sums = {loader_ == nullptr ? 0 : loader_->clamped_ids(), read.decoded_rows, read.passed_rows,
                               read.bytes};
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
  PEPNET_ASSIGN_OR_RETURN(std::vector<std::string> stats, context_.client->Stats());
  for (const std::string& warning : TableWarnings(config_, RowsOfServers(stats))) LogWarning(warning);
  log_->Report(state_->counters.finished_steps - start_step_, rows_trained_, times_, stats, last_checkpoint_);
  log_->ReportSaves(saver_->costs(), save_delays_);
  const PsClient::StepTraffic& traffic = context_.client->step_traffic();
  const double rows = static_cast<double>(rows_trained_) / context_.collective->count();
  if (rows > 0) {
    LogInfo(absl::StrFormat("worker 0 sent %.1f and received %.1f bytes of ids, rows and gradients a sample",
                            static_cast<double>(traffic.sent) / rows, static_cast<double>(traffic.received) / rows));
  }
  return absl::OkStatus();
}

// A job that died between a checkpoint and its evaluation left a gap in the results, which the undisturbed run does not have.
Status Trainer::EvaluateRestored() {
  if (start_step_ == 0 || finished_before_ || config_.eval_input_path.empty()) return absl::OkStatus();
  const TrainConfig& train = config_.train;
  const DataPosition& position = state_->counters.position;
  const bool due = train.save_checkpoints_epochs > 0
                       ? position.rows_in_epoch == 0 && position.epoch % train.save_checkpoints_epochs == 0
                       : train.save_checkpoints_steps > 0 && start_step_ % train.save_checkpoints_steps == 0;
  PEPNET_ASSIGN_OR_RETURN(const std::string known,
                          OnFirstWorker(context_, "last evaluation", [&]() -> StatusOr<std::string> {
                            return absl::StrCat(log_->last_evaluated_step());
                          }));
  if (!due || known == absl::StrCat(start_step_)) return absl::OkStatus();
  return SaveAndEvaluate();
}

StatusOr<std::string> Trainer::EnterModelDir() {
  PEPNET_ASSIGN_OR_RETURN(std::string nonce,
                          OnFirstWorker(context_, "lock of model_dir", [&]() -> StatusOr<std::string> {
                            PEPNET_ASSIGN_OR_RETURN(ModelDirLock lock, ModelDirLock::Acquire(config_.model_dir));
                            lock_.emplace(std::move(lock));
                            return lock_->nonce();
                          }));
  nonce_ = std::move(nonce);
  std::vector<int64_t> blind = {PathExists(nonce_) ? 0 : 1};
  PEPNET_RETURN_IF_ERROR(context_.collective->AllreduceSum(std::span<int64_t>(blind), "view of model_dir"));
  if (blind[0] > 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(blind[0], " of ", context_.collective->count(), " workers do not see ", nonce_,
                     ", which worker 0 made; model_dir must be one directory shared by all hosts"));
  }
  if (context_.options.watch != nullptr) context_.options.watch->EnterModelDir(nonce_, context_.first());
  return OnFirstWorker(context_, "look at model_dir",
                       [&] { return ChooseCheckpoint(config_.model_dir, context_.options); });
}

Status Trainer::StartFresh() {
  if (context_.options.continue_train && context_.first()) {
    LogInfo(absl::StrCat("--continue_train: ", config_.model_dir, " holds no complete checkpoint; starting at step 0"));
  }
  PEPNET_RETURN_IF_ERROR(OnFirstWorker(context_, "server plan", [&]() -> StatusOr<std::string> {
                           PEPNET_RETURN_IF_ERROR(
                               context_.client->Configure(context_.worker_ranks, state_->counters.seed, 0, nonce_));
                           return std::string();
                         }).status());
  state_->counters.batch_size = config_.data.batch_size;
  state_->counters.worker_count = context_.collective->count();
  state_->counters.threads = context_.options.threads;
  if (config_.train.fine_tune_checkpoint.empty()) return absl::OkStatus();
  return RestoreForFineTuning(context_, config_.train.fine_tune_checkpoint, state_.get());
}

Status Trainer::Resume(const std::string& checkpoint) {
  PEPNET_ASSIGN_OR_RETURN(std::string directory, FindCheckpoint(context_, checkpoint));
  PEPNET_ASSIGN_OR_RETURN(
      std::string seed_text, OnFirstWorker(context_, "server plan", [&]() -> StatusOr<std::string> {
        PEPNET_ASSIGN_OR_RETURN(Manifest manifest, ReadManifest(directory));
        if (context_.options.seed_given && context_.options.seed != manifest.seed) {
          return InvalidInput("--seed=", context_.options.seed, " but ", directory, " was trained with seed ",
                              manifest.seed, "; leave the flag out to continue with that seed");
        }
        PEPNET_RETURN_IF_ERROR(context_.client->Configure(context_.worker_ranks, manifest.seed, manifest.step, nonce_));
        return absl::StrCat(manifest.seed);
      }));
  PEPNET_RETURN_IF_ERROR(RestoreForTraining(context_, directory, state_.get()));
  for (const std::string& name : train_metrics_.Restore(state_->train_metrics, context_.first())) {
    if (context_.first())
      LogInfo(absl::StrCat("train metric ", name, " starts afresh: ", directory, " does not hold its counts"));
  }
  TrainCounters& counters = state_->counters;
  if (context_.first()) {
    LogInfo(absl::StrCat("continuing from ", directory, " at step ", counters.finished_steps, ", epoch ",
                         counters.position.epoch, ", row ", counters.position.rows_in_epoch));
    const int workers = context_.collective->count();
    if (counters.worker_count != workers || counters.batch_size != config_.data.batch_size) {
      LogInfo(absl::StrCat(
          "the checkpoint was written with ", counters.worker_count, " workers of batch ", counters.batch_size,
          ", this run has ", workers, " of batch ", config_.data.batch_size,
          config_.data.shuffle && counters.worker_count * counters.batch_size != workers * config_.data.batch_size
              ? "; the shuffle windows change with it, so the rest of this epoch may repeat rows and leave out others"
              : ""));
    }
  }
  counters.batch_size = config_.data.batch_size;
  counters.worker_count = context_.collective->count();
  counters.threads = context_.options.threads;
  last_checkpoint_ = directory;
  saved_step_ = counters.finished_steps;
  return absl::OkStatus();
}

StatusOr<ReaderGroup> Trainer::FindReaderGroup() {
  PEPNET_ASSIGN_OR_RETURN(const std::vector<std::string> spaces,
                          context_.collective->Allgather(SocketSpace(), "hosts of the workers"));
  ReaderGroup group = GroupOfWorker(spaces, context_.collective->index(), nonce_);
  group.timeout_s = context_.options.timeout_s;
  if (context_.options.watch != nullptr)
    group.lost = [peers = context_.options.watch->peers()] { return peers->Lost(); };
  return group;
}

Status Trainer::OpenData() {
  if (!config_.eval_input_path.empty()) {  // what is wrong with it shows before the training, not behind it
    PEPNET_RETURN_IF_ERROR(OpenEvaluationData(context_, config_.eval_input_path).status());
  }
  const TrainConfig& train = config_.train;
  const TrainCounters& counters = state_->counters;
  const int64_t steps_left = train.num_steps > 0 ? train.num_steps - counters.finished_steps : 0;
  finished_before_ = train.num_steps > 0 ? steps_left <= 0 : counters.position.epoch >= train.num_epochs;
  if (finished_before_) {
    if (context_.first()) LogInfo(absl::StrCat("training had already finished at step ", counters.finished_steps));
    return absl::OkStatus();
  }
  LoaderOptions options = LoaderOptionsOf(context_, config_.train_input_path);
  options.seed = counters.seed;
  options.shuffle = config_.data.shuffle;
  options.shuffle_buffer_size = config_.data.shuffle_buffer_size;
  options.drop_remainder = config_.data.drop_remainder;
  options.max_epochs = train.num_steps > 0 ? 0 : train.num_epochs;
  options.start = counters.position;
  PEPNET_ASSIGN_OR_RETURN(options.group, FindReaderGroup());
  options.share = context_.options.share_reader;
  PEPNET_ASSIGN_OR_RETURN(loader_, BatchLoader::Open(config_, options));
  if (context_.first()) {
    LogInfo("training data: " + loader_->description());
    if (options.worker_count > 1) LogInfo("training data: " + loader_->sharing());
  }
  for (const Tower& tower : config_.model.towers) {
    if (!context_.first() || tower.train_metrics.empty() || !tower.weighted) continue;
    LogInfo(absl::StrCat("tower ", tower.name,
                         " runs for all rows, those without loss weight too: its train_metrics read them"));
  }
  feeder_ = std::make_unique<BatchFeeder>(&config_, loader_.get(), context_.client, context_.collective,
                                          BatchFeeder::Mode::kTrain, counters.finished_steps + 1, steps_left,
                                          context_.options.local_weight_normalization);
  feeder_->StopOn(context_.options.stop_request);
  feeder_->Watch(context_.status(), context_.options.timeout_s);
  return absl::OkStatus();
}

StatusOr<bool> Trainer::Step() {
  if (finished_before_) return false;
  const Clock::time_point start = Clock::now();
  const double evaluated = times_.seconds(Stage::kEval);
  const bool saving = saver_.has_value() && saver_->running();
  if (saver_.has_value()) PEPNET_RETURN_IF_ERROR(saver_->Check());
  std::optional<FedBatch> fed;
  {
    StageTimes::Scope scope(&times_, Stage::kRead);
    StatusOr<std::optional<FedBatch>> next = feeder_->Next();
    if (!next.ok()) {
      unwinding_.emplace(context_.status(), kAnyRank, Clock::now(),
                         absl::StrCat("the reader threads to end behind an error: ", next.status().message()));
      return next.status();
    }
    fed = std::move(*next);
  }
  if (!fed.has_value()) return false;

  TrainCounters& counters = state_->counters;
  const int64_t step = counters.finished_steps;  // 0-based number of this micro-batch
  const int64_t epochs = counters.position.epoch;
  const int64_t window = config_.train.gradient_accumulation_steps;
  if (step % window == 0) counters.window_epochs = epochs;
  const double lr_sparse = SparseLearningRate(config_.train, step, epochs, counters.window_epochs);
  const double lr_dense = DenseLearningRate(config_.train, step, epochs);

  PEPNET_RETURN_IF_ERROR(ForwardBackward(*fed));
  {
    StageTimes::Scope scope(&times_, Stage::kPush);
    PEPNET_RETURN_IF_ERROR(context_.client->Push(fed->ticket, row_gradients_, lr_sparse, step + 1));
  }
  PEPNET_RETURN_IF_ERROR(UpdateDense(lr_dense));
  PEPNET_RETURN_IF_ERROR(train_metrics_.EndStep(context_.collective));
  counters.finished_steps = step + 1;
  if (context_.status() != nullptr) context_.status()->SetStep(step + 2);
  counters.position = fed->batch.position_after;
  rows_trained_ += fed->batch.global_rows;
  last_ids_ = std::move(fed->ids);

  PEPNET_RETURN_IF_ERROR(LogStep(fed->batch, lr_sparse, lr_dense));
  if (SaveIsDue(fed->batch)) PEPNET_RETURN_IF_ERROR(SaveAndEvaluate());
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  save_delays_.Add(seconds - (times_.seconds(Stage::kEval) - evaluated),
                   saving || (saver_.has_value() && saver_->running()));
  if (!feeder_->stop_agreed()) return true;
  stopped_ = true;
  PEPNET_RETURN_IF_ERROR(feeder_->DropAhead());
  PEPNET_RETURN_IF_ERROR(Save());
  return false;
}

Status Trainer::ForwardBackward(const FedBatch& fed) {
  const Batch& batch = fed.batch;
  ModelInput input;
  {
    StageTimes::Scope scope(&times_, Stage::kPull);
    PEPNET_RETURN_IF_ERROR(context_.client->FinishPull(fed.ticket, &table_rows_));
  }
  std::vector<std::vector<float>> scales;
  {
    StageTimes::Scope scope(&times_, Stage::kPool);
    PoolFeatures(config_, batch, fed.ids, table_rows_, &pooled_);
    scales = RowScales(config_, batch, fed.denominators);
  }
  {
    StageTimes::Scope scope(&times_, Stage::kCompute);
    state_->parameters.ZeroGradients();
    input.batch = &batch;
    input.features = FeaturePointers(config_, batch, pooled_);
    input.step = state_->counters.finished_steps;
    input.row_scales = &scales;
    const double gradient_scale = 1.0 / static_cast<double>(config_.train.gradient_accumulation_steps);
    PEPNET_ASSIGN_OR_RETURN(losses_, model_->TrainStep(input, gradient_scale, &feature_gradients_));
  }
  PEPNET_RETURN_IF_ERROR(CheckFinite(fed, input));
  train_metrics_.Add(batch, losses_.scores);
  data_watch_.Observe(batch);
  StageTimes::Scope scope(&times_, Stage::kPool);
  ScatterGradients(config_, batch, fed.ids, feature_gradients_, &row_gradients_);
  return absl::OkStatus();
}

// Sums the dense gradients over the workers, where the model has not done it; under accumulation they gather in
// `accumulated_gradients` (the same on every worker, so that a checkpoint inside a window is complete) and the step is made at
// the window's end (spec 5.5).
Status Trainer::UpdateDense(double lr) {
  std::span<float> gradients = state_->parameters.gradients();
  if (!model_->sums_gradients()) {
    StageTimes::Scope scope(&times_, Stage::kAllreduce);
    PEPNET_RETURN_IF_ERROR(context_.collective->AllreduceSum(gradients, "dense gradients"));
  }
  StageTimes::Scope scope(&times_, Stage::kUpdate);
  const int64_t window = config_.train.gradient_accumulation_steps;
  if (window > 1) {
    std::span<float> sums = state_->accumulated_gradients.span();
    for (size_t i = 0; i < sums.size(); ++i) sums[i] += gradients[i];
    if ((state_->counters.finished_steps + 1) % window != 0) return absl::OkStatus();
    std::copy(sums.begin(), sums.end(), gradients.begin());
    std::fill(sums.begin(), sums.end(), 0.0f);
  }
  NoteGradientNorms();
  ClipGradients(config_.train, gradients);
  state_->optimizer.Step(state_->parameters.values(), gradients, lr);
  return absl::OkStatus();
}

// What TensorBoard was asked to show of the gradients that are about to be applied.
void Trainer::NoteGradientNorms() {
  const TrainConfig& train = config_.train;
  if (!log_.has_value() || !(train.summarize_global_gradient_norm || train.summarize_gradient_norm)) return;
  gradient_norms_.clear();
  double total = 0;
  DenseParameters& parameters = state_->parameters;
  for (size_t i = 0; i < parameters.specs().size(); ++i) {
    double sum = 0;
    for (const float g : parameters.gradient(static_cast<int>(i)))
      sum += static_cast<double>(g) * static_cast<double>(g);
    total += sum;
    if (train.summarize_gradient_norm)
      gradient_norms_.push_back({parameters.specs()[i].name + "/gradient_norm", std::sqrt(sum)});
  }
  if (train.summarize_global_gradient_norm) gradient_norms_.push_back({"global_gradient_norm", std::sqrt(total)});
}

Status Trainer::CheckFinite(const FedBatch& fed, const ModelInput& input) const {
  for (size_t i = 0; i < losses_.values.size(); ++i) {
    if (std::isfinite(losses_.values[i])) continue;
    return absl::OutOfRangeError(
        absl::StrCat(losses_.names[i], " became ", losses_.values[i], " at step ", state_->counters.finished_steps + 1,
                     " on worker ", context_.collective->index(), " (", fed.batch.origin, "): ",
                     DescribeDivergence({config_, state_->parameters, input, fed.ids, table_rows_, feature_gradients_},
                                        model_.get()),
                     "; lower the learning rates or set grad_clipping, then go on from the last "
                     "checkpoint with --continue_train"));
  }
  return absl::OkStatus();
}

bool Trainer::SaveIsDue(const Batch& batch) const {
  const TrainConfig& train = config_.train;
  if (train.save_checkpoints_epochs > 0) {
    return batch.last_in_epoch && batch.position_after.epoch % train.save_checkpoints_epochs == 0;
  }
  return train.save_checkpoints_steps > 0 && state_->counters.finished_steps % train.save_checkpoints_steps == 0;
}

Status Trainer::Save() {
  const int64_t step = state_->counters.finished_steps;
  if (saved_step_ == step) return absl::OkStatus();
  const RankStatus::Phase phase(context_.status(), "checkpoint");
  StageTimes::Scope scope(&times_, Stage::kCheckpoint);
  PEPNET_RETURN_IF_ERROR(train_metrics_.Gather(context_.collective));
  state_->train_metrics = train_metrics_.State();
  PEPNET_RETURN_IF_ERROR(BeginCheckpoint(context_, *state_, saver_.has_value() ? &*saver_ : nullptr));
  saved_step_ = step;
  return absl::OkStatus();
}

Status Trainer::FinishSave() {
  const RankStatus::Phase phase(context_.status(), "checkpoint");
  StageTimes::Scope scope(&times_, Stage::kCheckpoint);
  PEPNET_ASSIGN_OR_RETURN(const std::string path, FinishCheckpoint(context_, saver_.has_value() ? &*saver_ : nullptr));
  if (!path.empty()) last_checkpoint_ = path;
  return absl::OkStatus();
}

Status Trainer::SaveAndEvaluate() {
  const int64_t step = state_->counters.finished_steps;
  PEPNET_RETURN_IF_ERROR(Save());
  if (log_.has_value()) log_->SkipTime();
  if (config_.eval_input_path.empty()) return absl::OkStatus();
  StageTimes::Scope scope(&times_, Stage::kEval);
  PEPNET_ASSIGN_OR_RETURN(evaluation_, Evaluate(context_, model_.get(), config_.eval_input_path, step));
  if (!log_.has_value()) return absl::OkStatus();
  PEPNET_RETURN_IF_ERROR(log_->Evaluation(step, evaluation_));
  log_->SkipTime();
  return absl::OkStatus();
}

Status Trainer::LogStep(const Batch& batch, double lr_sparse, double lr_dense) {
  const TrainConfig& train = config_.train;
  const TrainCounters& counters = state_->counters;
  const bool last = train.num_steps > 0 ? counters.finished_steps >= train.num_steps
                                        : batch.last_in_epoch && counters.position.epoch >= train.num_epochs;
  if (!last && counters.finished_steps % train.log_step_count_steps != 0) return absl::OkStatus();
  std::vector<double> sums = losses_.values;
  PEPNET_RETURN_IF_ERROR(context_.collective->AllreduceSum(std::span<double>(sums), "losses"));
  if (!log_.has_value()) return absl::OkStatus();
  StepRecord record;
  record.step = counters.finished_steps;
  record.epoch = counters.position.epoch;
  const double rows_per_epoch = static_cast<double>(loader_->rows_per_epoch());
  if (rows_per_epoch > 0) record.epoch_fraction = static_cast<double>(counters.position.rows_in_epoch) / rows_per_epoch;
  if (train.num_steps > 0) {
    record.total_fraction =
        static_cast<double>(counters.finished_steps - start_step_) / static_cast<double>(train.num_steps - start_step_);
  } else if (rows_per_epoch > 0) {
    const double rows_to_train = static_cast<double>(train.num_epochs - counters.position.epoch) * rows_per_epoch -
                                 static_cast<double>(counters.position.rows_in_epoch);
    const double rows_done = static_cast<double>(rows_trained_);
    record.total_fraction = rows_done / (rows_done + rows_to_train);
  }
  record.loss_names = losses_.names;
  record.losses = sums;
  record.lr_sparse = lr_sparse;
  record.lr_dense = lr_dense;
  record.rows = rows_trained_;
  record.train_metrics = train_metrics_.Values();
  record.gradient_norms = gradient_norms_;
  return log_->Step(record, times_);
}

}  // namespace pepnet
