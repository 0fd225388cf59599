// Random table rows in checkpoint order, and parts made of them.
#pragma once

#include <algorithm>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "common/base/partition.h"
#include "common/base/random.h"
#include "common/checkpoint/table_part.h"

namespace pepnet {

// Every random number of these tests is a function of it.
inline constexpr uint64_t kRowsSeed = 20240607;

inline int BucketOfId(const std::string& table, int64_t id) {
  return BucketOf(RowHash(HashName(table), id));
}

struct TestRows {
  int dim = 1, state_dim = 0;
  std::vector<int64_t> ids, frequency, last_step;
  std::vector<float> values, states;

  size_t size() const { return ids.size(); }
  RowColumns columns() const { return Cut(0, size()); }
  RowColumns Cut(size_t first, size_t count) const {
    const auto d = static_cast<size_t>(dim), s = static_cast<size_t>(state_dim);
    return {std::span(ids).subspan(first, count), std::span(values).subspan(first * d, count * d),
            std::span(states).subspan(first * s, count * s),
            std::span(frequency).subspan(first, count), std::span(last_step).subspan(first, count)};
  }
  void Append(const RowColumns& rows) {
    ids.insert(ids.end(), rows.ids.begin(), rows.ids.end());
    values.insert(values.end(), rows.values.begin(), rows.values.end());
    states.insert(states.end(), rows.states.begin(), rows.states.end());
    frequency.insert(frequency.end(), rows.frequency.begin(), rows.frequency.end());
    last_step.insert(last_step.end(), rows.last_step.begin(), rows.last_step.end());
  }
};

inline bool SameRows(const RowColumns& a, const RowColumns& b) {
  const auto same = [](auto x, auto y) {
    return x.size() == y.size() &&
           (x.empty() || std::memcmp(x.data(), y.data(), x.size_bytes()) == 0);
  };
  return same(a.ids, b.ids) && same(a.values, b.values) && same(a.states, b.states) &&
         same(a.frequency, b.frequency) && same(a.last_step, b.last_step);
}

// `count` rows of distinct ids (negative ones too) in (bucket, id) order.
inline TestRows MakeRows(const std::string& table, size_t count, int dim, int state_dim) {
  const uint64_t key = RandomKey(kRowsSeed, RandomPurpose::kTest, HashName(table));
  std::set<int64_t> distinct;
  for (uint64_t i = 0; distinct.size() < count; ++i) {
    const auto words = Philox4x32(key, 0, i);
    distinct.insert(
        static_cast<int64_t>((uint64_t{words[0]} << 32 | words[1]) >> (i % 2 == 0 ? 0 : 40)));
  }
  TestRows rows;
  rows.dim = dim;
  rows.state_dim = state_dim;
  rows.ids.assign(distinct.begin(), distinct.end());
  std::sort(rows.ids.begin(), rows.ids.end(), [&](int64_t a, int64_t b) {
    return std::pair(BucketOfId(table, a), a) < std::pair(BucketOfId(table, b), b);
  });
  for (size_t row = 0; row < count; ++row) {
    for (int i = 0; i < dim; ++i) {
      rows.values.push_back(UnitFloat(Philox4x32(key, 1 + row, static_cast<uint64_t>(i))[0]) -
                            0.5f);
    }
    for (int i = 0; i < state_dim; ++i) {
      rows.states.push_back(static_cast<float>(row) + static_cast<float>(i));
    }
    rows.frequency.push_back(static_cast<int64_t>(row % 100));
    rows.last_step.push_back(static_cast<int64_t>(row));
  }
  return rows;
}

// Writes one part in calls of `run` rows.
inline StatusOr<PartEntry> WritePart(const std::string& directory, const std::string& table,
                                     const TestRows& rows, int part = 0, int part_count = 1,
                                     size_t run = 1000) {
  PEPNET_ASSIGN_OR_RETURN(
      const auto writer,
      TablePartWriter::Create(directory, table, rows.dim, rows.state_dim, part, part_count));
  for (size_t i = 0; i < rows.size(); i += run) {
    PEPNET_RETURN_IF_ERROR(writer->Append(rows.Cut(i, std::min(run, rows.size() - i))));
  }
  return writer->Finish();
}

// Writes `part_count` parts, cut as the servers of a job own the buckets.
inline StatusOr<std::vector<PartEntry>> WriteParts(const std::string& directory,
                                                   const std::string& table, const TestRows& rows,
                                                   int part_count) {
  std::vector<PartEntry> parts;
  for (int part = 0; part < part_count; ++part) {
    TestRows mine;
    mine.dim = rows.dim;
    mine.state_dim = rows.state_dim;
    for (size_t i = 0; i < rows.size(); ++i) {
      if (ServerOfBucket(BucketOfId(table, rows.ids[i]), part_count) == part) {
        mine.Append(rows.Cut(i, 1));
      }
    }
    PEPNET_ASSIGN_OR_RETURN(const PartEntry entry,
                            WritePart(directory, table, mine, part, part_count));
    parts.push_back(entry);
  }
  return parts;
}

}  // namespace pepnet
