#include "cli/job/compute.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/gpu/device_collective.h"
#include "worker/model/mixed_precision.h"
#include "worker/model/torch/device/gpu.h"

namespace pepnet {
namespace {

std::string Encode(const ComputeInfo& info) {
  return absl::StrCat(info.host, "\n", absl::StrJoin(info.gpus, ","), "\n", info.no_gpu, "\n",
                      info.no_nccl, "\n", info.cpu_bf16);
}

StatusOr<ComputeInfo> Decode(const std::string& text) {
  const std::vector<std::string> fields = absl::StrSplit(text, '\n');
  if (fields.size() != 5) {
    return absl::InternalError("a worker described its device in another form: " + text);
  }
  return ComputeInfo{fields[0], absl::StrSplit(fields[1], ',', absl::SkipEmpty()), fields[2],
                     fields[3], fields[4] == "1"};
}

std::string Name(size_t worker, const ComputeInfo& info) {
  return absl::StrCat("worker ", worker, " on host ", info.host);
}

// The GPU of every worker, or why there is not one for each (FailedPrecondition).
StatusOr<std::vector<int>> AssignGpus(const ComputeRequest& request,
                                      const std::vector<ComputeInfo>& workers) {
  const bool several = workers.size() > 1;
  std::map<std::string, std::set<std::string>> seen, taken;  // addresses by host
  for (const ComputeInfo& info : workers) {
    seen[info.host].insert(info.gpus.begin(), info.gpus.end());
  }
  std::vector<int> gpus;
  for (size_t w = 0; w < workers.size(); ++w) {
    const ComputeInfo& info = workers[w];
    if (info.gpus.empty()) {
      return absl::FailedPreconditionError(several ? absl::StrCat(Name(w, info), ": ", info.no_gpu)
                                                   : info.no_gpu);
    }
    if (several && request.trains && !info.no_nccl.empty()) {
      return absl::FailedPreconditionError(
          absl::StrCat(Name(w, info), ": ", info.no_nccl,
                       ", which the GPUs of several workers need to sum their gradients"));
    }
    size_t gpu = 0;
    // Workers of one host take GPUs in the order of their numbers. Addresses tell GPUs apart and
    // not numbers, since each process may see another list (CUDA_VISIBLE_DEVICES).
    while (gpu < info.gpus.size() && !taken[info.host].insert(info.gpus[gpu]).second) ++gpu;
    if (gpu == info.gpus.size()) {
      const auto here =
          std::count_if(workers.begin(), workers.end(),
                        [&](const ComputeInfo& other) { return other.host == info.host; });
      return absl::FailedPreconditionError(
          absl::StrCat(Name(w, info), " finds no free GPU: the host's ", here, " worker(s) see ",
                       seen[info.host].size(), " GPU(s); start at most one worker for each"));
    }
    gpus.push_back(static_cast<int>(gpu));
  }
  return gpus;
}

std::string Describe(const std::vector<int>& gpus, const ComputeRequest& request,
                     const std::vector<ComputeInfo>& workers) {
  if (gpus.size() == 1) {
    return absl::StrCat("computing on GPU ", gpus[0], " of host ", workers[0].host);
  }
  std::set<std::string> hosts;
  for (const ComputeInfo& info : workers) hosts.insert(info.host);
  return absl::StrCat("computing on ", gpus.size(), " GPUs of ", hosts.size(),
                      " host(s), one for each worker",
                      request.trains ? "; NCCL sums the dense gradients" : "");
}

}  // namespace

ComputeInfo InfoOfThisWorker(bool looks_for_gpus) {
  ComputeInfo info;
  char host[256] = {};
  info.host = gethostname(host, sizeof(host) - 1) == 0 ? host : "unknown host";
  info.cpu_bf16 = CpuHasBf16();
  if (!looks_for_gpus) return info;
  TorchGpus gpus = FindTorchGpus();
  info.no_gpu = std::move(gpus.reason);
  if (gpus.count == 0) return info;
  GpuReport nccl = FindGpus();
  info.gpus = std::move(nccl.ids);
  if (nccl.count > 0) return info;
  // Without NCCL nobody knows addresses; workers that see the same list see the same GPUs.
  info.no_nccl = std::move(nccl.reason);
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  const std::vector<std::string> names =
      absl::StrSplit(visible == nullptr ? "" : visible, ',', absl::SkipEmpty());
  for (size_t i = 0; i < static_cast<size_t>(gpus.count); ++i) {
    info.gpus.push_back(i < names.size() ? names[i] : absl::StrCat(i));
  }
  return info;
}

// All workers decide from the same info, so they decide alike: one that computed on the CPU beside
// others on GPUs would give other bits, and all would wait for it in every step.
StatusOr<ComputeChoice> ChooseCompute(const ComputeRequest& request,
                                      const std::vector<ComputeInfo>& workers) {
  ComputeChoice choice;
  if (request.device != "cpu") {
    StatusOr<std::vector<int>> gpus = AssignGpus(request, workers);
    if (!gpus.ok() && request.device == "gpu") {
      return InvalidInput("--device=gpu, but ", gpus.status().message(),
                          "; docs/gpu.md says what GPUs need, and without --device the CPU "
                          "computes where there is none");
    }
    if (gpus.ok()) {
      choice.gpus = *std::move(gpus);
      choice.lines.push_back(Describe(choice.gpus, request, workers));
    } else {
      // If some worker has a GPU, somebody expects it to be used.
      const bool expected = std::any_of(workers.begin(), workers.end(),
                                        [](const auto& info) { return !info.gpus.empty(); });
      (expected ? choice.warnings : choice.lines)
          .push_back(absl::StrCat("computing on the CPU: ", gpus.status().message()));
    }
  }
  if (!request.bf16) return choice;
  const auto without =
      std::find_if(workers.begin(), workers.end(), [](const auto& info) { return !info.cpu_bf16; });
  choice.bf16 = !choice.gpus.empty() || without == workers.end();
  if (!choice.bf16) {
    choice.warnings.push_back(absl::StrCat(
        "mixed_precision BF16 is left out, everything is computed in float32: the CPU of ",
        Name(without - workers.begin(), *without), " has neither AVX512-BF16 nor AMX-BF16"));
  }
  return choice;
}

StatusOr<ComputeChoice> AgreeOnCompute(const ComputeRequest& request, const ComputeInfo& mine,
                                       Collective* workers) {
  PEPNET_ASSIGN_OR_RETURN(const std::vector<std::string> texts,
                          workers->Allgather(Encode(mine), "devices of the workers"));
  std::vector<ComputeInfo> info;
  for (const std::string& text : texts) {
    PEPNET_ASSIGN_OR_RETURN(ComputeInfo worker, Decode(text));
    info.push_back(std::move(worker));
  }
  return ChooseCompute(request, info);
}

}  // namespace pepnet
