#include "cli/inspect/what_if.h"

#include <algorithm>
#include <bit>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "nlohmann/json.hpp"

#include "common/base/partition.h"
#include "common/checkpoint/manifest.h"
#include "common/job_config/table.h"
#include "ps/event_clock.h"
#include "ps/table/row_rank.h"

namespace pepnet {
namespace {

constexpr char kFields[] =
    "max_rows, memory_budget_mb, ttl_steps, ttl_seconds, eviction, half_life_steps, show_weight or "
    "click_weight";

// Rows of one bucket that have not expired.
using Bucket = std::vector<std::pair<RowRank, int64_t>>;  // with their frequencies

// Counts a row, and how often steps named it, in a group.
void Add(int64_t frequency, WhatIfTable::Group* group) {
  ++group->rows;
  group->named += frequency;
}

// Powers of two as groups: bit_width(n) is the e of 2^(e-1) <= n < 2^e, and 0 for 0.
int Exponent(int64_t number) {
  return static_cast<int>(std::bit_width(static_cast<uint64_t>(number)));
}

// Takes the rows of lowest rank out of a bucket until it fits its share, counts them, and empties
// the list for the next bucket.
void Trim(size_t share, Bucket* bucket, WhatIfTable* table) {
  if (bucket->size() > share) {
    // The same ranks and shares as in training (ps/table/row_lifecycle.h), at the state of the
    // checkpoint. A server leaves 15/16 of a share; this shows what the limit itself takes out.
    const auto kept = bucket->end() - static_cast<ptrdiff_t>(share);
    std::nth_element(bucket->begin(), kept, bucket->end());
    for (auto row = bucket->begin(); row != kept; ++row) Add(row->second, &table->evicted);
  }
  bucket->clear();
}

std::string Share(int64_t part, int64_t all) {
  return absl::StrFormat("%.2f %%",
                         all > 0 ? 100 * static_cast<double>(part) / static_cast<double>(all) : 0);
}

// Both shares stand side by side: rows that take memory, and how much of the training they are.
void AppendGroups(const char* what, const std::map<int, WhatIfTable::Group>& groups,
                  const WhatIfTable::Group& all, std::string* text) {
  absl::StrAppend(text, "    ", what, "\n");
  for (const auto& [exponent, group] : groups) {
    const int64_t end = exponent == 0 ? 1 : int64_t{1} << exponent;
    absl::StrAppendFormat(text, "      < %-12d %12d rows %9s   %9s of what steps named\n", end,
                          group.rows, Share(group.rows, all.rows), Share(group.named, all.named));
  }
}

nlohmann::ordered_json ToJson(const WhatIfTable::Group& group) {
  return {{"rows", group.rows}, {"named", group.named}};
}

}  // namespace

// Names and units are those of dynamic_table in a config, so that a policy that pleases is copied
// there.
StatusOr<RowPolicy> ParseWhatIf(const std::string& text) {
  RowPolicy policy;
  for (const std::string& field : std::vector<std::string>(absl::StrSplit(text, ','))) {
    const std::pair<std::string, std::string> parts =
        absl::StrSplit(field, absl::MaxSplits('=', 1));
    const auto& [name, value] = parts;
    if (name == "eviction") {
      const std::optional<EvictionKind> eviction =
          FindKind<EvictionKind>(&EvictionType::name, value);
      if (!eviction.has_value()) {
        return InvalidInput("--what_if: eviction is \"", value, "\"; expected ",
                            ListOfKinds<EvictionKind>(&EvictionType::name, " or "));
      }
      policy.eviction = *eviction;
      continue;
    }
    if (name == "show_weight" || name == "click_weight") {
      double* const weight = name == "show_weight" ? &policy.show_weight : &policy.click_weight;
      if (!absl::SimpleAtod(value, weight) || !(*weight >= 0 && *weight <= kMostWeight)) {
        return InvalidInput("--what_if: ", name, " is \"", value,
                            "\"; expected a number from 0 to ", kMostWeight);
      }
      continue;
    }
    int64_t* const number = name == "max_rows"           ? &policy.max_rows
                            : name == "memory_budget_mb" ? &policy.memory_budget_bytes
                            : name == "ttl_steps"        ? &policy.ttl_steps
                            : name == "ttl_seconds"      ? &policy.ttl_seconds
                            : name == "half_life_steps"  ? &policy.half_life_steps
                                                         : nullptr;
    if (number == nullptr) {
      return InvalidInput("--what_if: \"", field, "\"; expected name=value, the name ", kFields);
    }
    // This many MiB fit an int64 as bytes, too.
    constexpr int64_t kMost = int64_t{1} << 40;
    if (!absl::SimpleAtoi(value, number) || *number < 1 || *number > kMost) {
      return InvalidInput("--what_if: ", name, " is \"", value, "\"; expected a number from 1 to ",
                          kMost);
    }
    if (name == "memory_budget_mb") *number <<= 20;
  }
  if (!policy.removes_rows()) {
    return InvalidInput(
        "--what_if: \"", text,
        "\" takes no rows out; expected max_rows, memory_budget_mb, ttl_steps or ttl_seconds");
  }
  return policy;
}

StatusOr<std::vector<WhatIfTable>> WhatIf(const std::string& directory, const RowPolicy& policy,
                                          const std::string& table) {
  PEPNET_ASSIGN_OR_RETURN(const Manifest manifest, ReadManifest(directory));
  // Rows know the step that named them last; only the event times of the checkpoint say when that
  // was.
  if (policy.ttl_seconds > 0 && manifest.event_times.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("--what_if: ttl_seconds needs event times, which ", directory,
                     " does not hold; train with data_config.event_time, or use ttl_steps"));
  }
  // Rows whose last step is not later than this have expired by time.
  const int64_t named_until = EventClock::LastStepBefore(manifest.event_times, policy.ttl_seconds);
  std::map<std::string, WhatIfTable> tables;
  for (const PartEntry& part : manifest.parts) {
    if (!table.empty() && part.table != table) continue;
    if (policy.counts_clicks() && !part.counts_clicks) {
      return absl::FailedPreconditionError(
          absl::StrCat("--what_if: click_weight needs the clicks of rows, which table ", part.table,
                       " of ", directory,
                       " does not count; train with dynamic_table { click_label click_weight }, or "
                       "leave it out"));
    }
    const int64_t row_bytes = part.shape().bytes();
    const std::string fault = RowPolicyFault(policy, row_bytes);
    if (!fault.empty()) return InvalidInput("--what_if, table ", part.table, ": ", fault);
    WhatIfTable& entry = tables[part.table];
    entry.table = part.table;
    // Memory on a server, at most, as capacity is planned with.
    entry.bytes_per_row = MostBytesPerRow(row_bytes, policy);
    // The limit of the table is divided by bucket, as on servers (decision 0023), so the answer
    // does not depend on the number of parts.
    const size_t share = policy.limits_rows()
                             ? static_cast<size_t>(RowLimit(row_bytes, policy) / kBucketCount)
                             : SIZE_MAX;
    const uint64_t hash = HashName(part.table);
    PEPNET_ASSIGN_OR_RETURN(const auto reader, TablePartReader::Open(directory, part));
    Bucket bucket;
    int number = -1;
    PEPNET_RETURN_IF_ERROR(reader->Read(0, part.rows, [&](const RowColumns& rows) {
      for (size_t i = 0; i < rows.ids.size(); ++i) {
        const RowInfo info{rows.ids[i], rows.frequency[i], rows.last_step[i]};
        const uint64_t row_hash = RowHash(hash, info.id);
        // Rows come bucket by bucket, so one bucket is held at a time.
        if (BucketOf(row_hash) != number) Trim(share, &bucket, &entry);
        number = BucketOf(row_hash);
        // The age is in steps. A row of a damaged or merged checkpoint may claim a later step than
        // the manifest.
        const int64_t age = std::max<int64_t>(0, manifest.step - info.last_step);
        Add(info.frequency, &entry.all);
        Add(info.frequency, &entry.by_age[Exponent(age)]);
        Add(info.frequency, &entry.by_frequency[Exponent(std::max<int64_t>(0, info.frequency))]);
        if ((policy.ttl_steps > 0 && age >= policy.ttl_steps) || info.last_step <= named_until) {
          Add(info.frequency, &entry.expired);
        } else {
          bucket.emplace_back(RankOf(policy, info, part.ClicksOf(rows, i), manifest.step, row_hash),
                              info.frequency);
        }
      }
      return absl::OkStatus();
    }));
    Trim(share, &bucket, &entry);
  }
  if (!table.empty() && tables.empty()) {
    return absl::NotFoundError(absl::StrCat(directory, " has no table ", table));
  }
  std::vector<WhatIfTable> all;
  for (auto& [name, entry] : tables) all.push_back(std::move(entry));
  return all;
}

