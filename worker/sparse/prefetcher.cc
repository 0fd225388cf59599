#include "worker/sparse/prefetcher.h"

#include <utility>

#include "common/process/trace.h"

namespace pepnet {

Prefetcher::Prefetcher(const JobConfig* config, std::unique_ptr<BatchLoader> loader,
                       PsClient* client, Collective* collective, Mode mode, int64_t first_step,
                       int64_t max_batches, bool local_normalization, ThreadTeam* team)
    : config_(config),
      loader_(std::move(loader)),
      client_(client),
      collective_(collective),
      mode_(mode),
      first_step_(first_step),
      max_batches_(max_batches),
      local_normalization_(local_normalization),
      team_(team) {}

StatusOr<std::optional<PreparedBatch>> Prefetcher::Next() {
  // The first call has nothing ahead yet and prepares two batches, its own and the next one.
  if (!started_) {
    started_ = true;
    PEPNET_ASSIGN_OR_RETURN(ahead_, Prepare());
  }
  std::optional<PreparedBatch> now = std::exchange(ahead_, std::nullopt);
  if (now.has_value()) {
    // The agreement on batch t + 1 happens before batch t is computed. All workers call Next() at
    // the same places of their loops, so the collective operations inside pair up (law L6).
    PEPNET_ASSIGN_OR_RETURN(ahead_, Prepare());
  }
  return now;
}

StatusOr<std::optional<PreparedBatch>> Prefetcher::Prepare() {
  StatusOr<std::optional<PreparedBatch>> prepared = PrepareNext();
  // The caller destroys the prefetcher on an error, and the loader's destructor joins its threads.
  // A deadline of now makes that wait overdue from the start: the watchdog may end a process that
  // hangs in it.
  if (!prepared.ok() && !unwinding_.has_value()) {
    unwinding_.emplace(
        status_, kAnyRank, Clock::now(),
        absl::StrCat("the reader threads to end behind an error: ", prepared.status().message()));
  }
  return prepared;
}

StatusOr<std::optional<PreparedBatch>> Prefetcher::PrepareNext() {
  if (max_batches_ > 0 && prepared_ == max_batches_) return std::optional<PreparedBatch>();
  std::optional<Batch> batch;
  {
    TraceScope scope("wait for rows");
    RankStatus::Wait wait(status_, kAnyRank, After(std::chrono::duration<double>(read_timeout_s_)),
                          "the next batch of the input files");
    // Aborted means that another worker of the host, which shares the decoding, has gone. The wait
    // is then kept as a failed one, which makes this rank a bystander in the job's report and lets
    // the root cause be looked for elsewhere.
    StatusOr<std::optional<Batch>> next = loader_->Next();
    if (absl::IsAborted(next.status())) wait.Fail(next.status());  // not this worker's fault
    if (!next.ok()) return next.status();
    batch = *std::move(next);
  }
  // All workers see the end after the same batch: batches are cut from the global order, and a
  // worker without rows of its own gets an empty one (law L6). Prediction alone distributes rows by
  // range and agrees on nothing.
  if (!batch.has_value()) return std::optional<PreparedBatch>();
  PreparedBatch prepared;
  prepared.batch = std::move(*batch);
  // The agreement comes before the pull: a difference of the data ends the job before any row is
  // asked for.
  if (mode_ != Mode::kPredict) {
    TraceScope scope("agree");
    PEPNET_ASSIGN_OR_RETURN(prepared.loss_normalizers, Agree(prepared.batch));
  }
  {
    TraceScope scope("dedup");
    prepared.ids = FindUniqueIds(*config_, prepared.batch, team_);
    if (mode_ == Mode::kTrain) MarkClicks(*config_, prepared.batch, &prepared.ids);
  }
  // Training pulls the rows of consecutive steps; evaluation reads all its batches as of one step,
  // so that it sees one state of the tables however long it takes (law L5).
  const int64_t step = mode_ == Mode::kTrain ? first_step_ + prepared_ : first_step_;
  TraceScope scope("request rows");
  PEPNET_ASSIGN_OR_RETURN(prepared.ticket,
                          client_->StartPull(prepared.ids, step, mode_ != Mode::kTrain));
  prepared.ticket.event_time = prepared.batch.event_time;
  ++prepared_;
  return std::optional<PreparedBatch>(std::move(prepared));
}

Status Prefetcher::DropAhead() {
  const std::optional<PreparedBatch> dropped = std::exchange(ahead_, std::nullopt);
  if (!dropped.has_value()) return absl::OkStatus();
  // The answer must be received all the same: a server answers every pull, and no message may be
  // left when the job ends.
  std::vector<AlignedBuffer<float>> rows;
  return client_->FinishPull(dropped->ticket, &rows);
}

StatusOr<LossNormalizers> Prefetcher::Agree(const Batch& batch) {
  LossNormalizers local = LocalLossNormalizers(*config_, batch);
  // One allreduce carries everything that must be the same on all workers:
  //   sums = [rows, workers asked to stop, sum of w of tower 0, tower 1, ...]
  const bool stop = stop_request_ != nullptr && *stop_request_ != 0;
  std::vector<double> sums = {local.rows, stop ? 1.0 : 0.0};
  sums.insert(sums.end(), local.weight_sums.begin(), local.weight_sums.end());
  PEPNET_RETURN_IF_ERROR(
      collective_->AllreduceSum(std::span<double>(sums), "rows and weights of the batch"));
  // Row counts are exact in a double, so this comparison needs no tolerance. It catches a host with
  // other files before the first gradient is computed (law L7).
  if (sums[0] != static_cast<double>(batch.global_rows)) {
    return absl::FailedPreconditionError(
        absl::StrCat("the workers read different data: together they hold ", sums[0],
                     " rows of a global batch of ", batch.global_rows, " (", batch.origin,
                     "); check that all hosts see the same input files"));
  }
  // A signal may reach one worker only, or several between two batches. Counting it in the sums
  // gives all workers the same answer at the same batch; a flag that each looks at for itself would
  // let one stop while the others wait for its push.
  stop_agreed_ = stop_agreed_ || sums[1] > 0;
  LossNormalizers global;
  // Each worker's mean over its own rows counts 1/W: its rows are divided by n_local * W (spec
  // 2.1).
  if (local_normalization_) {
    const double workers = collective_->count();
    global.rows = local.rows * workers;
    for (double sum : local.weight_sums) global.weight_sums.push_back(sum * workers);
    return global;
  }
  global.rows = sums[0];
  global.weight_sums.assign(sums.begin() + 2, sums.end());
  return global;
}

}  // namespace pepnet
