// Prefetcher: the next batch with everything agreed and under way: its loss_normalizers, its unique
// ids, its pull.
//
// Prefetch:  when Next() returns batch t, batch t+1 has been read and agreed on and its pull has
//            been sent, so that the servers answer it as soon as step t is applied while this
//            worker computes.
// Agreement: in training and eval the workers add up rows and weight sums of their slices (one
//            small allreduce per batch), which gives the global loss_normalizers of the loss and
//            proves that all workers read the same data (law L7). A request to stop travels with
//            it, so that all workers stop behind the same step.
// Ownership: of the loader; borrows the rest.
// Failure:   the first error ends the batches. Behind it the loader's threads may hang in the file
//            system; the destructor, which waits for them, is then a wait that is overdue, so that
//            the watchdog does not let it hold the process.
// Threads:   one.
#pragma once

#include <atomic>
#include <memory>
#include <optional>

#include "common/base/status.h"
#include "common/health/rank_status.h"
#include "common/net/collective.h"
#include "worker/data/load/batch_loader.h"
#include "worker/model/loss_weight.h"
#include "worker/sparse/ps_client.h"
#include "worker/sparse/unique_ids.h"

namespace pepnet {

struct PreparedBatch {
  Batch batch;
  UniqueIds ids;
  PullTicket ticket;
  std::optional<LossNormalizers> loss_normalizers;  // none in prediction, which has no labels
};

class Prefetcher {
 public:
  enum class Mode {
    kTrain,    // pulls of steps first_step, first_step + 1, ...; each is followed by a push
    kEval,     // read-only pulls as of step first_step, labels and loss_normalizers
    kPredict,  // as kEval without labels; workers need not have the same number of batches
  };

  // max_batches: 0 = until the loader ends. `collective` is not used by kPredict.
  // local_normalization: the reference's rule, each worker's mean over its own rows counts 1/W
  // (spec 2.1). `team`: finds the unique ids of large batches; may be null.
  Prefetcher(const JobConfig* config, std::unique_ptr<BatchLoader> loader, PsClient* client,
             Collective* collective, Mode mode, int64_t first_step, int64_t max_batches,
             bool local_normalization = false, ThreadTeam* team = nullptr);

  StatusOr<std::optional<PreparedBatch>> Next();
  const BatchLoader& loader() const { return *loader_; }

  // kTrain: a request to stop (not 0) on any worker is made known to all with the agreement on a
  // batch. Set before Next().
  void StopOn(const std::atomic<int>* request) { stop_request_ = request; }
  // Reading a batch is a wait with this deadline, entered in `status` (may be null): its watchdog
  // ends the job. Set before Next().
  void Watch(RankStatus* status, double read_timeout_s) {
    status_ = status;
    read_timeout_s_ = read_timeout_s;
  }
  // True on all workers from the same Next() on, once one of them was asked to stop: the batch it
  // returned is the last one.
  bool stop_agreed() const { return stop_agreed_; }
  // Takes the answers to the pull that is under way, so that no message is left when the job ends
  // early.
  Status DropAhead();

 private:
  StatusOr<std::optional<PreparedBatch>> Prepare();
  StatusOr<std::optional<PreparedBatch>> PrepareNext();
  StatusOr<LossNormalizers> Agree(const Batch& batch);

  const JobConfig* config_;
  // Behind an error; declared before the loader, so that it ends after it.
  std::optional<RankStatus::Wait> unwinding_;
  std::unique_ptr<BatchLoader> loader_;
  PsClient* client_;
  Collective* collective_;
  const Mode mode_;
  const int64_t first_step_;
  const int64_t max_batches_;
  const bool local_normalization_;
  ThreadTeam* const team_;
  int64_t prepared_ = 0;
  const std::atomic<int>* stop_request_ = nullptr;
  RankStatus* status_ = nullptr;
  double read_timeout_s_ = 0;
  bool stop_agreed_ = false;
  bool started_ = false;
  std::optional<PreparedBatch> ahead_;
};

}  // namespace pepnet
