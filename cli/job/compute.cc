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

std::string Encode(const ComputeFacts& facts) {
  return absl::StrCat(facts.host, "\n", absl::StrJoin(facts.gpus, ","), "\n", facts.no_gpu, "\n", facts.no_nccl, "\n",
                      facts.cpu_bf16);
}

StatusOr<ComputeFacts> Decode(const std::string& text) {
  const std::vector<std::string> fields = absl::StrSplit(text, '\n');
  if (fields.size() != 5) return absl::InternalError("a worker described its device in another form: " + text);
  return ComputeFacts{fields[0], absl::StrSplit(fields[1], ',', absl::SkipEmpty()), fields[2], fields[3],
                      fields[4] == "1"};
}

std::string Name(size_t worker, const ComputeFacts& facts) {
  return absl::StrCat("worker ", worker, " on host ", facts.host);
}

// The GPU of every worker, or why there is not one for each (FailedPrecondition).
StatusOr<std::vector<int>> AssignGpus(const ComputeWish& wish, const std::vector<ComputeFacts>& workers) {
  const bool several = workers.size() > 1;
  std::map<std::string, std::set<std::string>> seen, taken;  // addresses by host
  for (const ComputeFacts& facts : workers) seen[facts.host].insert(facts.gpus.begin(), facts.gpus.end());
  std::vector<int> gpus;
  for (size_t w = 0; w < workers.size(); ++w) {
    const ComputeFacts& facts = workers[w];
    if (facts.gpus.empty()) {
      return absl::FailedPreconditionError(several ? absl::StrCat(Name(w, facts), ": ", facts.no_gpu) : facts.no_gpu);
    }
    if (several && wish.trains && !facts.no_nccl.empty()) {
      return absl::FailedPreconditionError(absl::StrCat(
          Name(w, facts), ": ", facts.no_nccl, ", which the GPUs of several workers need to sum their gradients"));
    }
    size_t gpu = 0;
    // Workers of one host take GPUs in the order of their numbers. Addresses tell GPUs apart and
    // not numbers, since each process may see another list (CUDA_VISIBLE_DEVICES).
    while (gpu < facts.gpus.size() && !taken[facts.host].insert(facts.gpus[gpu]).second) ++gpu;
    if (gpu == facts.gpus.size()) {
      const auto here = std::count_if(workers.begin(), workers.end(),
                                      [&](const ComputeFacts& other) { return other.host == facts.host; });
      return absl::FailedPreconditionError(absl::StrCat(Name(w, facts), " finds no free GPU: the host's ", here,
                                                        " worker(s) see ", seen[facts.host].size(),
                                                        " GPU(s); start at most one worker for each"));
    }
    gpus.push_back(static_cast<int>(gpu));
  }
  return gpus;
}

std::string Describe(const std::vector<int>& gpus, const ComputeWish& wish, const std::vector<ComputeFacts>& workers) {
  if (gpus.size() == 1) return absl::StrCat("computing on GPU ", gpus[0], " of host ", workers[0].host);
  std::set<std::string> hosts;
  for (const ComputeFacts& facts : workers) hosts.insert(facts.host);
  return absl::StrCat("computing on ", gpus.size(), " GPUs of ", hosts.size(), " host(s), one for each worker",
                      wish.trains ? "; NCCL sums the dense gradients" : "");
}

}  // namespace

ComputeFacts FactsOfThisWorker(bool looks_for_gpus) {
  ComputeFacts facts;
  char host[256] = {};
  facts.host = gethostname(host, sizeof(host) - 1) == 0 ? host : "unknown host";
  facts.cpu_bf16 = CpuHasBf16();
  if (!looks_for_gpus) return facts;
  TorchGpus gpus = FindTorchGpus();
  facts.no_gpu = std::move(gpus.reason);
  if (gpus.count == 0) return facts;
  GpuReport nccl = FindGpus();
  facts.gpus = std::move(nccl.ids);
  if (nccl.count > 0) return facts;
  // Without NCCL nobody knows addresses; workers that see the same list see the same GPUs.
  facts.no_nccl = std::move(nccl.reason);
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  const std::vector<std::string> names = absl::StrSplit(visible == nullptr ? "" : visible, ',', absl::SkipEmpty());
  for (size_t i = 0; i < static_cast<size_t>(gpus.count); ++i) {
    facts.gpus.push_back(i < names.size() ? names[i] : absl::StrCat(i));
  }
  return facts;
}

// All workers decide from the same facts, so they decide alike: one that computed on the CPU beside
// others on GPUs would give other bits, and all would wait for it in every step.
StatusOr<ComputeChoice> ChooseCompute(const ComputeWish& wish, const std::vector<ComputeFacts>& workers) {
  ComputeChoice choice;
  if (wish.device != "cpu") {
    StatusOr<std::vector<int>> gpus = AssignGpus(wish, workers);
    if (!gpus.ok() && wish.device == "gpu") {
      return InvalidInput(
          "--device=gpu, but ", gpus.status().message(),
          "; docs/gpu.md says what GPUs need, and without --device the CPU computes where there is none");
    }
    if (gpus.ok()) {
      choice.gpus = *std::move(gpus);
      choice.lines.push_back(Describe(choice.gpus, wish, workers));
    } else {
      // If some worker has a GPU, somebody expects it to be used.
      const bool expected =
          std::any_of(workers.begin(), workers.end(), [](const auto& facts) { return !facts.gpus.empty(); });
      (expected ? choice.warnings : choice.lines)
          .push_back(absl::StrCat("computing on the CPU: ", gpus.status().message()));
    }
  }
  if (!wish.bf16) return choice;
  const auto without = std::find_if(workers.begin(), workers.end(), [](const auto& facts) { return !facts.cpu_bf16; });
  choice.bf16 = !choice.gpus.empty() || without == workers.end();
  if (!choice.bf16) {
    choice.warnings.push_back(
        absl::StrCat("mixed_precision BF16 is left out, everything is computed in float32: the CPU of ",
                     Name(without - workers.begin(), *without), " has neither AVX512-BF16 nor AMX-BF16"));
  }
  return choice;
}

StatusOr<ComputeChoice> AgreeOnCompute(const ComputeWish& wish, const ComputeFacts& mine, Collective* workers) {
  PEPNET_ASSIGN_OR_RETURN(const std::vector<std::string> texts,
                          workers->Allgather(Encode(mine), "devices of the workers"));
  std::vector<ComputeFacts> facts;
  for (const std::string& text : texts) {
    PEPNET_ASSIGN_OR_RETURN(ComputeFacts worker, Decode(text));
    facts.push_back(std::move(worker));
  }
  return ChooseCompute(wish, facts);
}

}  // namespace pepnet
