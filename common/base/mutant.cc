#include "common/base/mutant.h"

#include <cstdio>
#include <cstdlib>

namespace pepnet {
namespace {

#if PEPNET_MUTANTS
Mutant g_mutant = Mutant::kNone;  // written by tests before they start threads
#endif

constexpr const char* kNames[] = {
    "gate_sees_gradient",
    "padding_is_attended",
    "sequence_by_row",
    "operator_by_column",
    "divide_by_workers",
    "local_loss_normalizer",
    "dropout_by_local_row",
    "statistics_of_slice",
    "session_ends_at_slice",
    "explain_deals_by_worker",
    "bootstrap_by_local_row",
    "slice_of_own_values",
    "sum_in_arrival_order",
    "init_by_server",
    "pull_creates_row",
    "rounding_by_slot",
    "resume_forgets_position",
    "resume_forgets_dense_state",
    "resume_forgets_averages",
    "resume_forgets_evaluations",
    "resume_forgets_train_slices",
    "budget_by_server",
    "count_by_worker",
    "clicks_by_worker",
    "event_time_by_worker",
    "resume_forgets_candidates",
    "resume_forgets_event_times",
    "snapshot_without_copy",
    "snapshot_takes_later_rows",
    "inference_forgets_seed",
    "export_forgets_initial_rows",
    "manifest_first",
    "silence_is_health",
    "clamp_to_row_zero",
    "resume_trusts_files",
};
constexpr int kNameCount = sizeof(kNames) / sizeof(kNames[0]);
static_assert(kNameCount == static_cast<int>(Mutant::kResumeTrustsFiles),
              "one name per mutant, in order");

}  // namespace

#if PEPNET_MUTANTS
bool MutantActive(Mutant mutant) { return g_mutant == mutant; }

void SetMutantForTest(Mutant mutant) { g_mutant = mutant; }
#else
void SetMutantForTest(Mutant mutant) {
  if (mutant == Mutant::kNone) return;
  std::fputs(
      "this program has no mutants; build it with -DPEPNET_MUTANTS=ON (scripts/dev/mutants.sh "
      "does)\n",
      stderr);
  std::abort();
}
#endif

Mutant MutantByName(std::string_view name) {
  for (int i = 0; i < kNameCount; ++i) {
    if (name == kNames[i]) return static_cast<Mutant>(i + 1);
  }
  return Mutant::kNone;
}

const char* const* MutantNames(int* count) {
  *count = kNameCount;
  return kNames;
}

}  // namespace pepnet
