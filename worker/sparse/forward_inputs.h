// ForwardInputs: from a batch whose rows have been asked for to what the model reads. The only way
// there: training, evaluation, prediction and the comparison behind an export all take it, so that
// the same rows give the same numbers everywhere (law L5).
//
//   prepared batch -> Receive(): rows of the tables -> Pool(): pooled outputs, row scales ->
//   ModelInput -> TrainStep() or Forward() of the model
//
// Memory:  the buffers are kept from batch to batch.
// Threads: one. Borrows config and team.
#pragma once

#include <vector>

#include "common/base/status.h"
#include "common/job_config/job_config.h"
#include "worker/model/pepnet_model.h"
#include "worker/sparse/pooling.h"
#include "worker/sparse/prefetcher.h"
#include "worker/sparse/ps_client.h"

namespace pepnet {

class ForwardInputs {
 public:
  // `team`: pools large batches; may be null.
  explicit ForwardInputs(const JobConfig* config, ThreadTeam* team = nullptr)
      : config_(config), team_(team) {}

  // Receive() and Pool(), for who does not tell the time of the two apart.
  StatusOr<const ModelInput*> Make(const PreparedBatch& prepared, PsClient* client);

  // Waits for the rows of `prepared`.
  Status Receive(const PreparedBatch& prepared, PsClient* client);
  // Pools `prepared`, whose rows came last, to what the model reads. Points into `prepared` and
  // into this object, until the next call.
  const ModelInput& Pool(const PreparedBatch& prepared) { return PoolRows(prepared, rows_); }
  // The same with rows from elsewhere (an export): table_rows[t] holds the rows of
  // prepared.ids.ids[t].
  const ModelInput& PoolRows(const PreparedBatch& prepared, const FloatBuffers& table_rows);

  // The rows that Receive() brought.
  const PulledRows& rows() const { return rows_; }

 private:
  const ModelInput& PoolRows(const PreparedBatch& prepared, const PulledRows& rows);

  const JobConfig* const config_;
  ThreadTeam* const team_;
  PulledRows rows_;
  FloatBuffers pooled_;
  std::vector<std::vector<float>> row_scales_;
  ModelInput input_;
};

}  // namespace pepnet
