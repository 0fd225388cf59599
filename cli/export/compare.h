// Law L5 at export: what is exported gives the probabilities that eval gives.
#pragma once

#include <cstdint>

#include "cli/export/formats.h"
#include "worker/context/worker_context.h"

namespace pepnet {

inline constexpr int64_t kComparedRows = 1024;

// Runs the first rows of eval_input_path twice: through servers that restored the checkpoint, as
// eval does, and with the tensors of `source`, looked up directly. FailedPrecondition if an output
// differs by more than 1e-5 + 1e-5 |x|, naming the worst one. Returns the number of rows compared.
// A collective operation.
StatusOr<int64_t> CompareWithEval(const WorkerContext& context, const ExportSource& source);

// The content of a model.safetensors, as a source; for the comparison with what was written.
// Borrows nothing of `source` but its config and manifest.
StatusOr<ExportSource> OpenExportedWeights(const ExportSource& source, const std::string& path,
                                           DenseParameters* parameters);

}  // namespace pepnet
