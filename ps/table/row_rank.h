// RowRank: which row leaves a table before which (RowPolicy::eviction).
//
//   LRU    by last step, then by frequency            LFU    by frequency, then by last step
//   SCORE  by (show_weight * frequency + click_weight * clicks) * 2^-(age / half_life), where age
//          is the number of steps since the last that named the row, then by last step. Between
//          whole half-lives the power is a straight line: only operations that every processor
//          rounds alike.
// Then by the hash of the id, which no two ids of a table share: no two rows rank alike.
#pragma once

#include <cstdint>
#include <tuple>

#include "common/job_config/row_policy.h"
#include "ps/table/store/row_store.h"

namespace pepnet {

struct RowRank {
  int64_t first, second;
  uint64_t hash;
  // The lower leaves first.
  friend bool operator<(const RowRank& a, const RowRank& b) {
    return std::tie(a.first, a.second, a.hash) < std::tie(b.first, b.second, b.hash);
  }
};

// After step `step` >= info.last_step; `hash` is RowHash() of the id, `clicks` the number of steps
// in which a row of the data with a positive label named it.
RowRank RankOf(const RowPolicy& policy, const RowInfo& info, double clicks, int64_t step,
               uint64_t hash);

}  // namespace pepnet
