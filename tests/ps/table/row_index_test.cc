#include "ps/table/store/row_index.h"

#include <functional>
#include <map>
#include <unordered_map>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "common/base/hash.h"

namespace pepnet {
namespace {

constexpr uint64_t kTableHash = 0x1234567890abcdef;

struct Filled {
  explicit Filled(int64_t id_count) : index(id_count, kTableHash) {}

  RowStore rows{1};
  RowIndex index;
  void FindAll(std::span<const int64_t> ids, int64_t* slots) const {
    size_t next = 0;
    index.Find(
        ids, rows, [](int64_t) {},
        [&](size_t i, int64_t slot) {
          EXPECT_EQ(i, next++);
          slots[i] = slot;
        });
    EXPECT_EQ(next, ids.size());
  }
  void Add(int64_t id) {
    const int64_t slot = rows.Append();
    rows.info(slot) = {id, 0, 0};
    index.Insert(id, RowHash(kTableHash, id), slot);
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
    Filled filled(3 * count + 1);
    for (int64_t i = 0; i < count; ++i) filled.Add(i * 3);
    std::vector<int64_t> ids, slots(3 * count + 1);
    for (int64_t id = 0; id < 3 * count + 1; ++id) ids.push_back(id);
    filled.FindAll(ids, slots.data());
    for (int64_t id = 0; id < 3 * count + 1; ++id) {
      ASSERT_EQ(slots[id], id % 3 == 0 && id < 3 * count ? id / 3 : RowIndex::kNoSlot)
          << count << " rows, id " << id;
    }
    if (count >= 1000) {
      EXPECT_LE(filled.index.memory_bytes(), static_cast<uint64_t>(count) * 18);
    }
  }
}

// While the index grows, ids that are moved, ids that are not, new ones and erased ones are told
// apart. `id_of(i)`: the i-th id. An index of 40,000 ids takes hundreds of insertions to grow;
// every tenth is looked at as a whole.
void GrowWithErasures(int64_t id_count, const std::function<int64_t(int64_t)>& id_of) {
  Filled filled(id_count);
  std::map<int64_t, int64_t> expected;
  uint64_t random = 3;
  for (int64_t i = 0; i < 40'000; ++i) {
    filled.Add(id_of(i));
    expected[id_of(i)] = i;
    random = Mix64(random);
    if (random % 8 == 0) {
      const auto gone = expected.lower_bound(id_of(static_cast<int64_t>(random / 8 % 40'000)));
      if (gone != expected.end()) {
        filled.index.Erase(RowHash(kTableHash, gone->first), gone->second);
        expected.erase(gone);
      }
    }
    if (i % 4999 != 0) continue;
    for (int64_t j = 0; j < 40'000; ++j) {
      const auto there = expected.find(id_of(j));
      ASSERT_EQ(filled.index.Find(id_of(j), RowHash(kTableHash, id_of(j)), filled.rows),
                there == expected.end() ? RowIndex::kNoSlot : there->second)
          << id_of(j) << " of " << i << " rows";
    }
  }
}

TEST(RowIndexTest, IdsAreFoundWhileItGrows) {
  GrowWithErasures(int64_t{1} << 20, [](int64_t i) { return i * 7; });
  GrowWithErasures(int64_t{1} << 62,
                   [](int64_t i) { return (i % 2 == 0 ? i : -i) * 1'000'003'000'017; });
}

// Growth is spread over insertions: none moves more than a few places, whatever the size.
TEST(RowIndexTest, GrowthIsSpreadOverInsertions) {
  Filled filled(int64_t{1} << 32);
  uint64_t bytes = filled.index.memory_bytes();
  int64_t growing = 0, changes = 0;
  for (int64_t id = 0; id < 300'000; ++id) {
    filled.Add(id);
    const uint64_t now = filled.index.memory_bytes();
    if (id > 100'000 && now > static_cast<uint64_t>(id) * 22) ++growing;  // both arrays are there
    changes += now != bytes;
    bytes = now;
  }
  EXPECT_GT(growing, 5'000);
  EXPECT_LT(changes, 100);
}

// Ids whose hashes are the largest of all crowd behind the last home: there is room for them, too.
TEST(RowIndexTest, IdsAtTheEndOfTheIndexFindRoom) {
  for (const int64_t id_count : {int64_t{1} << 32, int64_t{1} << 62}) {
    Filled filled(id_count);
    std::vector<int64_t> crowded;
    for (int64_t id = 0; crowded.size() < 400; ++id) {
      // The last 4096th of the homes.
      if (RowHash(kTableHash, id) << 10 >> 52 >= 0xfff) crowded.push_back(id);
    }
    for (const int64_t id : crowded) filled.Add(id);
    for (int64_t i = 0; i < 400; ++i) ASSERT_EQ(filled.Find(crowded[i]), i);
    for (int64_t id = int64_t{1} << 25; id < (int64_t{1} << 25) + 3000; ++id) filled.Add(id);
    for (int64_t i = 0; i < 400; ++i) ASSERT_EQ(filled.Find(crowded[i]), i);
    for (int64_t i = 0; i < 400; i += 2) {
      filled.index.Erase(RowHash(kTableHash, crowded[i]), i);
    }
    for (int64_t i = 0; i < 400; ++i) {
      ASSERT_EQ(filled.Find(crowded[i]), i % 2 == 0 ? RowIndex::kNoSlot : i);
    }
  }
}

// Pairs of ids of which the index keeps the same 32 bits of the hash: only the whole ids tell them
// apart. Among 400,000 ids there are 400,000^2 / 2^33, that is, about 19.
std::vector<std::pair<int64_t, int64_t>> IdsWithEqualTags() {
  std::unordered_map<uint32_t, int64_t> ids;
  std::vector<std::pair<int64_t, int64_t>> pairs;
  for (int64_t i = 0; i < 400'000; ++i) {
    const int64_t id = (i % 2 == 0 ? i : -i) * 1'000'003'000'017;
    const auto tag = static_cast<uint32_t>(RowHash(kTableHash, id) << 10 >> 32);
    const auto [there, is_new] = ids.try_emplace(tag, id);
    if (!is_new) pairs.emplace_back(there->second, id);
  }
  return pairs;
}

TEST(RowIndexTest, IdsWithEqualTagsAreToldApart) {
  const std::vector<std::pair<int64_t, int64_t>> pairs = IdsWithEqualTags();
  ASSERT_GT(pairs.size(), 5U);
  for (const auto& [a, b] : pairs) {
    Filled filled(int64_t{1} << 62);
    filled.Add(a);
    ASSERT_EQ(filled.Find(b), RowIndex::kNoSlot);
    filled.Add(b);
    ASSERT_EQ(filled.Find(a), 0);
    ASSERT_EQ(filled.Find(b), 1);
    filled.index.Erase(RowHash(kTableHash, a), 0);
    ASSERT_EQ(filled.Find(a), RowIndex::kNoSlot);
    ASSERT_EQ(filled.Find(b), 1);
  }
}

TEST(RowIndexTest, IdsWithEqualHalvesAreToldApart) {
  constexpr int64_t kHalf = int64_t{1} << 32;
  Filled smallest(kHalf + 1);  // the first table in which half an id is not all of it
  smallest.Add(kHalf);
  EXPECT_EQ(smallest.Find(0), RowIndex::kNoSlot);
  smallest.Add(0);
  EXPECT_EQ(smallest.Find(kHalf), 0);
  EXPECT_EQ(smallest.Find(0), 1);
}

TEST(RowIndexTest, TagsAreWholeIdsInATableOf32Bits) {
  constexpr int64_t kIds = int64_t{1} << 32;
  Filled filled(kIds);
  filled.Add(kIds - 1);
  filled.Add(0);
  EXPECT_EQ(filled.Find(kIds - 1), 0);
  EXPECT_EQ(filled.Find(0), 1);
  EXPECT_EQ(filled.Find(1), RowIndex::kNoSlot);
}

TEST(RowIndexTest, ReservedRoomKeepsWhatIsThere) {
  Filled filled(100'000);
  for (int64_t i = 0; i < 40; ++i) filled.Add(i);
  filled.index.Reserve(100'000);
  const uint64_t bytes = filled.index.memory_bytes();
  for (int64_t i = 40; i < 100'000; ++i) filled.Add(i);
  EXPECT_EQ(filled.index.memory_bytes(), bytes);
  for (int64_t i = 0; i < 100'000; i += 37) ASSERT_EQ(filled.Find(i), i);
}

// Ids come and go; what is there is found, what has gone is not, and probes do not get longer.
TEST(RowIndexTest, ErasedIdsAreGoneAndTheOthersStay) {
  for (const int64_t id_count : {int64_t{1} << 30, int64_t{1} << 62}) {
    // In the larger table with ids that only the row store tells apart.
    std::vector<int64_t> ids;
    if (id_count > int64_t{1} << 32) {
      for (const auto& [a, b] : IdsWithEqualTags()) ids.insert(ids.end(), {a, b});
    }
    for (int64_t id = 0; ids.size() < 3000; ++id) ids.push_back(id);
    Filled filled(id_count);
    std::map<int64_t, int64_t> expected;
    uint64_t random = 7;
    for (int round = 0; round < 20'000; ++round) {
      random = Mix64(random);
      const int64_t id = ids[random % ids.size()];
      const auto found = expected.find(id);
      if (found == expected.end()) {
        filled.Add(id);
        expected[id] = filled.rows.size() - 1;
      } else {
        filled.index.Erase(RowHash(kTableHash, id), found->second);
        expected.erase(found);
      }
      if (round % 1000 != 0) continue;
      for (const int64_t one : ids) {
        const auto there = expected.find(one);
        ASSERT_EQ(filled.Find(one), there == expected.end() ? RowIndex::kNoSlot : there->second)
            << one;
      }
    }
  }
}

}  // namespace
}  // namespace pepnet
