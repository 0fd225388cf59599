// The fused engine: PepnetModel with a hand-written forward and backward, without autograd and
// without allocation per step. What it computes is what the reference engine computes, up to
// rounding.
//
// Routing (training only, exact): a row whose scale for a task is zero adds nothing to any loss or
//            gradient, so that task skips it, unless it has train metrics, which are over all rows,
//            or a loss with sessions, whose rows are compared with all others; with domain towers a
//            row goes through its own
//            domain's tower alone. The batch is sorted by domain (stable), so that each tower reads
//            consecutive rows.
// Threads:   the rows of each part are cut into `threads` equal shares and those into blocks that
//            stay in cache; a thread is one thread, with its own gradients, added up in thread
//            order. So results depend on the number of threads, as the reference's depend on the
//            number of threads, and on nothing else.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "worker/model/pepnet_model.h"

namespace pepnet {

struct FusedOptions {
  bool routing = true;            // false: every row through everything, for tests and measurements
  int64_t block_rows = 512;       // at most
  Collective* workers = nullptr;  // ModelOptions::workers
};

// Null-free. Precondition: WhyFusedEngineDoesNotRun() of what is asked for is "".
std::unique_ptr<PepnetModel> MakeFusedModel(const JobConfig* config, DenseParameters* parameters,
                                            uint64_t seed, int threads,
                                            const FusedOptions& options);

// "" if the fused engine runs it; else the limit that leaves it to the reference engine, behind
// "the fused one runs".
std::string WhyFusedEngineDoesNotRun(const Model& model, const ModelOptions& options);

}  // namespace pepnet