// A line for each table, then who its rows are by age and by use, from which a better limit can be
// guessed.
std::string WhatIfToText(const RowPolicy& policy, const std::vector<WhatIfTable>& tables) {
  std::string text = absl::StrCat("what if: ", RowPolicyText(policy), "\n");
  for (const WhatIfTable& table : tables) {
    const int64_t gone = table.expired.rows + table.evicted.rows;
    absl::StrAppendFormat(&text,
                          "  %s: %d rows, %.1f MiB; %d would leave (%s): %d expired, %d evicted; "
                          "%s of what steps named was theirs\n",
                          table.table, table.all.rows,
                          static_cast<double>(table.all.rows * table.bytes_per_row) / (1 << 20),
                          gone, Share(gone, table.all.rows), table.expired.rows, table.evicted.rows,
                          Share(table.expired.named + table.evicted.named, table.all.named));
    AppendGroups("by steps since the last that named them:", table.by_age, table.all, &text);
    AppendGroups("by steps that named them:", table.by_frequency, table.all, &text);
  }
  text.pop_back();
  return text;
}

std::string WhatIfToJson(const std::vector<WhatIfTable>& tables) {
  nlohmann::ordered_json root = nlohmann::ordered_json::array();
  for (const WhatIfTable& table : tables) {
    nlohmann::ordered_json item{{"table", table.table},
                                {"bytes_per_row", table.bytes_per_row},
                                {"all", ToJson(table.all)},
                                {"expired", ToJson(table.expired)},
                                {"evicted", ToJson(table.evicted)}};
    for (const auto& [name, groups] :
         {std::pair("by_age", &table.by_age), {"by_frequency", &table.by_frequency}}) {
      nlohmann::ordered_json list = nlohmann::ordered_json::array();
      for (const auto& [exponent, group] : *groups) {
        nlohmann::ordered_json one = ToJson(group);
        one["below"] = exponent == 0 ? 1 : int64_t{1} << exponent;
        list.push_back(std::move(one));
      }
      item[name] = std::move(list);
    }
    root.push_back(std::move(item));
  }
  return root.dump();
}

}  // namespace pepnet
