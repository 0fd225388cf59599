#include "ps/step_update.h"

#include "common/base/logging.h"

namespace pepnet {

uint64_t GradientFloats(const std::vector<TableShard>& tables, std::span<const uint32_t> counts) {
  CHECK_EQ(tables.size(), counts.size());
  uint64_t floats = 0;
  for (size_t t = 0; t < tables.size(); ++t) floats += uint64_t{counts[t]} * tables[t].dim();
  return floats;
}

Status StepUpdate::Apply(const SparseOptimizer& optimizer, double lr, int64_t update, int64_t step,
                         std::span<const PushedGradients> pushes, std::vector<TableShard>* tables) {
  touched_of_slot_.resize(tables->size());
  std::vector<Source> sources(pushes.size());
  std::vector<size_t> first_id(pushes.size(), 0), first_float(pushes.size(), 0);
  for (size_t t = 0; t < tables->size(); ++t) {
    for (size_t p = 0; p < pushes.size(); ++p) {
      const Ticket& ticket = *pushes[p].ticket;
      const size_t count = ticket.pull.counts[t];
      sources[p] = {pushes[p].worker, ticket.pull.ids.subspan(first_id[p], count),
                    std::span(ticket.slots).subspan(first_id[p], count), pushes[p].gradients.data() + first_float[p]};
      first_id[p] += count;
      first_float[p] += count * (*tables)[t].dim();
    }
    PEPNET_RETURN_IF_ERROR(ApplyTable(optimizer, lr, update, step, sources, t, &(*tables)[t]));
  }
  return absl::OkStatus();
}

Status StepUpdate::ApplyTable(const SparseOptimizer& optimizer, double lr, int64_t update, int64_t step,
                              std::span<const Source> sources, size_t table_index, TableShard* table) {
  const size_t dim = table->dim();
  std::vector<int32_t>& touched_of_slot = touched_of_slot_[table_index];
  size_t total = 0;
  for (const Source& source : sources) total += source.ids.size();
  touched_.clear();
  touched_.reserve(total);
  sums_.Resize(total / 2 * dim);  // a sum has at least two summands
  float* next_sum = sums_.data();

  for (const Source& source : sources) {
    const float* gradient = source.gradients;
    for (size_t i = 0; i < source.ids.size(); ++i, gradient += dim) {
      int64_t slot = source.slots[i];
      if (slot == TableShard::kNoSlot) slot = table->Find(source.ids[i]);  // an earlier worker may have made it
      if (slot == TableShard::kNoSlot) slot = table->Create(source.ids[i]);
      if (static_cast<size_t>(slot) >= touched_of_slot.size())
        touched_of_slot.resize(table->size() + table->size() / 2, -1);
      int32_t& position = touched_of_slot[slot];
      if (position < 0) {
        position = static_cast<int32_t>(touched_.size());
        touched_.push_back({slot, gradient, source.worker});
      } else {
        Touched& row = touched_[position];
        if (row.last_worker == source.worker) {
          return InvalidInput("worker ", source.worker, " names id ", source.ids[i], " of table ", table->table().name,
                              " twice in its pull of step ", step, ", expected distinct ids");
        }
        if (row.gradient >= sums_.begin() && row.gradient < sums_.end()) {
          float* sum = sums_.data() + (row.gradient - sums_.data());
          for (size_t e = 0; e < dim; ++e) sum[e] += gradient[e];
        } else {
          for (size_t e = 0; e < dim; ++e) next_sum[e] = row.gradient[e] + gradient[e];
          row.gradient = next_sum;
          next_sum += dim;
        }
        row.last_worker = source.worker;
      }
      table->frequency(slot) += 1;
      table->last_step(slot) = step;
    }
  }

  rows_.clear();
  for (const Touched& row : touched_) {
    touched_of_slot[row.slot] = -1;
    rows_.push_back({table->value(row.slot), table->state(row.slot), row.gradient});
  }
  if (table->table().trainable) UpdateRows(optimizer, lr, update, table->dim(), rows_);
  return absl::OkStatus();
}

}  // namespace pepnet
