#include "common/checkpoint/table_part.h"

#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "absl/strings/str_replace.h"

#include "common/file/file.h"
#include "tests/common/checkpoint/test_files.h"
#include "tests/common/checkpoint/test_rows.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using testing::HasSubstr;

constexpr const char* kTable = "user_id/x";

StatusOr<TestRows> ReadRange(const std::string& directory, const PartEntry& entry, int64_t first,
                             int64_t count) {
  PEPNET_ASSIGN_OR_RETURN(const auto reader, TablePartReader::Open(directory, entry));
  TestRows rows;
  rows.dim = entry.dim;
  rows.state_dim = entry.state_dim;
  PEPNET_RETURN_IF_ERROR(reader->Read(first, count, [&rows](const RowColumns& run) {
    rows.Append(run);
    return absl::OkStatus();
  }));
  return rows;
}

struct Shape {
  size_t rows;
  int dim, state_dim;
};
void PrintTo(const Shape& shape, std::ostream* os) {
  *os << shape.rows << " rows, dim " << shape.dim << ", state_dim " << shape.state_dim << ", seed "
      << kRowsSeed;
}

class RoundTripTest : public testing::TestWithParam<Shape> {
 protected:
  TemporaryDirectory directory_;
};

TEST_P(RoundTripTest, RowsAreReadBackBitForBit) {
  const auto [count, dim, state_dim] = GetParam();
  const TestRows rows = MakeRows(kTable, count, dim, state_dim);
  ASSERT_OK_AND_ASSIGN(const auto entry, WritePart(directory_.path(), kTable, rows));
  EXPECT_EQ(entry.file, dim > 0 ? "tables/user_id%2Fx/part-00000-of-00001.arrow"
                                : "tables/user_id%2Fx/candidates-00000-of-00001.arrow");
  EXPECT_EQ(entry.rows, static_cast<int64_t>(count));
  ASSERT_OK_AND_ASSIGN(const auto sum, ChecksumFile(directory_ / entry.file));
  EXPECT_EQ(sum.bytes, entry.bytes);
  EXPECT_EQ(sum.crc32c, entry.crc32c);

  ASSERT_OK_AND_ASSIGN(const auto all, ReadRange(directory_.path(), entry, 0, entry.rows));
  EXPECT_TRUE(SameRows(all.columns(), rows.columns()));

  std::map<int, BucketEntry> expected;
  for (size_t i = 0; i < rows.size(); ++i) {
    const RowColumns row = rows.Cut(i, 1);
    BucketEntry& bucket = expected[BucketOfId(kTable, row.ids[0])];
    bucket.rows += 1;
    bucket.digest.Add(
        DigestOfRow(row.ids[0], row.values, row.states, row.frequency[0], row.last_step[0]));
  }
  ASSERT_EQ(entry.buckets.size(), expected.size());
  for (const BucketEntry& bucket : entry.buckets) {
    EXPECT_EQ(bucket.rows, expected[bucket.bucket].rows);
    EXPECT_EQ(bucket.digest, expected[bucket.bucket].digest);
  }
}

TEST_P(RoundTripTest, FilesDoNotDependOnHowRowsArrive) {
  const auto [count, dim, state_dim] = GetParam();
  const TestRows rows = MakeRows(kTable, count, dim, state_dim);
  const auto one = WritePart(directory_.path(), kTable, rows, 0, 2, /*run=*/count + 1);
  const auto two = WritePart(directory_.path(), kTable, rows, 1, 2, /*run=*/777);
  ASSERT_OK(one);
  ASSERT_OK(two);
  EXPECT_EQ(one->crc32c, two->crc32c);
  EXPECT_TRUE(ReadBytes(directory_ / one->file) == ReadBytes(directory_ / two->file));
}

INSTANTIATE_TEST_SUITE_P(Shapes, RoundTripTest,
                         testing::Values(Shape{0, 4, 0}, Shape{0, 1, 1}, Shape{1, 1, 0},
                                         Shape{1, 17, 34}, Shape{65536, 1, 1}, Shape{65536, 4, 0},
                                         Shape{65537, 1, 2}, Shape{65537, 4, 8},
                                         Shape{65537, 17, 1}, Shape{131073, 4, 4},
                                         Shape{70000, 0, 0}));

