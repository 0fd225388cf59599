// PulledRows: the rows of one pull, where they lie: in the frames that brought them, or in the
// tables of a server that is a thread of this process.
//
// Ownership: of the frames. Rows of a server's table are good until the push that follows
// (common/net/message.h).
#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "common/base/aligned_buffer.h"
#include "common/job_config/table.h"
#include "common/net/message.h"

namespace pepnet {

class PulledRows {
 public:
  PulledRows() = default;
  // Rows that stand side by side: rows[t] holds tables[t].dim floats for each id. Borrows them.
  PulledRows(const std::vector<AlignedBuffer<float>>& rows, std::span<const Table> tables)
      : tables_(rows.size()) {
    for (size_t t = 0; t < rows.size(); ++t) {
      const size_t dim = static_cast<size_t>(tables[t].dim);
      for (const float* row = rows[t].begin(); row < rows[t].end(); row += dim) {
        tables_[t].push_back(row);
      }
    }
  }

  // By unique id of the table: where its dim floats begin.
  std::span<const float* const> table(size_t t) const { return tables_[t]; }

  // For who receives them: forgets the rows before, and makes room for sizes[t] ids of table t.
  void Reset(std::span<const size_t> sizes) {
    frames_.clear();
    tables_.resize(sizes.size());
    for (size_t t = 0; t < sizes.size(); ++t) tables_[t].resize(sizes[t]);
  }
  std::vector<const float*>& mutable_table(size_t t) { return tables_[t]; }
  // Keeps what rows lie in.
  void Hold(ParsedFrame frame) { frames_.push_back(std::move(frame)); }

 private:
  std::vector<std::vector<const float*>> tables_;
  std::vector<ParsedFrame> frames_;
};

}  // namespace pepnet
