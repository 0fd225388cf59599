#include "worker/eval/inference.h"

#include "common/base/mutant.h"
#include "common/checkpoint/checkpoint.h"
#include "worker/checkpoint/checkpointing.h"
#include "worker/model/engine/make_model.h"

namespace pepnet {

StatusOr<InferenceModel> OpenForInference(const WorkerContext& context, const std::string& path,
                                          DenseValues which) {
  const RankStatus::Phase phase(context.status(), "restore");
  InferenceModel result;
  PEPNET_ASSIGN_OR_RETURN(result.checkpoint, FindCheckpoint(context, path));
  // Rows that were never created read their initial value, a function of the seed of the training
  // run.
  PEPNET_RETURN_IF_ERROR(RunOnFirstWorker(context, "server plan", [&]() -> Status {
    PEPNET_ASSIGN_OR_RETURN(Manifest manifest, ReadManifest(result.checkpoint));
    const uint64_t seed = manifest.seed + (MutantActive(Mutant::kInferenceForgetsSeed) ? 1 : 0);
    return context.client->Configure(context.worker_ranks, seed, manifest.step);
  }));
  result.parameters = std::make_unique<DenseParameters>(DenseParameterList(*context.config));
  PEPNET_ASSIGN_OR_RETURN(
      result.finished_steps,
      RestoreForInference(context, result.checkpoint, which, result.parameters.get()));
  PEPNET_ASSIGN_OR_RETURN(result.model, MakeModel(context.config, result.parameters.get(),
                                                  ModelOptionsOf(context, /*seed=*/0)));
  return result;
}

}  // namespace pepnet
