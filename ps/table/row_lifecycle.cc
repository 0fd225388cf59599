#include "ps/table/row_lifecycle.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "common/base/logging.h"
#include "common/base/mutant.h"
#include "common/base/partition.h"
#include "common/base/random.h"

namespace pepnet {
namespace {

constexpr size_t kPrefetchRows = 16;  // rows asked for ahead of their use
constexpr size_t kSweptRows = 64;     // of which it is asked at once whether one is old

// The table of a table's candidates: no floats, the same limits, the least recently named leave.
Table CandidateTable(const Table& table, int64_t limit) {
  Table candidates = table;
  candidates.dim = 0;
  candidates.value_kind = ValueKind::kFp32;
  candidates.policy = {.ttl_steps = table.policy.ttl_steps,
                       .max_rows = limit,
                       .ttl_seconds = table.policy.ttl_seconds};
  return candidates;
}

// The list that a row stands in.
int ListOf(uint64_t hash) { return MutantActive(Mutant::kBudgetByServer) ? 0 : BucketOf(hash); }

}  // namespace

RowLifecycle::RowLifecycle(const Table& table, int64_t row_bytes, uint64_t seed)
    : policy_(table.policy),
      admission_key_(RandomKey(seed, RandomPurpose::kAdmission, HashName(table.name))),
      share_(std::numeric_limits<size_t>::max()) {
  const int64_t limit = RowLimit(row_bytes, policy_);
  if (policy_.limits_rows()) {
    share_ = static_cast<size_t>(std::max<int64_t>(1, limit / kBucketCount));
  }
  if (policy_.removes_rows()) {
    // Of a table of candidates, which alone has no floats, rows go when they are admitted.
    lists_ = std::make_unique<BucketLists>(policy_.expires(), /*keeps_positions=*/table.dim == 0);
  }
  if (policy_.filters()) filter_ = std::make_unique<AdmissionFilter>(policy_);
  if (policy_.counts_candidates()) {
    // SGD keeps no state: a candidate is its RowInfo and an entry of an index.
    SparseOptimizer without_state;
    without_state.kind = SparseOptimizerKind::kSgd;
    candidates_ = std::make_unique<TableShard>(CandidateTable(table, limit), without_state, seed);
  }
}

bool RowLifecycle::Draw(int64_t step, int64_t id) const {
  if (policy_.admit_probability >= 1) return true;
  // The draw is a function of seed, table, id and step, so it is the same on any server and after a
  // resume (laws L3, L4).
  const uint32_t word =
      Philox4x32(admission_key_, static_cast<uint64_t>(id), static_cast<uint64_t>(step))[0];
  return UnitFloat(word) < policy_.admit_probability;
}

void RowLifecycle::Admit(int64_t step, TableShard* rows, std::vector<int64_t>* unseen,
                         bool may_repeat, absl::FunctionRef<void(int64_t)> before_change) {
  // The ids become a set: several workers name the same id, and how many there are must not count
  // (law L2). Nothing below depends on their order but which slot a row gets.
  if (may_repeat && !MutantActive(Mutant::kCountByWorker)) {
    std::sort(unseen->begin(), unseen->end());
    unseen->erase(std::unique(unseen->begin(), unseen->end()), unseen->end());
  }
  if (filter_ != nullptr) {
    // All ids of the step are counted before the first is asked for: ids share counters, and one
    // that is asked for early would miss what a later one adds.
    hashes_.clear();
    for (const int64_t id : *unseen) hashes_.push_back(RowHash(rows->table_hash(), id));
    filter_->Count(hashes_);
  }
  if (candidates_ != nullptr) {
    candidate_slots_.resize(unseen->size());
    candidates_->Find(*unseen, candidate_slots_);
  }
  for (size_t i = 0; i < unseen->size(); ++i) {
    const int64_t id = (*unseen)[i];
    if (i + kPrefetchRows < unseen->size()) {
      rows->PrefetchIndex((*unseen)[i + kPrefetchRows]);
      if (candidates_ != nullptr && candidate_slots_[i + kPrefetchRows] != TableShard::kNoSlot) {
        candidates_->info(candidate_slots_[i + kPrefetchRows]).Prefetch();
      }
    }
    int64_t candidate = TableShard::kNoSlot, named = 1;
    if (candidates_ != nullptr) {
      candidate = candidate_slots_[i];
      // A worker that names an id twice is refused when its gradients are applied. Until then the
      // second finds what the first has left.
      if (candidate == TableShard::kNoSlot || candidates_->info(candidate).id != id) {
        candidate = candidates_->Find(id);
      }
      if (candidate == TableShard::kNoSlot) {
        candidate = candidates_->Create(id);
      } else {
        before_change(candidate);
      }
      // A snapshot has its copy of the candidate by now; it tells by the last step that the
      // candidate has changed.
      candidates_->last_step(candidate) = step;
      named = ++candidates_->frequency(candidate);
    } else if (filter_ != nullptr) {
      named = filter_->CountOf(hashes_[i]);
    }
    if (named < policy_.admit_after_steps || !Draw(step, id)) {
      ++counts_.refused;
      continue;
    }
    if (rows->Find(id) != TableShard::kNoSlot) continue;
    rows->frequency(rows->Create(id)) = named - 1;  // this step counts when its gradient is applied
    ++counts_.admitted;
    if (candidate != TableShard::kNoSlot) EraseCandidate(candidate);
  }
}

void RowLifecycle::Added(int64_t slot, uint64_t hash) {
  if (lists_ == nullptr) return;
  // The last entry is compared to keep grown_ short. A bucket may still stand in it twice: Trim()
  // then finds the second time that nothing is left to do.
  const int bucket = ListOf(hash);
  lists_->Add(bucket, static_cast<uint32_t>(slot), /*step=*/0);
  if (lists_->slots(bucket).size() > share_ && (grown_.empty() || grown_.back() != bucket)) {
    grown_.push_back(bucket);
  }
}

void RowLifecycle::Removed(int64_t slot, uint64_t hash) {
  if (lists_ != nullptr) lists_->Remove(ListOf(hash), static_cast<uint32_t>(slot));
}

void RowLifecycle::EraseCandidate(int64_t slot) {
  if (RowLifecycle* const lifecycle = candidates_->lifecycle(); lifecycle != nullptr) {
    lifecycle->Removed(slot, RowHash(candidates_->table_hash(), candidates_->info(slot).id));
  }
  candidates_->Erase(slot);
}

void RowLifecycle::Trim(int bucket, int64_t step, TableShard* rows) {
  const std::span<const uint32_t> slots = lists_->slots(bucket);
  if (slots.size() <= share_) return;
  ranks_.clear();
  for (size_t i = 0; i < slots.size(); ++i) {
    if (i + kPrefetchRows < slots.size()) rows->info(slots[i + kPrefetchRows]).Prefetch();
    const RowInfo& info = rows->info(slots[i]);
    ranks_.emplace_back(
        RankOf(policy_, info, rows->clicks(slots[i]), step, RowHash(rows->table_hash(), info.id)),
        slots[i]);
  }
  // No two rows rank alike (row_rank.h), so the set that leaves does not depend on the order of the
  // list, which a resume changes (law L4): it reads rows by id.
  const size_t leave = slots.size() - (share_ - share_ / 16);
  std::nth_element(ranks_.begin(), ranks_.begin() + static_cast<ptrdiff_t>(leave - 1),
                   ranks_.end());
  lists_->Clear(bucket);
  for (size_t i = 0; i < ranks_.size(); ++i) {
    if (i + kPrefetchRows < leave) rows->PrefetchIndexOf(ranks_[i + kPrefetchRows].first.hash);
    if (i < leave) {
      rows->Erase(ranks_[i].second);
    } else {
      lists_->Add(bucket, ranks_[i].second, rows->last_step(ranks_[i].second));
    }
  }
  counts_.evicted += static_cast<int64_t>(leave);
}

void RowLifecycle::ExpireOf(int bucket, size_t begin, size_t end, int64_t named_until,
                            TableShard* rows) {
  // Three passes, so that the accesses to memory of many rows are under way together.
  const auto for_each_old = [&](const auto& visit) {
    for (size_t i = end; i-- > begin;) {
      if (lists_->step(bucket, i) <= named_until) visit(i, lists_->slots(bucket)[i]);
    }
  };
  for_each_old([&](size_t, uint32_t slot) { rows->info(slot).Prefetch(); });
  for_each_old([&](size_t i, uint32_t slot) {
    const RowInfo& info = rows->info(slot);
    lists_->SetStep(bucket, i, info.last_step);
    if (info.last_step <= named_until) rows->PrefetchIndex(info.id);
  });
  for_each_old([&](size_t i, uint32_t slot) {
    // The list keeps no steps beyond 32 bits.
    if (rows->last_step(slot) > named_until) return;
    rows->Erase(slot);
    lists_->RemoveAt(bucket, i);
    ++counts_.expired;
  });
}

void RowLifecycle::Expire(int bucket, int64_t named_until, TableShard* rows) {
  // From the end: the last row of the list, which takes the place of one that goes, has had its
  // turn.
  for (size_t end = lists_->slots(bucket).size(); end > 0;) {
    const size_t begin = (end - 1) / kSweptRows * kSweptRows;
    // Most rows are young, and most of these are known to be without being read.
    if (lists_->LeastStep(bucket, begin, end) <= named_until) {
      ExpireOf(bucket, begin, end, named_until, rows);
    }
    end = begin;
  }
}

int64_t RowLifecycle::SweepPeriod(int64_t ttl_steps) {
  return std::clamp<int64_t>(ttl_steps / 8, 1, 256);
}

void RowLifecycle::Sweep(int64_t period, int64_t step, int64_t named_until, TableShard* rows) {
  for (int64_t bucket = step % period; bucket < kBucketCount; bucket += period) {
    Expire(static_cast<int>(bucket), named_until, rows);
  }
}

void RowLifecycle::Finish(int64_t step, TableShard* rows, int64_t named_until) {
  // Expiry comes before eviction: a row that is too old leaves as such and makes room for younger
  // ones.
  if (policy_.ttl_steps > 0) {
    Sweep(SweepPeriod(policy_.ttl_steps), step, step - policy_.ttl_steps, rows);
  }
  if (policy_.ttl_seconds > 0 && named_until >= 0) {
    const auto period = static_cast<uint64_t>(SweepPeriod(step - named_until));
    Sweep(static_cast<int64_t>(std::bit_floor(period)), step, named_until, rows);
  }
  if (filter_ != nullptr) filter_->Forget(step);
  for (const int bucket : grown_) Trim(bucket, step, rows);
  grown_.clear();
  // Candidates are a table with the same times to live and a limit of its own, and are finished
  // alike.
  if (candidates_ != nullptr && candidates_->lifecycle() != nullptr) {
    candidates_->lifecycle()->Finish(step, candidates_.get(), named_until);
  }
}

uint64_t RowLifecycle::memory_bytes() const {
  return (lists_ != nullptr ? lists_->memory_bytes() : 0) +
         (candidates_ != nullptr ? candidates_->memory_bytes() : 0) +
         (filter_ != nullptr ? filter_->memory_bytes() : 0) +
         hashes_.capacity() * sizeof(uint64_t) + candidate_slots_.capacity() * sizeof(int64_t);
}

}  // namespace pepnet
