#include "common/job_config/table.h"

#include <algorithm>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "common/base/partition.h"
#include "common/base/random.h"

namespace pepnet {
namespace {

// The names of the reference's modules (docs/spec.md section 7), by which checkpoints and exports
// are exchanged.
constexpr char kPooled[] = "model.embedding_group.emb_impls.__BASE__.ebc.embedding_bags.";
// <dim>.embeddings.<name>
constexpr char kSequences[] = "model.embedding_group.seq_emb_impls.__BASE__.ec_dict.";
constexpr char kEmbeddings[] = ".embeddings.";
constexpr char kWeight[] = ".weight";
constexpr char kSequencePrefix[] = "sequence.";

// Sets `head` to the text before `end` and cuts `text` behind it. False if there is no `end`.
bool CutBefore(const std::string& end, std::string* text, std::string* head) {
  const size_t at = text->find(end);
  if (at == std::string::npos) return false;
  *head = text->substr(0, at);
  *text = text->substr(at + end.size());
  return true;
}

// The reason why ids cannot be counted in the filter; "": they can, or there is none.
std::string FilterFault(const RowPolicy& policy) {
  // Counters have 8 bits, so they count to 255 at most.
  constexpr int64_t kMostBytes = int64_t{1} << 40, kMostCount = 255;
  if (policy.filter_bytes == 0 && policy.filter_halve_steps == 0) return "";
  if (policy.filter_bytes < kBucketCount * kFilterWordBytes || policy.filter_bytes > kMostBytes ||
      policy.filter_bytes % (kBucketCount * kFilterWordBytes) != 0) {
    return absl::StrCat("memory_mb is ", policy.filter_bytes, " bytes; expected 1 MiB to ",
                        kMostBytes >> 20, " MiB");
  }
  if (policy.filter_halve_steps < 1 || policy.filter_halve_steps > int64_t{1} << 62) {
    return absl::StrCat("halve_every_steps is ", policy.filter_halve_steps,
                        "; expected at least 1, or the counters fill up");
  }
  if (policy.admit_after_steps < 2 || policy.admit_after_steps > kMostCount) {
    return absl::StrCat("counts up to admit_after_steps, which is ", policy.admit_after_steps,
                        "; expected 2 to ", kMostCount);
  }
  return "";
}

// Why the weights of a score are none; "": they are, or the policy has none.
std::string WeightFault(const RowPolicy& policy) {
  for (const auto& [name, weight] :
       {std::pair("show_weight", policy.show_weight), {"click_weight", policy.click_weight}}) {
    if (!(weight >= 0 && weight <= kMostWeight)) {
      return absl::StrCat(name, ": ", weight, "; expected 0 to ", kMostWeight);
    }
  }
  const bool by_score = policy.eviction == EvictionKind::kScore;
  if (!by_score && policy.show_weight != 1) {
    return absl::StrCat("show_weight: ", policy.show_weight,
                        "; expected nothing: only eviction SCORE has one");
  }
  if (!by_score && policy.counts_clicks()) {
    return absl::StrCat("click_weight: ", policy.click_weight,
                        "; expected nothing: only eviction SCORE has one");
  }
  if (policy.show_weight == 0 && policy.click_weight == 0) {
    return "show_weight: 0, and click_weight too: every row would have the score 0; expected one "
           "above 0";
  }
  return "";
}

}  // namespace

std::string TruncationFault(const Initializer& initializer) {
  constexpr double kLeastShare = 1e-200;  // of the distribution, within the bounds
  const auto& [kind, mean, deviation, low, high] = initializer;
  if (!(deviation > 0)) return absl::StrCat("needs std > 0, got ", deviation);
  if (!(low < high)) return absl::StrCat("needs a < b, got a=", low, ", b=", high);
  // The half in which the distribution function is precise. erfc() keeps its digits in the lower
  // tail; in the upper one 1 - tiny would be 1. An interval above the mean is mirrored.
  const double begin = low > mean ? mean - high : low - mean,
               end = low > mean ? mean - low : high - mean;
  if (NormalDistribution(end / deviation) - NormalDistribution(begin / deviation) >= kLeastShare) {
    return "";
  }
  return absl::StrCat("needs bounds that leave something of the distribution, got a=", low,
                      ", b=", high, " with mean=", mean, ", std=", deviation);
}

// An upper bound, since a budget is a promise: lists and the index are counted at their largest.
// Candidates are rows of width 0 with the same bookkeeping, at most as many as rows.
int64_t MostBytesPerRow(int64_t row_bytes, const RowPolicy& policy) {
  constexpr int64_t kKnown = 24;  // id, frequency and last step
  // 8 bytes, of an index that is sized for the limit and 70 % full
  constexpr int64_t kIndexEntry = 12;
  // Twice 4 bytes: a slot, and a step or a position. The sixteenth by which lists grow fits into
  // what the index leaves.
  constexpr int64_t kBucketLists = 8;
  constexpr int64_t kSlotOfGone = 4;  // to be used again
  const int64_t of_any = kKnown + kIndexEntry + kBucketLists + kSlotOfGone;
  if (!policy.counts_candidates()) return row_bytes + of_any;
  constexpr int64_t kThirdList = 5;  // of a candidate that may expire: a step and a position
  return row_bytes + 2 * of_any + (policy.expires() ? kThirdList : 0);
}

int64_t RowLimit(int64_t row_bytes, const RowPolicy& policy) {
  if (policy.memory_budget_bytes == 0) return policy.max_rows;
  // The budget is for all that the policy makes the table keep: first the filter, then rows with
  // their share of index and lists.
  const int64_t of_rows = std::max<int64_t>(0, policy.memory_budget_bytes - policy.filter_bytes);
  const int64_t in_budget = of_rows / MostBytesPerRow(row_bytes, policy);
  return policy.max_rows == 0 ? in_budget : std::min(policy.max_rows, in_budget);
}

// The one check of a policy, for configs, server plans and --what_if alike. Faults begin with the
// field, behind which configs put its line.
std::string RowPolicyFault(const RowPolicy& policy, int64_t row_bytes) {
  constexpr int64_t kMost = int64_t{1} << 62;  // sums of two still fit
  const auto wrong = [](int64_t number, int64_t least) { return number < least || number > kMost; };
  if (wrong(policy.admit_after_steps, 1)) {
    return absl::StrCat("admit_after_steps: ", policy.admit_after_steps, "; expected at least 1");
  }
  if (!(policy.admit_probability > 0 && policy.admit_probability <= 1)) {
    return absl::StrCat("admit_probability: ", policy.admit_probability,
                        "; expected more than 0, at most 1");
  }
  if (wrong(policy.ttl_steps, 0)) {
    return absl::StrCat("ttl_steps: ", policy.ttl_steps, "; expected at least 0");
  }
  if (wrong(policy.ttl_seconds, 0)) {
    return absl::StrCat("ttl_seconds: ", policy.ttl_seconds, "; expected at least 0");
  }
  if (const std::string fault = FilterFault(policy); !fault.empty()) {
    return absl::StrCat("admission_filter: ", fault);
  }
  // Limits are divided by bucket (decision 0023): below one row a bucket some could hold none.
  if (policy.max_rows != 0 && wrong(policy.max_rows, kBucketCount)) {
    return absl::StrCat("max_rows: ", policy.max_rows, "; expected at least ", kBucketCount,
                        ", one row for each bucket");
  }
  if (wrong(policy.memory_budget_bytes, 0)) {
    return absl::StrCat("memory_budget_mb: ", policy.memory_budget_bytes,
                        " bytes; expected at least 0");
  }
  if (policy.memory_budget_bytes > 0 && RowLimit(row_bytes, policy) < kBucketCount) {
    return absl::StrCat("memory_budget_mb: ", policy.memory_budget_bytes, " bytes hold ",
                        RowLimit(row_bytes, policy), " rows of ",
                        MostBytesPerRow(row_bytes, policy), " bytes; expected room for ",
                        kBucketCount);
  }
  const bool by_score = policy.eviction == EvictionKind::kScore;
  if (by_score ? wrong(policy.half_life_steps, 1) : policy.half_life_steps != 0) {
    return absl::StrCat(
        "half_life_steps: ", policy.half_life_steps, "; expected ",
        by_score ? "at least 1 with eviction SCORE" : "nothing: only eviction SCORE has one");
  }
  if (std::string fault = WeightFault(policy); !fault.empty()) return fault;
  return "";
}

std::string RowPolicyText(const RowPolicy& policy) {
  std::vector<std::string> clauses;
  if (policy.admit_after_steps > 1) {
    clauses.push_back(absl::StrCat("an id gets its row in step ", policy.admit_after_steps,
                                   " of those that name it"));
  }
  if (policy.filters()) {
    clauses.push_back(absl::StrCat("counted in a filter of ", policy.filter_bytes >> 20,
                                   " MiB, halved every ", policy.filter_halve_steps, " steps"));
  }
  if (policy.admit_probability < 1) {
    clauses.push_back(absl::StrCat("admitted with probability ", policy.admit_probability));
  }
  if (policy.ttl_steps > 0) {
    clauses.push_back(
        absl::StrCat("rows expire when ", policy.ttl_steps, " steps have not named them"));
  }
  if (policy.ttl_seconds > 0) {
    clauses.push_back(absl::StrCat("rows expire ", policy.ttl_seconds,
                                   " s of event time after the last step that named them"));
  }
  if (policy.limits_rows()) {
    std::vector<std::string> limits;
    if (policy.max_rows > 0) limits.push_back(absl::StrCat(policy.max_rows, " rows"));
    if (policy.memory_budget_bytes > 0) {
      limits.push_back(absl::StrCat(policy.memory_budget_bytes >> 20, " MiB"));
    }
    clauses.push_back(absl::StrCat("at most ", absl::StrJoin(limits, " and "), ": ",
                                   TypeOf(policy.eviction).summary, " leave first"));
  }
  if (policy.counts_clicks()) {
    clauses.push_back(absl::StrCat("a step counts ", policy.show_weight, ", with a positive ",
                                   policy.click_label.empty() ? "click label" : policy.click_label,
                                   " ", policy.click_weight, " more"));
  }
  return absl::StrJoin(clauses, ", ");
}

// The width is part of the name because the reference keeps the tables of sequence groups by width.
std::string NumbersText(int count, ValueKind kind) {
  return kind == ValueKind::kFp32 ? absl::StrCat(count)
                                  : absl::StrCat(count, " ", TypeOf(kind).name);
}

std::string SequenceTableName(const std::string& name, int dim) {
  return absl::StrCat(kSequencePrefix, dim, ".", name);
}

std::string TableParameterName(const Table& table) {
  if (!table.sequence) return absl::StrCat(kPooled, table.name, kWeight);
  const std::string prefix = SequenceTableName("", table.dim);
  return absl::StrCat(kSequences, table.dim, kEmbeddings, table.name.substr(prefix.size()),
                      kWeight);
}

std::string TableIdsName(const Table& table) { return TableParameterName(table) + ".ids"; }

// The inverse of TableParameterName(), for maps of names that a config gives.
std::optional<std::string> TableOfParameter(const std::string& parameter) {
  if (!absl::EndsWith(parameter, kWeight)) return std::nullopt;
  std::string rest = parameter.substr(0, parameter.size() - (sizeof(kWeight) - 1)), head;
  if (absl::StartsWith(rest, kPooled)) return rest.substr(sizeof(kPooled) - 1);
  if (!absl::StartsWith(rest, kSequences)) return std::nullopt;
  rest = rest.substr(sizeof(kSequences) - 1);
  if (!CutBefore(kEmbeddings, &rest, &head)) return std::nullopt;
  return absl::StrCat(kSequencePrefix, head, ".", rest);
}

}  // namespace pepnet
