// Gate statistics: what EPNet's and PPNet's gates do on rows. A gate multiplies by gamma *
// sigmoid(z), from 0 to gamma; at 1 the value passes as it is. EPNet has one for each column of the
// main group, so its gates are told by feature; PPNet has one for each unit of a task's layer.
//
//   from 1   mean of |gate - 1|: what the gate does at all
//   varies   standard deviation over the rows, averaged over the columns: near 0 the gate is the
//            same for everybody, and the network could have learnt it without a domain or a user
//   off      share of gates below kEdge * gamma: what they hold back is lost (a dead feature or
//            unit)
//   full     share above (1 - kEdge) * gamma: saturated, training hardly moves them any more
//
// Order:   computed from the model's own layers (PepnetModel::intermediates()), row by row, so the
//          numbers depend on rows and weights alone.
// Cost:    the gates of kGateRows rows, on worker 0.
// Threads: one.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "worker/context/worker_context.h"
#include "worker/eval/inference.h"
#include "worker/explain/row_blocks.h"

namespace pepnet {

inline constexpr int64_t kGateRows = 2048;
inline constexpr double kEdge = 0.05;

struct GateStatistic {
  std::string network;  // "epnet", "ppnet"
  std::string task;     // of ppnet
  std::string part;     // epnet: the feature or encoder; ppnet: "layer 0", ...
  double gamma = 0;
  int columns = 0;
  double mean = 0, from_one = 0, varies = 0, off = 0, full = 0;
  // By domain: the mean of |gate - 1| over its rows; the domains with most rows first.
  std::vector<std::pair<std::string, double>> domains = {};
};

struct GateStatistics {
  int64_t rows = 0;
  std::string domain_column;
  // Epnet in the order of the columns, then ppnet by task and layer.
  std::vector<GateStatistic> gates;
};

// Of the first kGateRows rows. Not collective: worker 0 calls it, and holds the blocks with these
// rows. Empty for a model without gates.
StatusOr<GateStatistics> MeasureGates(const WorkerContext& context, const InferenceModel& inference,
                                      RowBlocks* rows);

}  // namespace pepnet
