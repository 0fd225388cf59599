#include "common/process/file_faults.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/file/file.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace pepnet {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<Fault> Plan(const std::string& text) { return ParseFaultPlan(text).value(); }

class FileFaultsTest : public testing::Test {
 protected:
  std::string Path(const std::string& name) const { return directory_ + "/" + name; }

  const TemporaryDirectory temporary_;
  const std::string directory_ = temporary_.path();
};

// Linux reports a page that it could not write to one fsync only: the next would claim success.
TEST_F(FileFaultsTest, AFileWhoseFsyncFailedIsNeverFinished) {
  ASSERT_OK_AND_ASSIGN(const auto writer, FileWriter::Create(Path("a")));
  ASSERT_OK(writer->Append("text", 4));
  const FileFaults faults(Plan("fail-fsync:nth=1"), 0);
  EXPECT_THAT(writer->Finish(), IsError(HasSubstr("sync")));
  EXPECT_THAT(writer->Finish(), IsError(HasSubstr("fsync failed")));
}

// An atomic write is one write, two fsyncs (file, directory) and one rename: each of them can fail,
// and the old contents stay until the rename.
TEST_F(FileFaultsTest, AFailedStepOfAnAtomicWriteLeavesTheOldContents) {
  for (const char* fault :
       {"fail-write:nth=1", "fail-fsync:nth=1", "fail-rename:nth=1", "enospc:after=5"}) {
    ASSERT_EQ(WriteFileAtomically(Path("a"), "old"), absl::OkStatus());
    const FileFaults faults(Plan(fault), 0);
    const Status status = WriteFileAtomically(Path("a"), "new contents");
    EXPECT_FALSE(status.ok()) << fault;
    EXPECT_THAT(status, IsError(HasSubstr(Path("a")))) << fault;
    EXPECT_EQ(faults.fired(), 1);
    EXPECT_EQ(ReadFile(Path("a")).value(), "old") << fault;
    EXPECT_THAT(ListDirectory(directory_).value(), ElementsAre("a")) << fault;
    const Status later = WriteFileAtomically(Path("a"), "later");
    ASSERT_EQ(later.code(), fault[0] == 'e' ? status.code() : absl::StatusCode::kOk)
        << fault << ": " << later;
  }
}

TEST_F(FileFaultsTest, TheErrorIsThatOfTheRealThing) {
  const FileFaults faults(Plan("enospc:after=5"), 0);
  const Status full = WriteFileAtomically(Path("a"), "new contents");
  EXPECT_TRUE(absl::IsResourceExhausted(full)) << full;
  EXPECT_THAT(full, IsError(HasSubstr("No space left on device")));
}

TEST_F(FileFaultsTest, OnlyTheNthCallOnAMatchingPathOfThisRankCounts) {
  const FileFaults faults(Plan("fail-write:nth=2,path=/b,rank=3; fail-write:nth=1,rank=4"), 3);
  EXPECT_OK(AppendToFile(Path("a"), "x"));
  EXPECT_OK(AppendToFile(Path("b"), "x"));
  EXPECT_FALSE(AppendToFile(Path("b"), "x").ok());
  EXPECT_OK(AppendToFile(Path("b"), "x"));
}

TEST_F(FileFaultsTest, AFlippedBitIsSeenByTheChecksum) {
  const FileFaults faults(Plan("bitflip:nth=1,bit=9"), 0);
  auto writer = FileWriter::Create(Path("a")).value();
  ASSERT_OK(writer->Append("ab", 2));
  ASSERT_OK(writer->Finish());
  EXPECT_EQ(ReadFile(Path("a")).value(), "a`");
  EXPECT_NE(ChecksumFile(Path("a"))->crc32c, writer->crc32c());
}

TEST_F(FileFaultsTest, FaultsEndWithTheObject) {
  { const FileFaults faults(Plan("fail-write:nth=1"), 0); }
  EXPECT_OK(AppendToFile(Path("a"), "x"));
}

TEST_F(FileFaultsTest, AKillPointEndsTheProcessBetweenTheCalls) {
  const auto write_with = [&](const std::string& fault) {
    const FileFaults faults(Plan(fault), 0);
    WriteFileAtomically(Path("a"), "12345678").IgnoreError();
  };
  testing::FLAGS_gtest_death_test_style = "fast";
  EXPECT_EXIT(write_with("kill:point=mid_write"), testing::KilledBySignal(SIGKILL), "");
  EXPECT_FALSE(PathExists(Path("a")));
  const std::string torn = ListDirectory(directory_)->at(0);
  EXPECT_EQ(ReadFile(Path(torn)).value(), "1234");
  EXPECT_EXIT(write_with("kill:point=before_rename"), testing::KilledBySignal(SIGKILL),
              "before_rename");
  EXPECT_FALSE(PathExists(Path("a")));
  EXPECT_EXIT(write_with("kill:point=after_rename"), testing::KilledBySignal(SIGKILL),
              "after_rename");
  EXPECT_EQ(ReadFile(Path("a")).value(), "12345678");
}

}  // namespace
}  // namespace pepnet
