#include "common/base/mutant.h"

#include <cstdio>
#include <cstdlib>
#include <iterator>

namespace pepnet {
namespace {

#if PEPNET_MUTANTS
Mutant g_mutant = Mutant::kNone;  // written by tests before they start threads
#endif

// The names stand in the order of the enumeration, behind kNone; tests and scripts call mutants by
// these words.
constexpr MutantName kNames[] = {
    {"gate_sees_gradient", 1},
    {"padding_is_attended", 1},
    {"sequence_by_row", 1},
    {"operator_by_column", 1},
    {"divide_by_workers", 2},
    {"local_loss_normalizer", 2},
    {"dropout_by_local_row", 2},
    {"statistics_of_slice", 2},
    {"session_ends_at_slice", 2},
    {"explain_deals_by_worker", 2},
    {"bootstrap_by_local_row", 2},
    {"slice_of_own_values", 2},
    {"groups_of_own_rows", 2},
    {"sum_in_arrival_order", 3},
    {"init_by_server", 3},
    {"pull_creates_row", 3},
    {"rounding_by_slot", 3},
    {"resume_forgets_position", 4},
    {"resume_forgets_dense_state", 4},
    {"resume_forgets_averages", 4},
    {"resume_forgets_evaluations", 4},
    {"resume_forgets_train_slices", 4},
    {"resume_forgets_train_rows", 4},
    {"budget_by_server", 3},
    {"count_by_worker", 2},
    {"clicks_by_worker", 2},
    {"event_time_by_worker", 2},
    {"resume_forgets_candidates", 4},
    {"resume_forgets_event_times", 4},
    {"snapshot_without_copy", 4},
    {"snapshot_takes_later_rows", 4},
    {"inference_forgets_seed", 5},
    {"export_forgets_initial_rows", 5},
    {"manifest_first", 6},
    {"silence_is_health", 6},
    {"clamp_to_row_zero", 7},
    {"resume_trusts_files", 7},
};
static_assert(std::size(kNames) == static_cast<int>(Mutant::kResumeTrustsFiles),
              "one name per mutant, in order");

}  // namespace

#if PEPNET_MUTANTS
bool MutantActive(Mutant mutant) { return g_mutant == mutant; }

void SetMutantForTest(Mutant mutant) { g_mutant = mutant; }
#else
// A test of a mutant in a program without mutants would pass for the wrong reason, so it ends here.
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
  for (size_t i = 0; i < std::size(kNames); ++i) {
    if (name == kNames[i].name) return static_cast<Mutant>(i + 1);
  }
  return Mutant::kNone;
}

std::span<const MutantName> MutantNames() { return kNames; }

}  // namespace pepnet
