#include "ps/table/row_rank.h"

#include <bit>

namespace pepnet {
namespace {

// `weight` at age 0.
double Decayed(double weight, int64_t age, int64_t half_life) {
  // The power is put together from its exponent instead of by std::exp2, whose last bit differs
  // between libraries. A normal double ends at 2^-1022; so small a score counts as 0.
  const int64_t halvings = age / half_life;
  if (halvings > 1000) return 0;
  const double within = static_cast<double>(age % half_life) / static_cast<double>(half_life);
  // 2^-halvings
  const double power = std::bit_cast<double>(static_cast<uint64_t>(1023 - halvings) << 52);
  return weight * (1 - 0.5 * within) * power;
}

}  // namespace

RowRank RankOf(const RowPolicy& policy, const RowInfo& info, double clicks, int64_t step,
               uint64_t hash) {
  RowRank rank{0, 0, hash};
  switch (policy.eviction) {
    case EvictionKind::kLru:
      rank.first = info.last_step;
      rank.second = info.frequency;
      break;
    case EvictionKind::kLfu:
      rank.first = info.frequency;
      rank.second = info.last_step;
      break;
    case EvictionKind::kScore: {
      const double weight =
          policy.show_weight * static_cast<double>(info.frequency) + policy.click_weight * clicks;
      // Doubles >= 0 have the order of their bits.
      rank.first =
          std::bit_cast<int64_t>(Decayed(weight, step - info.last_step, policy.half_life_steps));
      rank.second = info.last_step;
      break;
    }
  }
  return rank;
}

}  // namespace pepnet
