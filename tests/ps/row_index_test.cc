#include "ps/row_index.h"

#include <algorithm>
#include <map>
#include <vector>

#include "gtest/gtest.h"

#include "common/base/hash.h"

namespace pepnet {
namespace {

constexpr uint64_t kTableHash = 0x1234567890abcdef;

struct Filled {
  RowStore rows{1};
  RowIndex index;
  void FindAll(std::span<const int64_t> ids, int64_t* slots) const {
    size_t next = 0;
    index.Find(
        ids, kTableHash, rows, [](int64_t) {},
        [&](size_t i, int64_t slot) {
          EXPECT_EQ(i, next++);
          slots[i] = slot;
        });
    EXPECT_EQ(next, ids.size());
  }
  void Add(int64_t id) {
    const int64_t slot = rows.Append();
    rows.info(slot) = {id, 0, 0};
    index.Insert(RowHash(kTableHash, id), slot, rows, kTableHash);
  }
  int64_t Find(int64_t id) const {
    const int64_t slot = index.Find(id, RowHash(kTableHash, id), rows);
    int64_t batched = -7;
    FindAll({&id, 1}, &batched);
    EXPECT_EQ(batched, slot);
    return slot;
  }
};

TEST(RowIndexTest, GrowsThroughOddSizesAndFindsAllAndNothingElse) {
  for (int64_t count : {0, 1, 51, 52, 77, 1000, 50'000}) {
    Filled filled;
    for (int64_t i = 0; i < count; ++i) filled.Add(i * 3);
    std::vector<int64_t> ids, slots(3 * count + 1);
    for (int64_t id = 0; id < 3 * count + 1; ++id) ids.push_back(id);
    filled.FindAll(ids, slots.data());
    for (int64_t id = 0; id < 3 * count + 1; ++id) {
      ASSERT_EQ(slots[id], id % 3 == 0 && id < 3 * count ? id / 3 : RowIndex::kNoSlot) << count << " rows, id " << id;
    }
    if (count >= 1000) {
      EXPECT_LE(filled.index.memory_bytes(), static_cast<uint64_t>(count) * 18);
    }
  }
}

// Ids that share the 32 bits kept in the index and stand in one run of it: only the ids themselves tell them apart.
TEST(RowIndexTest, IdsWithEqualTagsAreToldApart) {
  std::vector<std::pair<uint32_t, int64_t>> tags;
  for (int64_t id = 0; id < 1'500'000; ++id) tags.emplace_back(static_cast<uint32_t>(RowHash(kTableHash, id)), id);
  std::sort(tags.begin(), tags.end());
  int pairs = 0, neighbours = 0;
  for (size_t i = 1; i < tags.size(); ++i) {
    if (tags[i].first != tags[i - 1].first) continue;
    const int64_t a = tags[i - 1].second, b = tags[i].second;
    ++pairs;
    // The first 64 places are chosen by the six bits below the bucket.
    neighbours += (RowHash(kTableHash, a) << 10 >> 58) == (RowHash(kTableHash, b) << 10 >> 58);
    Filled filled;
    filled.Add(a);
    EXPECT_EQ(filled.Find(b), RowIndex::kNoSlot);
    filled.Add(b);
    EXPECT_EQ(filled.Find(a), 0);
    EXPECT_EQ(filled.Find(b), 1);
  }
  EXPECT_GT(pairs, 100);
  EXPECT_GT(neighbours, 0);
}

TEST(RowIndexTest, ReservedRoomKeepsWhatIsThere) {
  Filled filled;
  for (int64_t i = 0; i < 40; ++i) filled.Add(i);
  filled.index.Reserve(100'000, filled.rows, kTableHash);
  const uint64_t bytes = filled.index.memory_bytes();
  for (int64_t i = 40; i < 100'000; ++i) filled.Add(i);
  EXPECT_EQ(filled.index.memory_bytes(), bytes);
  for (int64_t i = 0; i < 100'000; i += 37) ASSERT_EQ(filled.Find(i), i);
}

}  // namespace
}  // namespace pepnet
