// RowPolicy: which rows a table that grows has: who is admitted, when a row expires, and which rows
// leave when there are too many. ps/table/row_lifecycle.h carries it out; docs/design.md, section
// 6, says why it gives the same rows for any number of servers and workers.
#pragma once

#include <cstdint>
#include <string>

#include "common/job_config/type_table.h"

namespace pepnet {

inline constexpr double kMostWeight = 1e6;  // of a step in a row's score

// The order in which rows are evicted when a table holds too many.
enum class EvictionKind { kLru, kLfu, kScore };

struct RowPolicy {
  int64_t admit_after_steps = 1;  // an id gets its row in the n-th step that names it
  double admit_probability = 1;   // in each step that names it, from the n-th on
  int64_t ttl_steps = 0;          // a row that so many steps have not named expires; 0: never
  int64_t max_rows = 0;           // of the table, on all servers; 0: no limit
  // The same in bytes of rows, their state, their index and counters; 0: no limit.
  int64_t memory_budget_bytes = 0;
  EvictionKind eviction = EvictionKind::kLru;
  int64_t half_life_steps = 0;  // of kScore
  // Of kScore: the weights of a step that names a row, and of one in which a row of the data with a
  // positive `click_label` names it.
  double show_weight = 1, click_weight = 0;
  std::string click_label = "";  // a label of the data; only workers know it
  // A row whose last step is so far behind the job's event time expires; 0: never.
  int64_t ttl_seconds = 0;
  // Of the counters of ids without a row, of the table on all servers; 0: they are counted exactly,
  // as candidates.
  int64_t filter_bytes = 0;
  int64_t filter_halve_steps = 0;  // these counters are halved once in so many steps

  // Ids that have no row yet are counted one by one.
  bool counts_candidates() const { return admit_after_steps > 1 && filter_bytes == 0; }
  // They are counted in a filter of bounded memory.
  bool filters() const { return filter_bytes > 0; }
  // Each row counts the steps in which a positive click_label named it, in one more float behind
  // its optimizer state.
  bool counts_clicks() const { return click_weight > 0; }
  bool expires() const { return ttl_steps > 0 || ttl_seconds > 0; }
  bool limits_rows() const { return max_rows > 0 || memory_budget_bytes > 0; }
  // Rows leave the table.
  bool removes_rows() const { return expires() || limits_rows(); }
  // Not all ids that are trained have rows for ever.
  bool is_active() const {
    return admit_after_steps > 1 || admit_probability < 1 || removes_rows();
  }
  bool operator==(const RowPolicy&) const = default;
};

struct EvictionType {
  const char* name;     // in configs and on the wire: never changes
  const char* summary;  // which rows leave first
};

namespace eviction_types {

inline constexpr EvictionType kLru = {"LRU", "rows unnamed for longest"};
inline constexpr EvictionType kLfu = {"LFU", "rows named in the fewest steps"};
inline constexpr EvictionType kScore = {"SCORE", "rows of the lowest score"};

}  // namespace eviction_types

constexpr const EvictionType* FindType(EvictionKind kind) {
  switch (kind) {
    case EvictionKind::kLru:
      return &eviction_types::kLru;
    case EvictionKind::kLfu:
      return &eviction_types::kLfu;
    case EvictionKind::kScore:
      return &eviction_types::kScore;
  }
  return nullptr;
}

}  // namespace pepnet
