// The message when a loss is no longer finite: where it began, and which rows were pulled hardest.
//
// Cost: one more forward pass; only when the job ends anyway. Threads: one.
#pragma once

#include <string>

#include "common/job_config/job_config.h"
#include "worker/model/pepnet_model.h"
#include "worker/sparse/pooling.h"
#include "worker/sparse/unique_ids.h"

namespace pepnet {

// The step that failed, as Trainer has it after TrainStep().
struct FailedStep {
  const JobConfig& config;
  const DenseParameters& parameters;
  const ModelInput& input;
  const UniqueIds& ids;
  const PulledRows& rows;  // of ids
  const FloatBuffers& leaf_gradients;
};

// "row 7 of table uid_emb", "parameter model.epnet...", "epnet_output", "logits_ctr", ...: the
// first of them, in the order of the computation, that is not finite, as a sentence without full
// stop; then the largest gradients' tables and ids.
std::string DescribeDivergence(const FailedStep& step, PepnetModel* model);

}  // namespace pepnet
