// The part of a loss that compares the rows of a session (spec 2.2), for losses with
// LossType::session_field. Without torch: both engines take it, because the rows of a session may
// stand on several workers and meet on the host.
//
// jrc_loss, with z the raw output [2], A_s = log sum over the session's rows j of label 0 of
// exp(z_j[1]), and B_s = log sum over those of label 1 of exp(z_j[0]), both over the global batch;
// an empty sum has the logarithm -inf:
//
//   g_i = log(exp(z_i[1]) + exp(A_s)) - z_i[1]    where the label is 1
//   g_i = log(exp(z_i[0]) + exp(B_s)) - z_i[0]    where it is 0
//   l_i = alpha CE_i + (1 - alpha) g_i
//
// CE_i is the row's part (worker/model/fused/row_loss.h).
// Order: sums go over the rows in the order of the global batch, so that no thread or message order
// shows in a bit.
#pragma once

#include <cstdint>
#include <vector>

#include "common/base/status.h"
#include "common/job_config/job_config.h"
#include "common/net/collective.h"
#include "worker/model/pepnet_model.h"

namespace pepnet {

// One reported loss.
struct LossSlot {
  int task = 0;
  const Loss* loss = nullptr;  // borrowed from the config
};

// In tower order. A tower's later loss replaces an earlier one of the same name, as in the
// reference.
std::vector<LossSlot> LossSlots(const JobConfig& config);

// Whether one of the tower's losses has a part of sessions, which needs the raw outputs of all
// rows.
bool HasSessions(const Tower& tower);

// Rows of one loss in the order of the global batch.
struct SessionRows {
  std::vector<int64_t> session;
  std::vector<uint8_t> positive;  // the label
  std::vector<float> scale;       // as RowScales() gives them
  std::vector<float> z;           // [rows, 2]
};

// The part of it that a worker needs for its own rows.
struct SessionPart {
  std::vector<double> losses;  // by row: (1 - alpha) g_i
  // [rows, 2]: of the sum of scale_i (1 - alpha) g_i over the global batch's rows i
  std::vector<float> gradient;
};

// Of the rows [begin, end). `share`: 1 - alpha. Takes a time that is linear in the rows.
SessionPart RankInSessions(const SessionRows& rows, double share, int64_t begin, int64_t end);

// By slot the part of this worker's rows; empty for a loss without sessions. raw_outputs[task]:
// [rows, 2] for tasks with sessions, by row of the batch. `workers` null: the batch is the global
// one. Else a collective operation, unless no loss has sessions: every worker calls it for every
// batch, also for one without rows.
// Error: the exchange failed.
StatusOr<std::vector<SessionPart>> SessionParts(const JobConfig& config,
                                                const std::vector<LossSlot>& slots,
                                                const ModelInput& input,
                                                const std::vector<const float*>& raw_outputs,
                                                Collective* workers);

}  // namespace pepnet
