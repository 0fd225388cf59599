#include "ps/snapshot.h"

#include <algorithm>
#include <cstring>

#include "common/base/file.h"
#include "common/base/logging.h"
#include "common/base/mutant.h"
#include "common/checkpoint/checkpoint.h"
#include "common/net/partition.h"

namespace pepnet {
namespace {

constexpr size_t kRowsPerAppend = 8192;  // rows copied side by side before they are handed to the writer

StatusOr<PartEntry> SaveTable(const ServerPlan& plan, const TableShard& table, const std::string& directory) {
  PEPNET_ASSIGN_OR_RETURN(auto writer,
                          TablePartWriter::Create(directory, table.table().name, table.dim(), table.state_dim(),
                                                  plan.server_index, plan.server_count));
  const size_t dim = table.dim(), state_dim = table.state_dim();
  const std::vector<TableShard::Row> rows = table.SortedRows();
  std::vector<int64_t> ids, frequency, last_step;
  AlignedBuffer<float> values(kRowsPerAppend * dim), states(kRowsPerAppend * state_dim);
  for (size_t begin = 0; begin < rows.size(); begin += kRowsPerAppend) {
    const size_t count = std::min(kRowsPerAppend, rows.size() - begin);
    ids.resize(count);
    frequency.resize(count);
    last_step.resize(count);
    for (size_t i = 0; i < count; ++i) {
      const auto [id, slot] = rows[begin + i];
      ids[i] = id;
      frequency[i] = table.frequency(slot);
      last_step[i] = table.last_step(slot);
      std::copy_n(table.value(slot), dim, values.data() + i * dim);
      std::copy_n(table.state(slot), state_dim, states.data() + i * state_dim);
    }
    PEPNET_RETURN_IF_ERROR(
        writer->Append({ids, {values.data(), count * dim}, {states.data(), count * state_dim}, frequency, last_step}));
  }
  return writer->Finish();
}

// Where in a part the rows of the buckets [first, end) stand: one range, since parts are in bucket order.
struct RowRange {
  int64_t first = 0, count = 0;
};
RowRange RowsOfBuckets(const PartEntry& part, int first, int end) {
  RowRange range;
  for (const BucketEntry& bucket : part.buckets) {
    if (bucket.bucket < first) range.first += bucket.rows;
    if (bucket.bucket >= first && bucket.bucket < end) range.count += bucket.rows;
  }
  return range;
}

Status CheckShape(const PartEntry& part, const TableShard& table, bool with_state) {
  if (part.dim != table.dim()) {
    return InvalidInput("table ", table.table().name, " has width ", table.dim(), ", table ", part.table,
                        " of the checkpoint ", part.dim);
  }
  if (with_state && part.state_dim != table.state_dim()) {
    return InvalidInput("table ", table.table().name, " has ", table.state_dim(),
                        " floats of optimizer state per row, table ", part.table, " of the checkpoint ", part.state_dim,
                        "; is it another sparse optimizer?");
  }
  return absl::OkStatus();
}

Status LoadRows(const ServerPlan& plan, const RowColumns& rows, bool renamed, bool with_state, TableShard* table) {
  const size_t dim = table->dim(), state_dim = table->state_dim();
  for (size_t i = 0; i < rows.ids.size(); ++i) {
    const int64_t id = rows.ids[i];
    if (id < 0 || id >= table->table().rows) {
      return InvalidInput("the checkpoint holds row ", id, ", expected 0 <= id < ", table->table().rows);
    }
    const int bucket = BucketOf(RowHash(table->table_hash(), id));
    if (bucket < plan.first_bucket || bucket >= plan.end_bucket) {
      if (renamed) continue;
      return absl::DataLossError(absl::StrCat("row ", id, " stands in the wrong bucket"));
    }
    if (table->Find(id) != TableShard::kNoSlot) return absl::DataLossError(absl::StrCat("row ", id, " occurs twice"));
    const int64_t slot = table->Create(id);
    std::copy_n(rows.values.data() + i * dim, dim, table->value(slot));
    if (!with_state) continue;
    std::copy_n(rows.states.data() + i * state_dim, state_dim, table->state(slot));
    table->frequency(slot) = rows.frequency[i];
    table->last_step(slot) = rows.last_step[i];
  }
  return absl::OkStatus();
}

Status LoadPart(const ServerPlan& plan, const std::string& directory, const PartEntry& part, bool with_state,
                TableShard* table) {
  PEPNET_RETURN_IF_ERROR(CheckShape(part, *table, with_state));
  // The bucket of a row depends on the table's name: under another name its rows are spread over all buckets of the
  // part.
  const bool renamed = part.table != table->table().name;
  const RowRange range = renamed ? RowRange{0, part.rows} : RowsOfBuckets(part, plan.first_bucket, plan.end_bucket);
  if (range.count == 0) return absl::OkStatus();
  if (!renamed) table->Reserve(table->size() + range.count);
  PEPNET_ASSIGN_OR_RETURN(auto reader, TablePartReader::Open(directory, part));
  return reader->Read(range.first, range.count,
                      [&](const RowColumns& rows) { return LoadRows(plan, rows, renamed, with_state, table); });
}

}  // namespace

StatusOr<std::vector<PartEntry>> SaveTables(const ServerPlan& plan, const std::vector<TableShard>& tables,
                                            const std::string& directory) {
  // Never made here: where worker 0's directory is not seen, this host writes to another file system.
  if (!IsDirectory(directory)) {
    return absl::NotFoundError(
        absl::StrCat("the checkpoint directory ", directory,
                     " does not exist on this server's host; model_dir must be shared by all hosts"));
  }
  std::vector<PartEntry> parts;
  for (const TableShard& table : tables) {
    StatusOr<PartEntry> part = SaveTable(plan, table, directory);
    if (!part.ok())
      return Annotate(part.status(), absl::StrCat("saving table ", table.table().name, " in ", directory));
    parts.push_back(*std::move(part));
  }
  return parts;
}

std::vector<TableShard> MakeTables(const ServerPlan& plan) {
  const uint64_t seed = plan.seed + (MutantActive(Mutant::kInitByServer) ? plan.server_index : 0);
  std::vector<TableShard> tables;
  for (const Table& table : plan.tables) tables.emplace_back(table, plan.optimizer, seed);
  return tables;
}

StatusOr<std::vector<TableShard>> LoadTables(const ServerPlan& plan, const std::string& directory,
                                             const LoadOptions& options) {
  PEPNET_ASSIGN_OR_RETURN(const Manifest manifest, ReadManifest(directory));
  std::vector<TableShard> tables = MakeTables(plan);
  for (TableShard& table : tables) {
    const auto mapped = options.table_map.find(table.table().name);
    const std::string& source = mapped == options.table_map.end() ? table.table().name : mapped->second;
    bool found = false;
    for (const PartEntry& part : manifest.parts) {
      if (part.table != source) continue;
      found = true;
      const Status status = LoadPart(plan, directory, part, options.with_state, &table);
      if (!status.ok()) {
        return Annotate(status,
                        absl::StrCat("loading table ", table.table().name, " from ", directory, "/", part.file));
      }
    }
    if (found) continue;
    const std::string missing = absl::StrCat("table ", table.table().name, " is to be loaded from table ", source,
                                             ", which ", directory, " does not hold");
    if (options.with_state && options.table_map.empty()) return absl::NotFoundError(missing);
    LOG(WARNING) << missing << "; its rows start at their initial values";
  }
  return tables;
}

}  // namespace pepnet