class TablePartTest : public testing::Test {
 protected:
  TemporaryDirectory directory_;
};

TEST_F(TablePartTest, RangesAreCutOutOfRecordBatches) {
  const TestRows rows = MakeRows(kTable, 140000, 3, 1);
  ASSERT_OK_AND_ASSIGN(const auto entry, WritePart(directory_.path(), kTable, rows));
  const std::pair<int64_t, int64_t> ranges[] = {
      {0, 0},     {140000, 0},    {0, 1},      {139999, 1},    {65535, 1},    {65536, 1},
      {65535, 2}, {65536, 65536}, {1, 139998}, {65000, 70000}, {131072, 8928}};
  for (const auto& [first, count] : ranges) {
    ASSERT_OK_AND_ASSIGN(const auto read, ReadRange(directory_.path(), entry, first, count));
    EXPECT_TRUE(
        SameRows(read.columns(), rows.Cut(static_cast<size_t>(first), static_cast<size_t>(count))))
        << first << " " << count;
  }
  for (const auto& [first, count] : std::vector<std::pair<int64_t, int64_t>>{
           {-1, 1}, {0, -1}, {0, 140001}, {140001, 0}, {1, INT64_MAX}, {INT64_MAX, INT64_MAX}}) {
    EXPECT_FALSE(ReadRange(directory_.path(), entry, first, count).ok()) << first << " " << count;
  }
}

