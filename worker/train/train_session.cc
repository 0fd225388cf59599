#include "worker/train/train_session.h"

#include <utility>
#include <vector>

#include "common/base/log_functions.h"
#include "common/checkpoint/checkpoint.h"
#include "common/file/file.h"
#include "worker/checkpoint/checkpointing.h"
#include "worker/checkpoint/resume_choice.h"
#include "worker/eval/evaluator.h"
#include "worker/model/engine/make_model.h"
#include "worker/train/training_files.h"

namespace pepnet {

TrainSession::TrainSession(const WorkerContext* context)
    : context_(*context), config_(*context->config), metrics_(context->config) {}

// ---- start or resume ----------------------------------------------------------------------------

Status TrainSession::Restore() {
  state_ = std::make_unique<TrainState>(config_, context_.options.seed);
  PEPNET_ASSIGN_OR_RETURN(const std::string checkpoint, EnterModelDir());
  PEPNET_RETURN_IF_ERROR(checkpoint.empty() ? StartFresh() : Resume(checkpoint));
  // The next checkpoint describes this run, not the one that it goes on from.
  TrainCounters& counters = state_->counters;
  counters.batch_size = config_.data.batch_size;
  counters.worker_count = context_.collective->count();
  counters.threads = context_.options.threads;
  start_step_ = counters.finished_steps;
  if (context_.status() != nullptr) context_.status()->SetStep(start_step_ + 1);
  // The model is made after the restore: from here on it may hold on to the parameters.
  PEPNET_ASSIGN_OR_RETURN(
      model_, MakeModel(&config_, &state_->parameters, ModelOptionsOf(context_, counters.seed)));
  return absl::OkStatus();
}

StatusOr<std::string> TrainSession::EnterModelDir() {
  PEPNET_ASSIGN_OR_RETURN(
      std::string nonce,
      OnFirstWorker(context_, "lock of model_dir", [&]() -> StatusOr<std::string> {
        PEPNET_ASSIGN_OR_RETURN(ModelDirLock lock, ModelDirLock::Acquire(config_.model_dir));
        lock_.emplace(std::move(lock));
        return lock_->nonce();
      }));
  nonce_ = std::move(nonce);
  // Each worker looks for itself, but all learn how many are blind: the others would otherwise wait
  // in the next collective operation for those that have left (law L6).
  std::vector<int64_t> blind = {PathExists(nonce_) ? 0 : 1};
  PEPNET_RETURN_IF_ERROR(
      context_.collective->AllreduceSum(std::span<int64_t>(blind), "view of model_dir"));
  if (blind[0] > 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(blind[0], " of ", context_.collective->count(), " workers do not see ", nonce_,
                     ", which worker 0 made; model_dir must be one directory shared by all hosts"));
  }
  // From here on model_dir is known to be ours, so the job's report may be written into it.
  if (context_.options.watch != nullptr) {
    context_.options.watch->EnterModelDir(nonce_, context_.first());
  }
  // Worker 0 chooses, under the lock: two looks at a directory could see two newest checkpoints.
  return OnFirstWorker(context_, "look at model_dir",
                       [&] { return ChooseCheckpoint(config_.model_dir, context_.options); });
}

Status TrainSession::StartFresh() {
  if (context_.options.continue_train && context_.first()) {
    LogInfo(absl::StrCat("--continue_train: ", config_.model_dir,
                         " holds no complete checkpoint; starting at step 0"));
  }
  // The servers begin empty: a row's initial value is a function of (seed, table, id), made when it
  // is first asked for.
  PEPNET_RETURN_IF_ERROR(RunOnFirstWorker(context_, "server plan", [&] {
    return context_.client->Configure(context_.worker_ranks, state_->counters.seed, 0, nonce_);
  }));
  if (config_.train.fine_tune_checkpoint.empty()) return absl::OkStatus();
  return RestoreForFineTuning(context_, config_.train.fine_tune_checkpoint, state_.get());
}

