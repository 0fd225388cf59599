#include "worker/model/engine/make_model.h"

#include <ATen/Parallel.h>

#include <mutex>

#include "common/base/log_functions.h"
#include "worker/model/fused/fused_model.h"
#include "worker/model/guarded.h"
#include "worker/model/torch/torch_model.h"

namespace pepnet {
namespace {

// libtorch's other pool would only steal cores from the readers. It can be set once per process.
void LimitInteropThreads() {
  static std::once_flag once;
  std::call_once(once, [] { at::set_num_interop_threads(1); });
}

}  // namespace

StatusOr<std::unique_ptr<PepnetModel>> MakeModel(const JobConfig* config,
                                                 DenseParameters* parameters,
                                                 const ModelOptions& options) {
  return Guarded("create the model", [&]() -> StatusOr<std::unique_ptr<PepnetModel>> {
    LimitInteropThreads();
    if (options.threads > 0) at::set_num_threads(options.threads);
    if (options.engine == DenseEngine::kFused) {
      const std::string reason = WhyFusedEngineDoesNotRun(config->model, options);
      if (reason.empty()) {
        // The number of threads is part of what decides bits (fused_model.h), so it is the option's
        // where one is given.
        const int threads = options.threads > 0 ? options.threads : at::get_num_threads();
        return MakeFusedModel(config, parameters, options.seed, threads,
                              {.workers = options.workers});
      }
      // The log says so, because it costs time, and because the two engines agree up to rounding
      // only (law L7).
      LogInfo(absl::StrCat("dense engine: reference, because the fused one runs ", reason));
    }
    return MakeTorchModel(config, parameters, options);
  });
}

}  // namespace pepnet
