#include "cli/export/full_table.h"

#include <cmath>
#include <cstring>
#include <unordered_map>

#include "common/base/mutant.h"
#include "ps/table/row_initializer.h"

namespace pepnet {

namespace {

// Nobody wants to serve a value that is not finite.
Status CheckFinite(std::span<const float> row, const std::string& checkpoint, const Table& table, int64_t id) {
  for (const float v : row) {
    if (std::isfinite(v)) continue;
    return InvalidInput(checkpoint, ": row ", id, " of table ", table.name, " holds ", v,
                        "; export an earlier checkpoint (--checkpoint_path)");
  }
  return absl::OkStatus();
}

}  // namespace

StatusOr<AlignedBuffer<float>> ReadFullTable(const std::string& checkpoint, const Manifest& manifest,
                                             const Table& table) {
  if (table.rows > (int64_t{1} << 40) / table.dim) {
    return InvalidInput("table ", table.name, " of ", table.rows, " x ", table.dim,
                        " is too large for a dense tensor; export it with --format parquet");
  }
  AlignedBuffer<float> values(table.rows * table.dim);
  const RowInitializer initializer(table, manifest.seed);
  for (int64_t id = 0; id < table.rows; ++id) {
    initializer.Fill(id, {values.data() + id * table.dim, static_cast<size_t>(table.dim)});
  }
  if (MutantActive(Mutant::kExportForgetsInitialRows)) std::memset(values.data(), 0, values.bytes());
  for (const PartEntry& part : manifest.parts) {
    if (part.table != table.name) continue;
    PEPNET_ASSIGN_OR_RETURN(std::unique_ptr<TablePartReader> reader, TablePartReader::Open(checkpoint, part));
    PEPNET_RETURN_IF_ERROR(reader->Read(0, part.rows, [&](const RowColumns& rows) -> Status {
      for (size_t i = 0; i < rows.ids.size(); ++i) {
        if (rows.ids[i] < 0 || rows.ids[i] >= table.rows) {
          return absl::DataLossError(absl::StrCat(part.file, " holds id ", rows.ids[i], " of table ", table.name,
                                                  ", which has ", table.rows, " rows"));
        }
        const std::span<const float> row = rows.values.subspan(i * table.dim, table.dim);
        PEPNET_RETURN_IF_ERROR(CheckFinite(row, checkpoint, table, rows.ids[i]));
        std::memcpy(values.data() + rows.ids[i] * table.dim, row.data(), row.size_bytes());
      }
      return absl::OkStatus();
    }));
  }
  return values;
}

StatusOr<AlignedBuffer<float>> ReadRows(const std::string& checkpoint, const Manifest& manifest, const Table& table,
                                        std::span<const int64_t> ids) {
  const auto dim = static_cast<size_t>(table.dim);
  AlignedBuffer<float> values(ids.size() * dim);
  const RowInitializer initializer(table, manifest.seed);
  std::unordered_multimap<int64_t, size_t> places;
  for (size_t i = 0; i < ids.size(); ++i) {
    initializer.Fill(ids[i], {values.data() + i * dim, dim});
    places.emplace(ids[i], i);
  }
  for (const PartEntry& part : manifest.parts) {
    if (part.table != table.name) continue;
    PEPNET_ASSIGN_OR_RETURN(std::unique_ptr<TablePartReader> reader, TablePartReader::Open(checkpoint, part));
    PEPNET_RETURN_IF_ERROR(reader->Read(0, part.rows, [&](const RowColumns& rows) -> Status {
      for (size_t i = 0; i < rows.ids.size(); ++i) {
        const std::span<const float> row = rows.values.subspan(i * dim, dim);
        PEPNET_RETURN_IF_ERROR(CheckFinite(row, checkpoint, table, rows.ids[i]));
        const auto [first, end] = places.equal_range(rows.ids[i]);
        for (auto place = first; place != end; ++place) {
          std::memcpy(values.data() + place->second * dim, row.data(), row.size_bytes());
        }
      }
      return absl::OkStatus();
    }));
  }
  return values;
}

}  // namespace pepnet