Status TrainSession::Resume(const std::string& checkpoint) {
  PEPNET_ASSIGN_OR_RETURN(resumed_from_, FindCheckpoint(context_, checkpoint));
  // The seed is the checkpoint's: rows that do not exist yet must begin with the values that they
  // would have begun with (law L4).
  PEPNET_RETURN_IF_ERROR(RunOnFirstWorker(context_, "server plan", [&]() -> Status {
    PEPNET_ASSIGN_OR_RETURN(const Manifest manifest, ReadManifest(resumed_from_));
    if (context_.options.seed_given && context_.options.seed != manifest.seed) {
      return InvalidInput("--seed=", context_.options.seed, " but ", resumed_from_,
                          " was trained with seed ", manifest.seed,
                          "; leave the flag out to continue with that seed");
    }
    return context_.client->Configure(context_.worker_ranks, manifest.seed, manifest.step, nonce_);
  }));
  PEPNET_RETURN_IF_ERROR(RestoreForTraining(context_, resumed_from_, state_.get()));
  for (const std::string& name : metrics_.Restore(state_->train_metrics, context_.first())) {
    if (context_.first()) {
      LogInfo(absl::StrCat("train metric ", name, " starts afresh: ", resumed_from_,
                           " does not hold its counts"));
    }
  }
  if (context_.first()) LogResumed(resumed_from_);
  return absl::OkStatus();
}

void TrainSession::LogResumed(const std::string& directory) const {
  const TrainCounters& counters = state_->counters;
  LogInfo(absl::StrCat("continuing from ", directory, " at step ", counters.finished_steps,
                       ", epoch ", counters.position.epoch, ", row ",
                       counters.position.rows_in_epoch));
  const int workers = context_.collective->count();
  if (counters.worker_count == workers && counters.batch_size == config_.data.batch_size) return;
  const bool unchecked = !counters.data.known;  // else the choice of the files looks at the windows
  LogInfo(absl::StrCat(
      "the checkpoint was written with ", counters.worker_count, " workers of batch ",
      counters.batch_size, ", this run has ", workers, " of batch ", config_.data.batch_size,
      unchecked && config_.data.shuffle &&
              counters.worker_count * counters.batch_size != workers * config_.data.batch_size
          ? "; the shuffle windows change with it, so the rest of this epoch may repeat rows and "
            "leave out others"
          : ""));
}

// ---- data ---------------------------------------------------------------------------------------

StatusOr<ReaderGroup> TrainSession::FindReaderGroup() {
  PEPNET_ASSIGN_OR_RETURN(const std::vector<std::string> spaces,
                          context_.collective->Allgather(SocketSpace(), "hosts of the workers"));
  // 64 random bits each; of a name within 107 bytes.
  PEPNET_ASSIGN_OR_RETURN(
      const std::vector<std::string> secrets,
      context_.collective->Allgather(TemporaryName(""), "names of the workers' sockets"));
  // A name stands for one group: the nonce tells jobs apart, and the number the openings of one
  // job, since an earlier group's sockets may not be gone yet.
  ReaderGroup group = GroupOfWorker(spaces, context_.collective->index(),
                                    absl::StrCat(nonce_, "-", opened_), secrets);
  group.timeout_s = context_.options.timeout_s;
  if (context_.options.watch != nullptr) {
    group.lost = [peers = context_.options.watch->peers()] { return peers->Lost(); };
  }
  return group;
}

Status TrainSession::OpenData() {
  // Its faults show before the training, not after it.
  if (!config_.eval_input_path.empty()) {
    PEPNET_RETURN_IF_ERROR(OpenEvaluationData(context_, config_.eval_input_path).status());
  }
  TrainCounters& counters = state_->counters;
  const int64_t num_steps = config_.train.num_steps;
  // num_steps counts from the first start, so a resumed run trains the rest.
  if (num_steps > 0 && counters.finished_steps >= num_steps) {
    if (context_.first()) {
      LogWarning(absl::StrCat("nothing is left to train: num_steps is ", num_steps,
                              ", and the checkpoint is of step ", counters.finished_steps,
                              "; raise num_steps, which counts from the first start"));
    }
    return absl::OkStatus();
  }
  PEPNET_ASSIGN_OR_RETURN(data_, ChooseTrainingFiles(context_, counters));
  return data_.nothing_left ? absl::OkStatus() : OpenFiles();
}

bool TrainSession::has_next_files() const {
  const int64_t num_steps = config_.train.num_steps;
  return !data_.next.empty() && (num_steps == 0 || counters().finished_steps < num_steps);
}

