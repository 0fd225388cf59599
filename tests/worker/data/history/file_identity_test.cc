#include "worker/data/history/file_identity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"
#include "tests/worker/data/data_files.h"

namespace pepnet {
namespace {

using ::testing::HasSubstr;

std::string DigestOf(const TestDirectory& directory, const std::string& bytes) {
  const StatusOr<FileIdentity> file = IdentifyFile(directory.Write("file", bytes));
  EXPECT_OK(file);
  return file.ok() ? file->digest : "";
}

TEST(FileIdentityTest, AFileIsItsSizeAndContentWhereverItLies) {
  const TestDirectory directory;
  const StatusOr<FileIdentity> file = IdentifyFile(directory.Write("a.csv", "x\n1\n"));
  const StatusOr<FileIdentity> copy = IdentifyFile(directory.Write("b.csv", "x\n1\n"));
  ASSERT_OK(file);
  ASSERT_OK(copy);
  EXPECT_EQ(file->bytes, 4);
  EXPECT_EQ(file->path, directory.Path("a.csv"));
  EXPECT_EQ(file->digest, copy->digest);
  EXPECT_EQ(file->digest.size(), 32u);
  EXPECT_THAT(IdentifyFile(directory.Path("none")).status().message(),
              HasSubstr("none' cannot be read"));
}

TEST(FileIdentityTest, EveryByteOfASmallFileCounts) {
  const TestDirectory directory;
  const std::string bytes(1000, 'x');
  const std::string digest = DigestOf(directory, bytes);
  for (size_t at = 0; at < bytes.size(); at += 37) {
    std::string other = bytes;
    other[at] = 'y';
    EXPECT_NE(DigestOf(directory, other), digest) << at;
  }
  EXPECT_NE(DigestOf(directory, ""), digest);
}

TEST(FileIdentityTest, OfALargeFileTheSizeTheEndsAndSamplesCount) {
  const TestDirectory directory;
  const std::string bytes(3 << 20, 'x');
  const std::string digest = DigestOf(directory, bytes);
  EXPECT_EQ(DigestOf(directory, bytes), digest);
  EXPECT_NE(DigestOf(directory, bytes + "x"), digest);
  const size_t distance = (bytes.size() - (128 << 10)) / 8;
  for (const size_t at : {size_t{0}, size_t{65535}, (64 << 10) + 3 * distance, bytes.size() - 65536,
                          bytes.size() - 1}) {
    std::string other = bytes;
    other[at] = 'y';
    EXPECT_NE(DigestOf(directory, other), digest) << at;
  }
  // The header says that it does not see this: a byte between the samples.
  std::string unseen = bytes;
  unseen[(64 << 10) + 3 * distance + (17 << 10)] = 'y';
  EXPECT_EQ(DigestOf(directory, unseen), digest);
}

TEST(FileIdentityTest, TheWholeFooterOfAParquetFileCounts) {
  const TestDirectory directory;
  const uint32_t footer = 200 << 10;
  std::string bytes(3 << 20, 'x');
  for (int i = 0; i < 4; ++i) {
    bytes[bytes.size() - 8 + static_cast<size_t>(i)] = static_cast<char>(footer >> (8 * i));
  }
  bytes.replace(bytes.size() - 4, 4, "PAR1");
  std::string other = bytes;
  other[bytes.size() - 8 - footer] = 'y';
  EXPECT_NE(DigestOf(directory, other), DigestOf(directory, bytes));
  // A length beyond the file is no reason to fail: its reader says what is wrong with it.
  bytes.replace(bytes.size() - 8, 4, "\xff\xff\xff\xff");
  EXPECT_EQ(DigestOf(directory, bytes).size(), 32u);
}

TEST(FileIdentityTest, RowsAreCountedInEveryFormat) {
  const TestDirectory directory;
  DataConfig data;
  data.with_header = true;
  EXPECT_EQ(*CountRowsOf(directory.Write("a.csv", "x,y\n1,2\n3,4\n"), data, DatasetType::kCsv), 2);
  EXPECT_EQ(*CountRowsOf(directory.Write("empty.csv", ""), data, DatasetType::kCsv), 0);
  WriteParquet(directory.Path("a.parquet"), {{"x", JsonArray(arrow::int64(), "[1, 2, 3]")}});
  EXPECT_EQ(*CountRowsOf(directory.Path("a.parquet"), data, DatasetType::kParquet), 3);
}

}  // namespace
}  // namespace pepnet
