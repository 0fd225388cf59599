// Predict: the outputs of every row of a data set, one part file per worker.
//
// Order:    worker w takes one contiguous range of the rows, so that the parts in name order are
//           the input order.
// Files:    <output>/part-00000.parquet (or .csv), ...; written elsewhere and renamed when all
//           workers are done. The output directory is worker/eval/prediction_directory.h's.
// Domains:  with domain_input_name, and that column in the files, also the outputs of each row's
//           own domain (probs_ctr beside probs_ctr_0, ...), copies of the columns that the row's
//           domain names. An error where it names none.
// Columns:  outputs sorted by name (or as asked for), float32, [B, C] outputs as lists; then the
//           reserved input columns.
#pragma once

#include <string>
#include <vector>

#include "common/base/status.h"
#include "worker/context/worker_context.h"
#include "worker/model/pepnet_model.h"

namespace pepnet {

struct PredictRequest {
  std::string input_path, output_path;
  std::vector<std::string> reserved_columns;  // {"ALL_COLUMNS"}: all
  std::vector<std::string> output_columns;    // empty: all
  bool csv = false;
  bool overwrite = false;  // an earlier prediction in output_path
  int64_t batch_size = 0;  // 0: eval_batch_size
  int64_t steps = 0;       // batches of each worker, the first ones of its range; 0: all
};

// Returns the number of rows written by all workers. A collective operation.
StatusOr<int64_t> Predict(const WorkerContext& context, PepnetModel* model,
                          const PredictRequest& request, int64_t finished_steps);

}  // namespace pepnet
