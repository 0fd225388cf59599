#include "worker/sparse/forward_inputs.h"

namespace pepnet {

StatusOr<const ModelInput*> ForwardInputs::Make(const FedBatch& fed, PsClient* client) {
  PEPNET_RETURN_IF_ERROR(Receive(fed, client));
  return &Pool(fed);
}

Status ForwardInputs::Receive(const FedBatch& fed, PsClient* client) { return client->FinishPull(fed.ticket, &rows_); }

const ModelInput& ForwardInputs::PoolRows(const FedBatch& fed, const FloatBuffers& table_rows) {
  return PoolRows(fed, PulledRows(table_rows, config_->tables));
}

const ModelInput& ForwardInputs::PoolRows(const FedBatch& fed, const PulledRows& rows) {
  PoolLeaves(*config_, fed.batch, fed.ids, rows, &pooled_, team_);
  input_.batch = &fed.batch;
  input_.leaves = LeafPointers(*config_, fed.batch, pooled_);
  // Dropout is drawn by the number of steps before this one; only a step that is trained has any.
  input_.step = fed.ticket.read_only ? 0 : fed.ticket.step - 1;
  // Prediction has no labels and so no denominators; the model then computes no losses.
  input_.row_scales = nullptr;
  if (fed.denominators.has_value()) {
    row_scales_ = RowScales(*config_, fed.batch, *fed.denominators);
    input_.row_scales = &row_scales_;
  }
  return input_;
}

}  // namespace pepnet