TEST_F(TablePartTest, ErrorOfTheVisitorEndsTheRead) {
  ASSERT_OK_AND_ASSIGN(const auto entry,
                       WritePart(directory_.path(), kTable, MakeRows(kTable, 70000, 1, 0)));
  ASSERT_OK_AND_ASSIGN(auto reader, TablePartReader::Open(directory_.path(), entry));
  int calls = 0;
  const Status status = reader->Read(0, 70000, [&calls](const RowColumns&) {
    ++calls;
    return absl::AbortedError("enough");
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(calls, 1);
}

TEST_F(TablePartTest, WrongOrderAndWrongSizesAreRefused) {
  const TestRows rows = MakeRows(kTable, 100, 2, 1);
  const auto writer = [&] {
    return TablePartWriter::Create(directory_.path(), kTable, 2, 1, 0, 1).value();
  };
  auto backwards = writer();
  ASSERT_OK(backwards->Append(rows.Cut(50, 1)));
  const Status status = backwards->Append(rows.Cut(49, 1));
  EXPECT_THAT(status, IsError(HasSubstr(std::to_string(rows.ids[49]))));
  auto twice = writer();
  ASSERT_OK(twice->Append(rows.Cut(50, 1)));
  EXPECT_FALSE(twice->Append(rows.Cut(50, 1)).ok());
  RowColumns cut = rows.columns();
  cut.values = cut.values.subspan(1);
  EXPECT_FALSE(writer()->Append(cut).ok());
  cut = rows.columns();
  cut.states = {};
  EXPECT_FALSE(writer()->Append(cut).ok());
  EXPECT_FALSE(TablePartWriter::Create(directory_.path(), "", 1, 0, 0, 1).ok());
  EXPECT_FALSE(TablePartWriter::Create(directory_.path(), "\xff", 1, 0, 0, 1).ok());
}

TEST_F(TablePartTest, EntryThatDoesNotFitTheFileIsRefused) {
  const TestRows rows = MakeRows(kTable, 10, 2, 2);
  ASSERT_OK_AND_ASSIGN(const auto entry, WritePart(directory_.path(), kTable, rows));
  const auto expect_refused = [&](auto change, const char* reason) {
    PartEntry wrong = entry;
    change(wrong);
    const auto read = ReadRange(directory_.path(), wrong, 0, wrong.rows);
    EXPECT_EQ(read.status().code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(read, IsError(HasSubstr(reason)));
    EXPECT_THAT(read, IsError(HasSubstr("part-00000-of-00001.arrow")));
  };
  // A server that restores must never read rows of another width.
  expect_refused([](PartEntry& e) { e.dim = 3; }, "expected columns");
  expect_refused([](PartEntry& e) { e.state_dim = 0; }, "expected columns");
  expect_refused([](PartEntry& e) { e.rows = 9; }, "expected 9 rows");
  expect_refused([](PartEntry& e) { e.rows = 65537; }, "record batches");
  expect_refused([](PartEntry& e) { e.bytes += 1; }, "bytes");
}

TEST_F(TablePartTest, DigestIsTheSameForOneAndThreeParts) {
  const TestRows rows = MakeRows("t", 5000, 4, 4);
  const auto one = WriteParts(directory_ / "one", "t", rows, 1);
  const auto three = WriteParts(directory_ / "three", "t", rows, 3);
  ASSERT_OK(one);
  ASSERT_OK(three);
  ASSERT_EQ(three->size(), 3u);
  const auto by_bucket = [](const std::vector<PartEntry>& parts) {
    std::map<int, std::pair<int64_t, std::string>> result;
    for (const PartEntry& part : parts) {
      for (const BucketEntry& b : part.buckets) result[b.bucket] = {b.rows, b.digest.ToString()};
    }
    return result;
  };
  EXPECT_EQ(by_bucket(*one), by_bucket(*three));
}

TEST_F(TablePartTest, DigestNoticesEveryField) {
  const std::vector<float> value = {1, 2}, other = {1, 3}, state = {3};
  const RowDigest digest = DigestOfRow(7, value, state, 1, 2);
  EXPECT_NE(digest, DigestOfRow(8, value, state, 1, 2));
  EXPECT_NE(digest, DigestOfRow(7, other, state, 1, 2));
  EXPECT_NE(digest, DigestOfRow(7, value, {}, 1, 2));
  EXPECT_NE(digest, DigestOfRow(7, value, state, 2, 2));
  EXPECT_NE(digest, DigestOfRow(7, value, state, 1, 3));
}

// Frozen: digests stand in manifests.
TEST_F(TablePartTest, DigestOfAKnownRow) {
  const std::vector<float> value = {1.0f, -2.5f}, state = {0.25f};
  EXPECT_EQ(DigestOfRow(-3, value, state, 4, 5).ToString(), "a6c3b336fba299309d13adebc4c5ea01");
}

TEST_F(TablePartTest, DigestsAddModulo128Bits) {
  RowDigest a{.lo = UINT64_MAX, .hi = UINT64_MAX};
  a.Add({.lo = 2, .hi = 0});
  EXPECT_EQ(a, (RowDigest{.lo = 1, .hi = 0}));
  EXPECT_EQ((RowDigest{.lo = 0xab, .hi = 1}).ToString(), "000000000000000100000000000000ab");
  EXPECT_EQ(RowDigest::Parse("000000000000000100000000000000ab").value(),
            (RowDigest{.lo = 0xab, .hi = 1}));
  for (const char* bad :
       {"", "0", "00000000000000010000000000000 ab", "000000000000000100000000000000aB",
        "000000000000000100000000000000ab0"}) {
    EXPECT_FALSE(RowDigest::Parse(bad).ok()) << bad;
  }
}

TEST_F(TablePartTest, EntriesSurviveJson) {
  ASSERT_OK_AND_ASSIGN(auto parts, WriteParts(directory_.path(), "q\"\xc3\xa9",
                                              MakeRows("q\"\xc3\xa9", 2000, 4, 1), 3));
  // As before there were others.
  EXPECT_THAT(PartEntriesToJson(parts), testing::Not(HasSubstr("data_type")));
  parts[1].value_kind = ValueKind::kBf16;
  parts[2].state_kind = ValueKind::kBf16;
  const std::string json = PartEntriesToJson(parts);
  ASSERT_OK_AND_ASSIGN(const auto back, PartEntriesFromJson(json));
  EXPECT_EQ(PartEntriesToJson(back), json);
  ASSERT_EQ(back.size(), 3u);
  EXPECT_EQ(back[1].table, "q\"\xc3\xa9");
  EXPECT_EQ(back[1].rows, parts[1].rows);
  EXPECT_EQ(back[0].value_kind, ValueKind::kFp32);
  EXPECT_EQ(back[1].value_kind, ValueKind::kBf16);
  EXPECT_EQ(back[1].state_kind, ValueKind::kFp32);
  EXPECT_EQ(back[2].value_kind, ValueKind::kFp32);
  EXPECT_EQ(back[2].state_kind, ValueKind::kBf16);
  EXPECT_EQ(back[2].shape().bytes(), 4 * 4 + 4);
  EXPECT_THAT(PartEntriesFromJson(absl::StrReplaceAll(json, {{"BF16", "BF8"}})),
              IsError(HasSubstr("\"data_type\" is \"BF8\", expected FP32, FP16, BF16 or INT8")));
  EXPECT_EQ(back[2].buckets.back().digest, parts[2].buckets.back().digest);
  EXPECT_EQ(PartEntriesToJson({}), "[]");
  EXPECT_TRUE(PartEntriesFromJson("[]").value().empty());
}

TEST_F(TablePartTest, EntriesThatContradictThemselvesAreRefused) {
  PartEntry part;
  part.table = "t";
  part.file = "f";
  part.rows = 5;
  part.dim = 1;
  part.buckets = {{.bucket = 3, .rows = 2, .digest = {}}, {.bucket = 900, .rows = 3, .digest = {}}};
  ASSERT_OK(PartEntriesFromJson(PartEntriesToJson({part})));
  const auto expect_refused = [&part](auto change) {
    PartEntry wrong = part;
    change(wrong);
    const std::string json = PartEntriesToJson({wrong});
    EXPECT_EQ(PartEntriesFromJson(json).status().code(), absl::StatusCode::kDataLoss) << json;
  };
  expect_refused([](PartEntry& e) { e.rows = 4; });
  expect_refused([](PartEntry& e) { e.rows = 6; });
  expect_refused([](PartEntry& e) { e.rows = -1; });
  expect_refused([](PartEntry& e) { e.dim = -1; });
  expect_refused([](PartEntry& e) { e.state_dim = -1; });
  expect_refused([](PartEntry& e) { e.buckets[1].bucket = 3; });
  expect_refused([](PartEntry& e) { e.buckets[1].bucket = 1024; });
  expect_refused([](PartEntry& e) { e.buckets[0].rows = 0; });
  expect_refused([](PartEntry& e) { e.buckets[0].rows = int64_t{1} << 62; });
  for (const char* bad : {"", "{}", "[1]", "[{}]", "[[]]", "null"}) {
    EXPECT_FALSE(PartEntriesFromJson(bad).ok()) << bad;
  }
}

TEST_F(TablePartTest, NamesBecomePathComponents) {
  EXPECT_EQ(PercentEncode("user_id/x"), "user_id%2Fx");
  EXPECT_EQ(PercentEncode(".."), "%2E.");
  EXPECT_EQ(PercentEncode("a.b-C_9"), "a.b-C_9");
  EXPECT_EQ(PercentEncode("100%"), "100%25");
  EXPECT_EQ(PercentEncode("\xc3\xa9 "), "%C3%A9%20");
}

TEST_F(TablePartTest, NoFlippedByteAndNoTruncationCrashesTheReader) {
  const TestRows rows = MakeRows(kTable, 5, 2, 1);
  ASSERT_OK_AND_ASSIGN(const auto entry, WritePart(directory_.path(), kTable, rows));
  const std::string path = directory_ / entry.file, whole = ReadBytes(path);
  for (size_t i = 0; i < whole.size(); ++i) {
    for (const int mask : {0x01, 0x80, 0xff}) {
      std::string damaged = whole;
      damaged[i] = static_cast<char>(damaged[i] ^ mask);
      WriteBytes(path, damaged);
      // The manifest's crc32c is what notices.
      (void)ReadRange(directory_.path(), entry, 0, entry.rows);
    }
  }
  for (size_t length = 0; length < whole.size(); ++length) {
    WriteBytes(path, whole.substr(0, length));
    EXPECT_FALSE(ReadRange(directory_.path(), entry, 0, entry.rows).ok()) << length;
    PartEntry shorter = entry;
    shorter.bytes = static_cast<int64_t>(length);
    EXPECT_FALSE(ReadRange(directory_.path(), shorter, 0, entry.rows).ok()) << length;
  }
}

}  // namespace
}  // namespace pepnet
