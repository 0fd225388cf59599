// The tables of a checkpoint as exports hold them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/base/aligned_buffer.h"
#include "common/base/status.h"
#include "common/checkpoint/checkpoint.h"
#include "common/job_config/table.h"
#include "ps/table/row_initializer.h"

namespace pepnet {

struct TableRows {
  // Of a table that grows: the ids that have a row, by bucket and id. Else empty: row i is that of
  // id i.
  std::vector<int64_t> ids;
  AlignedBuffer<float> values;  // [rows, dim]
};

// Of a table with an end the checkpointed rows, and the initial value of every row that was never
// created; of one that grows the checkpointed rows. DataLoss for an id beyond the table;
// InvalidArgument for a value that is not finite, which nobody wants to serve.
StatusOr<TableRows> ReadTable(const std::string& checkpoint, const Manifest& manifest,
                              const Table& table);

// Rows that the checkpoint has of a table.
int64_t CheckpointedRows(const Manifest& manifest, const Table& table);

// The tables of an export, one after the other.
struct TableSource {
  std::function<StatusOr<TableRows>(const Table&)> read;
  uint64_t seed = 0;  // of the initial values of rows that no table has
};

// Finds rows by their ids, initial values where there is none. Borrows `rows`, in the order of
// ReadTable().
class RowFinder {
 public:
  RowFinder(const Table& table, uint64_t seed, const TableRows& rows);
  // out: table.dim floats. Precondition: the table has such an id.
  void Copy(int64_t id, float* out) const;

 private:
  const TableRows& rows_;
  const size_t dim_;
  const bool grows_;
  const uint64_t table_hash_;  // of the order of rows of a table that grows
  const RowInitializer initializer_;
};

}  // namespace pepnet
