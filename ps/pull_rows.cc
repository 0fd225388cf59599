#include "ps/pull_rows.h"

#include "common/base/logging.h"
#include "common/base/mutant.h"

namespace pepnet {
namespace {

// Calls visit(table, number of its first id) for each table of a pull.
template <typename Visit>
void ForEachTable(const PullBody& pull, ThreadTeam* team, const Visit& visit) {
  std::vector<size_t> first(1, 0);
  for (const uint32_t count : pull.counts) first.push_back(first.back() + count);
  if (pull.ids.size() < kRowsForTeam) team = nullptr;
  ForEachOnTeam(team, pull.counts.size(), [&](int, size_t t) { visit(t, first[t]); });
}

// The place in one array at which the part of each table begins; the parts have these sizes.
std::vector<float*> Parts(float* begin, std::span<const size_t> sizes) {
  std::vector<float*> parts;
  for (const size_t size : sizes) {
    parts.push_back(begin);
    begin += size;
  }
  return parts;
}

std::vector<size_t> FloatsByTable(const std::vector<TableShard>& tables,
                                  std::span<const uint32_t> counts) {
  CHECK_EQ(tables.size(), counts.size());
  std::vector<size_t> floats;
  for (size_t t = 0; t < tables.size(); ++t) {
    floats.push_back(size_t{counts[t]} * static_cast<size_t>(tables[t].dim()));
  }
  return floats;
}

// Pulls create no rows. This is the fault that the test of L3 must notice.
void MakeRowsIfMutant(std::span<const int64_t> ids, TableShard* table) {
  if (!MutantActive(Mutant::kPullCreatesRow)) return;
  for (const int64_t id : ids) {
    if (table->Find(id) == TableShard::kNoSlot) table->Create(id);
  }
}

}  // namespace

uint64_t GradientFloats(const std::vector<TableShard>& tables, std::span<const uint32_t> counts) {
  uint64_t floats = 0;
  for (const size_t of_table : FloatsByTable(tables, counts)) floats += of_table;
  return floats;
}

void CopyPulledRows(std::vector<TableShard>* tables, const PullBody& pull, std::span<int64_t> slots,
                    float* out, ThreadTeam* team) {
  const std::vector<float*> parts = Parts(out, FloatsByTable(*tables, pull.counts));
  // Tables write to parts of `out` that do not overlap, so that threads need no lock.
  ForEachTable(pull, team, [&](size_t t, size_t first) {
    const std::span<const int64_t> ids = pull.ids.subspan(first, pull.counts[t]);
    MakeRowsIfMutant(ids, &(*tables)[t]);
    (*tables)[t].FindAndRead(ids, slots.subspan(first, ids.size()), parts[t]);
  });
}

RowPointers PointToPulledRows(std::vector<TableShard>* tables, const PullBody& pull,
                              std::span<int64_t> slots, ThreadTeam* team) {
  RowPointers pointers;
  pointers.rows.Resize(slots.size());
  pointers.unseen_floats.resize(tables->size());
  pointers.copied_floats.resize(tables->size());
  // The first pass only counts what does not stand in the tables. The reply is one frame, made when
  // these sizes are known; then the other two passes fill it and set the pointers that are left.
  ForEachTable(pull, team, [&](size_t t, size_t first) {
    TableShard& table = (*tables)[t];
    const std::span<const int64_t> ids = pull.ids.subspan(first, pull.counts[t]);
    MakeRowsIfMutant(ids, &table);
    if (!table.codec().values().is_float()) {
      table.Find(ids, slots.subspan(first, ids.size()));
      pointers.copied_floats[t] = ids.size() * static_cast<size_t>(table.dim());
      return;
    }
    const size_t unseen =
        table.FindAndPoint(ids, slots.subspan(first, ids.size()), pointers.rows.data() + first);
    pointers.unseen_floats[t] = unseen * static_cast<size_t>(table.dim());
  });
  for (const size_t floats : pointers.unseen_floats) pointers.all_unseen_floats += floats;
  for (const size_t floats : pointers.copied_floats) pointers.all_copied_floats += floats;
  return pointers;
}

void ReadUnseenRows(const std::vector<TableShard>& tables, const PullBody& pull,
                    std::span<const int64_t> slots, float* out, RowPointers* pointers,
                    ThreadTeam* team) {
  if (pointers->all_unseen_floats == 0) return;
  const std::vector<float*> parts = Parts(out, pointers->unseen_floats);
  ForEachTable(pull, team, [&](size_t t, size_t first) {
    if (pointers->unseen_floats[t] == 0) return;
    const std::span<const int64_t> ids = pull.ids.subspan(first, pull.counts[t]);
    tables[t].ReadInitialValues(ids, slots.subspan(first, ids.size()),
                                pointers->rows.data() + first, parts[t]);
  });
}

void CopyNarrowRows(const std::vector<TableShard>& tables, const PullBody& pull,
                    std::span<const int64_t> slots, float* out, RowPointers* pointers,
                    ThreadTeam* team) {
  if (pointers->all_copied_floats == 0) return;
  const std::vector<float*> parts = Parts(out, pointers->copied_floats);
  ForEachTable(pull, team, [&](size_t t, size_t first) {
    if (pointers->copied_floats[t] == 0) return;
    const std::span<const int64_t> ids = pull.ids.subspan(first, pull.counts[t]);
    // Rows of a narrow type are widened here, on the server: the reply has floats alone.
    tables[t].ReadValues(ids, slots.subspan(first, ids.size()), parts[t]);
    const size_t dim = static_cast<size_t>(tables[t].dim());
    for (size_t i = 0; i < ids.size(); ++i) pointers->rows[first + i] = parts[t] + i * dim;
  });
}

}  // namespace pepnet
