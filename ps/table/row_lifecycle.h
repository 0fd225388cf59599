// RowLifecycle: which rows one server has of a table with a RowPolicy: who is admitted, when a row
// expires, and which rows leave when there are too many.
//
//   step t    Admit()    ids without a row are counted; who has been named often enough gets a row
//             ...        the gradients of step t are applied to the rows there are
//             Finish()   buckets with more rows than their share are brought below it; some buckets
//                        are swept: rows that have not been named for their time to live leave
//
// Decisions: are made bucket by bucket, from the ids that the steps have named, taken as sets, from
//            the config and the number of the step. So they are the same for any number of servers
//            and workers and any order of messages.
// Limits:    a table of L rows has L / 1024 in each bucket. Within a step a bucket may hold more:
//            the rows that the step makes. Eviction leaves 15/16 of a share, so that a bucket is
//            not ranked anew for every row.
// Sweeps:    each bucket is looked through every SweepPeriod() steps, so that no step pays for all.
//            For an age in event time the period is that of the steps of that age, cut to a power
//            of two: it changes with the data, and powers of two leave no bucket out when it does.
// Candidates: are ids that have been named and not yet admitted, rows without floats in a table of
//            their own, which has the same limits; those that were not named for longest leave it.
// Filter:    counts them in their place where the policy has one (admission_filter.h). It forgets
//            by halving alone: an id whose row has left finds its count as it was.
// Threads:   one.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"

#include "common/job_config/table.h"
#include "ps/table/admission_filter.h"
#include "ps/table/row_rank.h"
#include "ps/table/store/bucket_lists.h"
#include "ps/table/table_shard.h"

namespace pepnet {

// The counts since the server started.
struct LifecycleCounts {
  int64_t admitted = 0;  // rows made
  int64_t refused = 0;   // times that a step named an id without giving it a row
  int64_t expired = 0;
  int64_t evicted = 0;
};

class RowLifecycle {
 public:
  // `row_bytes`: of a row's values and state.
  RowLifecycle(const Table& table, int64_t row_bytes, uint64_t seed);

  // Step `step` names `unseen`, which have no row in `rows`, in any order, an id as often as
  // workers name it; they are sorted if `may_repeat`, that is, if there are several workers. Makes
  // the rows of those that are admitted. `before_change` is called with the slot of each candidate
  // before it changes.
  void Admit(int64_t step, TableShard* rows, std::vector<int64_t>* unseen, bool may_repeat,
             absl::FunctionRef<void(int64_t slot)> before_change);
  // After the gradients of `step` are applied. `named_until`: rows that no later step has named are
  // too old by their event time (ttl_seconds); -1: none is.
  void Finish(int64_t step, TableShard* rows, int64_t named_until = -1);
  // A row has been made.
  void Added(int64_t slot, uint64_t hash);

  // Ids that have been counted and have no row yet, as rows of width 0; null: none are counted, or
  // in filter().
  TableShard* candidates() { return candidates_.get(); }
  const TableShard* candidates() const { return candidates_.get(); }
  // Null: the policy has none.
  AdmissionFilter* filter() { return filter_.get(); }
  const AdmissionFilter* filter() const { return filter_.get(); }
  const LifecycleCounts& counts() const { return counts_; }
  uint64_t memory_bytes() const;

  // Steps from one sweep of a bucket to the next: an eighth of the time to live, at most 256.
  static int64_t SweepPeriod(int64_t ttl_steps);

 private:
  bool Draw(int64_t step, int64_t id) const;
  void EraseCandidate(int64_t slot);
  // A row has gone, by other means than Expire() and Trim().
  void Removed(int64_t slot, uint64_t hash);
  // Looks through the buckets whose turn it is in `step`.
  void Sweep(int64_t period, int64_t step, int64_t named_until, TableShard* rows);
  // Removes the rows of a bucket whose last step is `named_until` or an earlier one.
  void Expire(int bucket, int64_t named_until, TableShard* rows);
  // Those among the places [begin, end) of its list, behind which no such row stands.
  void ExpireOf(int bucket, size_t begin, size_t end, int64_t named_until, TableShard* rows);
  // Removes the rows of the lowest rank if the bucket has more than its share.
  void Trim(int bucket, int64_t step, TableShard* rows);

  RowPolicy policy_;
  uint64_t admission_key_;
  size_t share_;                        // rows of a bucket; SIZE_MAX: no limit
  std::unique_ptr<BucketLists> lists_;  // null: no row leaves
  // Buckets that got rows since the last Finish() and have more than share_.
  std::vector<int> grown_;
  std::unique_ptr<TableShard> candidates_;
  std::unique_ptr<AdmissionFilter> filter_;
  // Of the ids that a step counts: in filter_, and slots in candidates_.
  std::vector<uint64_t> hashes_;
  std::vector<int64_t> candidate_slots_;
  LifecycleCounts counts_;
  std::vector<std::pair<RowRank, uint32_t>> ranks_;  // and slots, of the bucket that is trimmed
};

}  // namespace pepnet
