// Evaluate: one pass over a data set with the current weights; metrics and losses, equal on every
// worker (law L5), and on worker 0 the slices of eval_config.slice_by.
// A collective operation. The tables are read as of `finished_steps` applied steps and are not
// changed.
#pragma once

#include <memory>
#include <string>

#include "common/base/status.h"
#include "worker/context/worker_context.h"
#include "worker/data/load/batch_loader.h"
#include "worker/model/pepnet_model.h"
#include "worker/report/run_log.h"
#include "worker/watch/row_overlap.h"

namespace pepnet {

// Opens this worker's share of an evaluation: global batches of eval_batch_size rows (unset:
// batch_size per worker), so that the losses of weighted tasks do not depend on the number of
// workers when eval_batch_size is set.
StatusOr<std::unique_ptr<BatchLoader>> OpenEvaluationData(const WorkerContext& context,
                                                          const std::string& input_path);

struct EvaluationExtras {
  // With intervals from so many rounds (worker/metrics/bootstrap.h), by context.options.seed; 0:
  // without.
  int bootstrap_rounds = 0;
  // Not null: warns if these stand among the eval rows. Borrowed; the same on every worker.
  const TrainedRows* trained = nullptr;
  // Rows of an evaluation of the same data before this one, for the line of progress where the
  // files do not say how many they have; 0: there was none.
  int64_t rows_before = 0;
};
StatusOr<EvaluationResult> Evaluate(const WorkerContext& context, PepnetModel* model,
                                    const std::string& input_path, int64_t finished_steps,
                                    const EvaluationExtras& extras = {});

// Says on worker 0 how many ids were replaced by row 0 (law L7); `clamped` is the sum over the
// workers.
void LogClampedIds(const WorkerContext& context, int64_t clamped);

}  // namespace pepnet
