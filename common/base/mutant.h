// Mutants: deliberate faults behind a test-only switch. Each law has a test, and each such test
// must turn red under its mutant; scripts/dev/mutants.sh builds with them (-DPEPNET_MUTANTS=ON),
// lists and runs them. Other builds, those that users run among them, hold no mutant:
// MutantActive() is false at compile time.
//
// Threads: SetMutantForTest() before any thread that might ask is started.
#pragma once

#include <span>
#include <string_view>

// Generated, so that only includers of this header differ between builds.
#include "common/base/mutants_compiled_in.h"

namespace pepnet {

enum class Mutant {
  kNone,
  kGateSeesGradient,   // L1: the gates' input is not detached
  kPaddingIsAttended,  // L1: positions behind the end of a sequence take part in an encoder
  kSequenceByRow,      // L1: the elements of a sequence are those of the row before
  kOperatorByColumn,   // L1: an operator reads its inputs in another order than the config's
  kDivideByWorkers,    // L2: a server divides the summed gradient by the number of workers
  // L2: the loss is divided by the local rows instead of the global ones
  kLocalLossNormalizer,
  kDropoutByLocalRow,   // L2: dropout is keyed by the row within the slice
  kStatisticsOfSlice,   // L2: batch norm takes the statistics of the slice
  kSessionEndsAtSlice,  // L2: a loss compares the rows of a session within the slice
  // L2: explain permutes a feature differently on each worker
  kExplainDealsByWorker,
  // L2: how often the bootstrap draws a row depends on its number within the slice
  kBootstrapByLocalRow,
  kSliceOfOwnValues,         // L2: a worker gives slices of train metrics by its own rows
  kGroupsOfOwnRows,          // L2: a grouped AUC of training rows is measured worker by worker
  kSumInArrivalOrder,        // L3: gradients are added in the order in which pushes arrive
  kInitByServer,             // L3: a row's initial value depends on its server
  kPullCreatesRow,           // L3: a pull creates the row
  kRoundingBySlot,           // L3: how a row is rounded depends on where it stands in its server
  kResumeForgetsPosition,    // L4: a resumed run starts at the first row
  kResumeForgetsDenseState,  // L4: a resumed run starts with fresh dense optimizer state
  kResumeForgetsAverages,    // L4: a resumed run averages from the weights that it starts with
  // L4: a resumed run waits for a better evaluation from the start again
  kResumeForgetsEvaluations,
  // L4: a resumed run has no rows of train metrics that wait for a slice
  kResumeForgetsTrainSlices,
  kResumeForgetsTrainRows,   // L4: a resumed run has no rows of the open window of a grouped AUC
  kBudgetByServer,           // L3: all rows of a server share one limit, whatever their bucket
  kCountByWorker,            // L2: every worker that names a row or a candidate counts
  kClicksByWorker,           // L2: every worker that marks a row counts a click
  kEventTimeByWorker,        // L2: the event time of a step is that of its last worker
  kResumeForgetsCandidates,  // L4: a resumed run has counted no candidates
  kResumeForgetsEventTimes,  // L4: a resumed run knows no event times of earlier steps
  kSnapshotWithoutCopy,      // L4: rows that change before they are saved are not copied first
  kSnapshotTakesLaterRows,   // L4: rows made while a checkpoint is being written get into it
  // L5: eval and predict give unseen ids another initial value than training
  kInferenceForgetsSeed,
  kExportForgetsInitialRows,  // L5: an exported table has zeros where training created no row
  kManifestFirst,             // L6: the manifest is written before the data files
  kSilenceIsHealth,           // L6: a rank without heartbeats is never lost
  kClampToRowZero,            // L7: an id out of range silently reads row 0
  // L7: a resumed run takes the files it is given for those that were read
  kResumeTrustsFiles,
};

#if PEPNET_MUTANTS
inline constexpr bool kMutantsCompiledIn = true;
bool MutantActive(Mutant mutant);
#else
inline constexpr bool kMutantsCompiledIn = false;
constexpr bool MutantActive(Mutant) { return false; }
#endif

// A build without mutants takes only kNone; another one ends the process with a message.
void SetMutantForTest(Mutant mutant);
// "sum_in_arrival_order" -> the enumerator; kNone for an unknown name.
Mutant MutantByName(std::string_view name);
struct MutantName {
  const char* name;
  int law;  // the number of the law whose test it turns red
};
// All of them, in the order of their enumerators, without kNone.
std::span<const MutantName> MutantNames();

}  // namespace pepnet
