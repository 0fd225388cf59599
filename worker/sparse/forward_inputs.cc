#include "worker/sparse/forward_inputs.h"

namespace pepnet {

StatusOr<const ModelInput*> ForwardInputs::Make(const PreparedBatch& prepared, PsClient* client) {
  PEPNET_RETURN_IF_ERROR(Receive(prepared, client));
  return &Pool(prepared);
}

Status ForwardInputs::Receive(const PreparedBatch& prepared, PsClient* client) {
  return client->FinishPull(prepared.ticket, &rows_);
}

const ModelInput& ForwardInputs::PoolRows(const PreparedBatch& prepared,
                                          const FloatBuffers& table_rows) {
  return PoolRows(prepared, PulledRows(table_rows, config_->tables));
}

const ModelInput& ForwardInputs::PoolRows(const PreparedBatch& prepared, const PulledRows& rows) {
  PoolLeaves(*config_, prepared.batch, prepared.ids, rows, &pooled_, team_);
  input_.batch = &prepared.batch;
  input_.leaves = LeafPointers(*config_, prepared.batch, pooled_);
  // Dropout is drawn by the number of steps before this one; only a step that is trained has any.
  input_.step = prepared.ticket.read_only ? 0 : prepared.ticket.step - 1;
  // Prediction has no labels and so no loss_normalizers; the model then computes no losses.
  input_.row_scales = nullptr;
  if (prepared.loss_normalizers.has_value()) {
    row_scales_ = RowScales(*config_, prepared.batch, *prepared.loss_normalizers);
    input_.row_scales = &row_scales_;
  }
  return input_;
}

}  // namespace pepnet
