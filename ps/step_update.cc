#include "ps/step_update.h"

#include <algorithm>
#include <optional>

#include "common/base/logging.h"
#include "common/base/mutant.h"
#include "ps/table/row_lifecycle.h"

namespace pepnet {
namespace {

constexpr size_t kPrefetchRows = 24;  // rows asked for ahead of their use
constexpr size_t kBlockRows = 64;     // updated while they are in the cache

}  // namespace

Status StepUpdate::Apply(const SparseOptimizer& optimizer, double lr, int64_t update, int64_t step,
                         std::span<const PushedGradients> pushes, std::vector<TableShard>* tables,
                         Snapshot* snapshot, const EventClock* clock) {
  std::optional<Snapshot::Change> change;
  // The lock of the snapshot is held for the whole step, except while a change waits for memory. So
  // the thread that copies rows sees a step's changes or none of them, or is told by a row's last
  // step.
  if (snapshot != nullptr && snapshot->open()) change.emplace(snapshot);
  // sources[t * pushes + p]: what push p holds for table t.
  std::vector<Source> sources;
  sources.reserve(tables->size() * pushes.size());
  std::vector<size_t> first_id(pushes.size(), 0), first_float(pushes.size(), 0),
      first_initial(pushes.size(), 0);
  size_t rows = 0;
  for (size_t t = 0; t < tables->size(); ++t) {
    for (size_t p = 0; p < pushes.size(); ++p) {
      const Ticket& ticket = *pushes[p].ticket;
      const size_t count = ticket.pull.counts[t];
      const std::span<const int64_t> slots = ticket.slots.span().subspan(first_id[p], count);
      // Only pulls by reference leave initial values in the ticket, for tables of float32, without
      // gaps: one for each id that had no row.
      const float* initial_values = nullptr;
      if (!ticket.initial_values.empty() && (*tables)[t].codec().values().is_float()) {
        const auto unseen = std::count(slots.begin(), slots.end(), TableShard::kNoSlot);
        initial_values = ticket.initial_values.data() + first_initial[p];
        first_initial[p] += static_cast<size_t>(unseen * (*tables)[t].dim());
      }
      const bool counts_clicks =
          (*tables)[t].table().policy.counts_clicks() && !ticket.pull.marks.empty();
      sources.push_back({pushes[p].worker, ticket.pull.ids.subspan(first_id[p], count), slots,
                         pushes[p].gradients.data() + first_float[p], initial_values,
                         counts_clicks ? ticket.pull.marks.data() : nullptr, first_id[p]});
      first_id[p] += count;
      first_float[p] += count * (*tables)[t].dim();
      rows += count;
    }
  }
  std::vector<Status> results(tables->size());
  // The lock of the snapshot belongs to this thread, so it changes all rows itself.
  ThreadTeam* const team = change.has_value() || rows < kRowsForTeam ? nullptr : team_;
  ForEachOnTeam(team, tables->size(), [&](int member, size_t t) {
    const TableStep table_step{
        optimizer,         lr,   update, step, t, &(*tables)[t], change ? &*change : nullptr,
        &scratch_[member], clock};
    results[t] =
        ApplyTable(table_step, std::span(sources).subspan(t * pushes.size(), pushes.size()));
  });
  // The first error by table is returned, not the first in time, so that it does not depend on
  // threads.
  for (const Status& result : results) PEPNET_RETURN_IF_ERROR(result);
  return absl::OkStatus();
}

void StepUpdate::Admit(const TableStep& step, std::span<const Source> sources) {
  std::vector<int64_t>& unseen = step.scratch->unseen;
  unseen.clear();
  for (const Source& source : sources) {
    for (size_t i = 0; i < source.ids.size(); ++i) {
      if (source.slots[i] == TableShard::kNoSlot) unseen.push_back(source.ids[i]);
    }
  }
  // A candidate that a snapshot has still to take is copied before it is counted.
  step.table->lifecycle()->Admit(step.step, step.table, &unseen, sources.size() > 1,
                                 [&](int64_t slot) {
                                   if (step.change != nullptr)
                                     step.change->BeforeCandidate(step.table_index, slot);
                                 });
}

int64_t StepUpdate::SlotOf(const TableStep& step, Source* source, size_t i) {
  if (i + kPrefetchRows < source->ids.size()) {
    const int64_t later = source->slots[i + kPrefetchRows];
    if (later != TableShard::kNoSlot) {
      step.table->PrefetchRow(later);
    } else {
      step.table->PrefetchIndex(source->ids[i + kPrefetchRows]);
    }
  }
  int64_t slot = source->slots[i];
  if (slot != TableShard::kNoSlot) return slot;
  // The place moves on for every id that had no row when the pull was answered, even if another
  // worker's push has made the row since: the values of the ids behind it stand after this one's.
  const float* value = nullptr;
  if (source->initial_values != nullptr) {
    value = source->initial_values;
    source->initial_values += step.table->dim();
  }
  slot = step.table->Find(source->ids[i]);  // it may have been made in this step
  // With a policy, Admit() has made the rows of this step already; an id without one is refused.
  if (slot != TableShard::kNoSlot || step.table->lifecycle() != nullptr) return slot;
  return value != nullptr ? step.table->Create(source->ids[i], value, nullptr)
                          : step.table->Create(source->ids[i]);
}

Status StepUpdate::NamedTwice(const TableStep& step, const Source& source, size_t i) {
  return InvalidInput("worker ", source.worker, " names id ", source.ids[i], " of table ",
                      step.table->table().name, " twice in its pull of step ", step.step,
                      ", expected distinct ids");
}

void StepUpdate::UpdateNarrow(const TableStep& step, std::span<RowUpdate> rows,
                              std::span<const int64_t> ids) {
  const ValueCodec& values = step.table->codec().values();
  const ValueCodec& state = step.table->codec().state();
  const size_t width = values.dim() + state.dim();
  AlignedBuffer<float>& widened = step.scratch->widened;
  widened.Resize(kBlockRows * width);
  // Narrow values and states of a block are redirected to float32 copies, updated by the same code
  // as any table, and rounded back to where they stand. Optimizers do not know of narrow numbers.
  float *stored_values[kBlockRows], *stored_state[kBlockRows];
  for (size_t i = 0; i < rows.size(); ++i) {
    stored_values[i] = rows[i].value;
    stored_state[i] = rows[i].state;
    float* const copy = widened.data() + i * width;
    if (!values.is_float()) {
      rows[i].value = copy;
      values.Read(stored_values[i], rows[i].value);
    }
    if (!state.is_float()) {
      rows[i].state = copy + values.dim();
      state.Read(stored_state[i], rows[i].state);
    }
  }
  UpdateRows(step.optimizer, step.lr, step.update, step.table->dim(), rows);
  // Rounding is keyed by step, table and id, not by slot: slots depend on the number of servers
  // (law L3).
  const uint64_t key = step.table->RoundingKey(RandomPurpose::kRounding, step.step),
                 state_key = step.table->RoundingKey(RandomPurpose::kStateRounding, step.step);
  const float* updated[kBlockRows];
  if (!values.is_float()) {
    for (size_t i = 0; i < rows.size(); ++i) updated[i] = rows[i].value;
    values.WriteRows({updated, rows.size()}, key, ids, stored_values);
  }
  if (!state.is_float()) {
    for (size_t i = 0; i < rows.size(); ++i) updated[i] = rows[i].state;
    state.WriteRows({updated, rows.size()}, state_key, ids, stored_state);
  }
}

template <bool narrow>
void StepUpdate::UpdateGathered(const TableStep& step) {
  std::vector<RowUpdate>& rows = step.scratch->rows;
  if (step.table->table().trainable) {
    CHECK_LE(rows.size(), kBlockRows);
    if constexpr (narrow) {
      UpdateNarrow(step, rows, step.scratch->ids);
    } else {
      UpdateRows(step.optimizer, step.lr, step.update, step.table->dim(), rows);
    }
  }
  rows.clear();
  step.scratch->ids.clear();
}

template <bool narrow>
[[gnu::always_inline]] inline void StepUpdate::Gather(const TableStep& step, int64_t slot,
                                                      const float* gradient) {
  std::vector<RowUpdate>& rows = step.scratch->rows;
  rows.push_back({step.table->floats(slot), step.table->state(slot), gradient});
  if constexpr (narrow) {
    step.scratch->ids.push_back(MutantActive(Mutant::kRoundingBySlot) ? slot
                                                                      : step.table->info(slot).id);
  }
  if (rows.size() == kBlockRows) UpdateGathered<narrow>(step);
}

// Every row has one gradient: it is updated while it is in the cache.
template <bool narrow>
Status StepUpdate::ApplyOne(const TableStep& step, Source* source) {
  const size_t dim = step.table->dim();
  std::vector<RowUpdate>& rows = step.scratch->rows;
  rows.clear();
  step.scratch->ids.clear();
  for (size_t i = 0; i < source->ids.size(); ++i) {
    const int64_t slot = SlotOf(step, source, i);
    if (slot == TableShard::kNoSlot) continue;
    RowInfo& info = step.table->info(slot);
    if (info.last_step == step.step) return NamedTwice(step, *source, i);
    // Before() comes before the last step is written: the snapshot tells by it whether the row is
    // still as it was.
    if (step.change != nullptr) step.change->Before(step.table_index, slot);
    info.last_step = step.step;
    info.frequency += 1;
    if (source->Clicked(i)) step.table->CountClick(slot);
    Gather<narrow>(step, slot, source->gradients + i * dim);
  }
  UpdateGathered<narrow>(step);
  return absl::OkStatus();
}

template <bool narrow>
Status StepUpdate::ApplySum(const TableStep& step, std::span<Source> sources) {
  TableShard* const table = step.table;
  const size_t dim = table->dim();
  size_t total = 0;
  for (const Source& source : sources) total += source.ids.size();
  std::vector<Touched>& touched = step.scratch->touched;
  std::vector<RowUpdate>& rows = step.scratch->rows;
  AlignedBuffer<float>& sums = step.scratch->sums;
  touched.clear();
  touched.reserve(total);
  sums.Resize(total / 2 * dim);  // a sum has at least two summands
  // The array does not grow below: gradients point into it, and by that a row's first sum is told
  // from a gradient that still stands in its push.
  float* next_sum = sums.data();

  // While a row is gathered its last step holds -1 - its position in `touched`: no table of slots
  // is needed, and a thread that takes a snapshot while this one waits for memory sees that the row
  // is changing.
  for (Source& source : sources) {
    const float* gradient = source.gradients;
    for (size_t i = 0; i < source.ids.size(); ++i, gradient += dim) {
      const int64_t slot = SlotOf(step, &source, i);
      if (slot == TableShard::kNoSlot) continue;
      RowInfo& info = table->info(slot);
      if (info.last_step >= 0) {
        if (step.change != nullptr) step.change->Before(step.table_index, slot);
        info.last_step = -1 - static_cast<int64_t>(touched.size());
        info.frequency += 1;
        touched.push_back({slot, gradient, source.worker, source.Clicked(i)});
      } else {
        Touched& row = touched[static_cast<size_t>(-1 - info.last_step)];
        if (row.last_worker == source.worker) return NamedTwice(step, source, i);
        // The second summand makes the sum in memory of ours, since pushes are const; later ones
        // add to it in place. Either way the order is ((g_0 + g_1) + g_2) + ..., that of the
        // workers (law L3).
        if (row.gradient >= sums.begin() && row.gradient < sums.end()) {
          float* sum = sums.data() + (row.gradient - sums.data());
          for (size_t e = 0; e < dim; ++e) sum[e] += gradient[e];
        } else {
          for (size_t e = 0; e < dim; ++e) next_sum[e] = row.gradient[e] + gradient[e];
          row.gradient = next_sum;
          next_sum += dim;
        }
        row.last_worker = source.worker;
        if (MutantActive(Mutant::kClicksByWorker) && row.clicked && source.Clicked(i)) {
          table->CountClick(slot);
        }
        row.clicked = row.clicked || source.Clicked(i);
        if (MutantActive(Mutant::kCountByWorker)) info.frequency += 1;
      }
    }
  }

  // Every row now has its whole gradient. The order of `touched` is that of first mention; it does
  // not matter to bits, since an update reads and writes one row alone.
  rows.clear();
  step.scratch->ids.clear();
  for (size_t i = 0; i < touched.size(); ++i) {
    // Since a row was gathered, all others have passed through the cache.
    if (i + kPrefetchRows < touched.size()) table->PrefetchRow(touched[i + kPrefetchRows].slot);
    const Touched& row = touched[i];
    table->info(row.slot).last_step = step.step;
    if (row.clicked) table->CountClick(row.slot);
    Gather<narrow>(step, row.slot, row.gradient);
  }
  UpdateGathered<narrow>(step);
  return absl::OkStatus();
}

Status StepUpdate::ApplyTable(const TableStep& step, std::span<Source> sources) {
  RowLifecycle* const lifecycle = step.table->lifecycle();
  if (lifecycle != nullptr) {
    // While a snapshot reads the table, slots of rows that leave must not serve again. The first
    // step behind it gives them back.
    step.table->KeepErased(step.change != nullptr);
    Admit(step, sources);
  }
  const RowCodec& codec = step.table->codec();
  if (codec.values().is_float() && codec.state().is_float()) {
    PEPNET_RETURN_IF_ERROR(sources.size() == 1 ? ApplyOne<false>(step, &sources[0])
                                               : ApplySum<false>(step, sources));
  } else {
    PEPNET_RETURN_IF_ERROR(sources.size() == 1 ? ApplyOne<true>(step, &sources[0])
                                               : ApplySum<true>(step, sources));
  }
  if (lifecycle != nullptr) {
    const int64_t ttl_seconds = step.table->table().policy.ttl_seconds;
    lifecycle->Finish(step.step, step.table,
                      step.clock != nullptr ? step.clock->LastStepBefore(ttl_seconds) : -1);
  }
  return absl::OkStatus();
}

}  // namespace pepnet