Status TrainSession::OpenNextFiles() {
  // The counts of the prefetcher go with it; the report at the end is over all files.
  earlier_counts_ = read_counts();
  earlier_encode_counts_ = encode_counts();
  prefetcher_ = nullptr;  // its threads end before others begin
  data_ = NextFiles(data_, counters().position,
                    config_.train.num_steps > 0 ? 0 : config_.train.num_epochs);
  return OpenFiles();
}

// Reads data_.history.files from data_.position on.
Status TrainSession::OpenFiles() {
  ++opened_;
  TrainCounters& counters = state_->counters;
  // The history is set before the first batch: a checkpoint of any step from here on says which
  // files its position counts rows of (law L4).
  counters.data = data_.history;
  counters.position = data_.position;
  // Another host with other files under the same paths would train other rows; sizes are compared
  // before a row is read (law L7).
  PEPNET_RETURN_IF_ERROR(CheckFilesSeen(context_, data_.history.files));
  LoaderOptions options = LoaderOptionsOf(context_, config_.train_input_path);
  for (const FileIdentity& file : data_.history.files) options.paths.push_back(file.path);
  options.event_times = true;
  options.seed = counters.seed;
  options.shuffle = config_.data.shuffle;
  options.shuffle_buffer_size = config_.data.shuffle_buffer_size;
  options.drop_remainder = config_.data.drop_remainder;
  options.max_epochs = data_.last_epoch;
  options.start = counters.position;
  PEPNET_ASSIGN_OR_RETURN(options.group, FindReaderGroup());
  options.share = context_.options.share_reader;
  PEPNET_ASSIGN_OR_RETURN(std::unique_ptr<BatchLoader> loader, BatchLoader::Open(config_, options));
  const std::vector<int64_t> rows = loader->rows_by_file();
  // Parquet files say how many rows they have; a resumed run then need not count them.
  for (size_t i = 0; i < rows.size(); ++i) counters.data.files[i].rows = rows[i];
  if (context_.first()) {
    LogVerbose("training data: " + loader->description());
    if (options.worker_count > 1) LogVerbose("training data: " + loader->sharing());
  }
  for (const Tower& tower : config_.model.towers) {
    // The log says so once, since it costs: such a tower gives up the rows that routing would spare
    // it.
    if (opened_ > 1 || !context_.first() || tower.train_metrics.empty() || !tower.weighted) {
      continue;
    }
    LogInfo(absl::StrCat(
        "tower ", tower.name,
        " runs for all rows, those without loss weight too: its train_metrics read them"));
  }
  const int64_t num_steps = config_.train.num_steps;
  // Batches beyond num_steps are not even asked for: their pulls would never be pushed.
  const int64_t steps_left = num_steps > 0 ? num_steps - counters.finished_steps : 0;
  prefetcher_ = std::make_unique<Prefetcher>(
      &config_, std::move(loader), context_.client, context_.collective, Prefetcher::Mode::kTrain,
      counters.finished_steps + 1, steps_left, context_.options.local_weight_normalization,
      context_.team);
  prefetcher_->StopOn(context_.options.stop_request);
  prefetcher_->Watch(context_.status(), context_.options.timeout_s);
  return absl::OkStatus();
}

bool TrainSession::IsLast(const Batch& batch) const {
  const int64_t num_steps = config_.train.num_steps;
  // This is called after FinishStep(), so the step counts as finished here.
  return num_steps > 0 ? counters().finished_steps >= num_steps
                       : batch.last_in_epoch && counters().position.epoch >= last_epoch();
}

ReadCounts TrainSession::read_counts() const {
  ReadCounts sum = earlier_counts_;
  if (prefetcher_ == nullptr) return sum;
  const ReadCounts now = prefetcher_->loader().counts();
  sum.decoded_rows += now.decoded_rows;
  sum.passed_rows += now.passed_rows;
  sum.bytes += now.bytes;
  return sum;
}

EncodeCounts TrainSession::encode_counts() const {
  EncodeCounts sum = earlier_encode_counts_;
  if (prefetcher_ != nullptr) sum.Add(prefetcher_->loader().encode_counts());
  return sum;
}

void TrainSession::FinishStep(const Batch& batch) {
  TrainCounters& counters = state_->counters;
  ++counters.finished_steps;
  counters.position = batch.position_after;
  if (context_.status() != nullptr) context_.status()->SetStep(counters.finished_steps + 1);
}

}  // namespace pepnet
