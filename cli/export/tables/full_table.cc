#include "cli/export/tables/full_table.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "common/base/mutant.h"
#include "common/base/partition.h"
#include "common/base/threads.h"
#include "ps/table/store/value_codec.h"

namespace pepnet {
namespace {

// Room for so many rows of a table.
Status Resize(const Table& table, int64_t rows, AlignedBuffer<float>* values) {
  const Status made = Caught([&] {
    values->Resize(static_cast<size_t>(rows * table.dim));
    return absl::OkStatus();
  });
  return Annotate(made, absl::StrCat("table ", table.name, " as a dense tensor of ", rows, " x ",
                                     table.dim, " (", rows * table.dim * sizeof(float) >> 20,
                                     " MiB), which --format parquet does not need"));
}

// The initial value of every row: an id that training never met has its initial value in eval, so
// it must have it in a dense tensor as well (law L5).
StatusOr<TableRows> InitialRows(const Manifest& manifest, const Table& table) {
  // 4 TiB of floats; the bound keeps the products below from overflowing.
  if (table.rows > (int64_t{1} << 40) / table.dim) {
    return InvalidInput("table ", table.name, " of ", table.rows, " x ", table.dim,
                        " is too large for a dense tensor; export it with --format parquet");
  }
  TableRows rows;
  PEPNET_RETURN_IF_ERROR(Resize(table, table.rows, &rows.values));
  const RowInitializer initializer(table, manifest.seed);
  for (int64_t id = 0; id < table.rows; ++id) {
    initializer.Fill(id, {rows.values.data() + id * table.dim, static_cast<size_t>(table.dim)});
  }
  if (MutantActive(Mutant::kExportForgetsInitialRows)) {
    std::memset(rows.values.data(), 0, rows.values.bytes());
  }
  return rows;
}

}  // namespace

int64_t CheckpointedRows(const Manifest& manifest, const Table& table) {
  int64_t rows = 0;
  for (const PartEntry& part : manifest.parts) {
    if (part.table == table.name) rows += part.rows;
  }
  return rows;
}

StatusOr<TableRows> ReadTable(const std::string& checkpoint, const Manifest& manifest,
                              const Table& table) {
  TableRows result;
  if (table.grows()) {
    PEPNET_RETURN_IF_ERROR(Resize(table, CheckpointedRows(manifest, table), &result.values));
  } else {
    PEPNET_ASSIGN_OR_RETURN(result, InitialRows(manifest, table));
  }
  const IdRange range = IdsOf(table.rows);
  for (const PartEntry& part : manifest.parts) {
    if (part.table != table.name) continue;
    PEPNET_ASSIGN_OR_RETURN(std::unique_ptr<TablePartReader> reader,
                            TablePartReader::Open(checkpoint, part));
    PEPNET_RETURN_IF_ERROR(reader->Read(0, part.rows, [&](const RowColumns& rows) -> Status {
      for (size_t i = 0; i < rows.ids.size(); ++i) {
        const int64_t id = rows.ids[i];
        if (!range.Contains(id)) {
          return absl::DataLossError(absl::StrCat(part.file, " holds id ", id, " of table ",
                                                  table.name, ", whose ids are ",
                                                  IdRangeText(table.rows)));
        }
        const std::span<const float> row = rows.values.subspan(i * table.dim, table.dim);
        for (const float v : row) {
          if (std::isfinite(v)) continue;
          return InvalidInput(checkpoint, ": row ", id, " of table ", table.name, " holds ", v,
                              "; export an earlier checkpoint (--checkpoint_path)");
        }
        // A table with an end has a row for every id, at the id; the rows of one that grows come in
        // the order of the parts, by (bucket, id), which RowFinder searches.
        const int64_t place = table.grows() ? static_cast<int64_t>(result.ids.size()) : id;
        std::memcpy(result.values.data() + place * table.dim, row.data(), row.size_bytes());
        // Checkpoints hold float32. A config that has changed data_type since reads rounded values
        // in eval, and so does the export.
        RoundToNearest(table.value_kind, {result.values.data() + place * table.dim, row.size()});
        if (table.grows()) result.ids.push_back(id);
      }
      return absl::OkStatus();
    }));
  }
  return result;
}

RowFinder::RowFinder(const Table& table, uint64_t seed, const TableRows& rows)
    : rows_(rows),
      dim_(static_cast<size_t>(table.dim)),
      grows_(table.grows()),
      table_hash_(HashName(table.name)),
      initializer_(table, seed) {}

void RowFinder::Copy(int64_t id, float* out) const {
  size_t place = static_cast<size_t>(id);
  if (grows_) {
    // Parts stand by server, servers own ranges of buckets, and rows are sorted by id within a
    // bucket: the whole is sorted by (bucket, id).
    const auto key = [this](int64_t of) {
      return std::pair(BucketOf(RowHash(table_hash_, of)), of);
    };
    const auto found = std::lower_bound(rows_.ids.begin(), rows_.ids.end(), key(id),
                                        [&](int64_t a, const auto& b) { return key(a) < b; });
    if (found == rows_.ids.end() || *found != id) return initializer_.Fill(id, {out, dim_});
    place = static_cast<size_t>(found - rows_.ids.begin());
  }
  std::memcpy(out, rows_.values.data() + place * dim_, dim_ * sizeof(float));
}

}  // namespace pepnet
