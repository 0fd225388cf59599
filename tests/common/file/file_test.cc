#include "common/file/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "common/file/crc32c.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace pepnet {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class FileTest : public testing::Test {
 protected:
  std::string Path(const std::string& name) const { return directory_ + "/" + name; }

  const TemporaryDirectory temporary_;
  const std::string directory_ = temporary_.path();
};

TEST_F(FileTest, WhatIsWrittenIsRead) {
  for (size_t bytes : {size_t{0}, size_t{1}, size_t{4096}, (size_t{1} << 20) - 1, size_t{1} << 20,
                       (size_t{3} << 20) + 5}) {
    std::string contents(bytes, '\0');
    for (size_t i = 0; i < bytes; ++i) contents[i] = static_cast<char>(i * 31 >> 3);
    ASSERT_EQ(WriteFileAtomically(Path("a"), contents), absl::OkStatus());
    ASSERT_OK_AND_ASSIGN(const auto read, ReadFile(Path("a")));
    EXPECT_TRUE(read == contents) << bytes;
    ASSERT_OK_AND_ASSIGN(const auto sum, ChecksumFile(Path("a")));
    EXPECT_EQ(sum.bytes, static_cast<int64_t>(bytes));
    EXPECT_EQ(sum.crc32c, ExtendCrc32c(0, contents.data(), bytes));
  }
  EXPECT_THAT(*ListDirectory(directory_), ElementsAre("a"));  // no temporary file is left
}

TEST_F(FileTest, FilesWithoutASizeAreRead) {
  EXPECT_THAT(*ReadFile("/proc/self/status"), HasSubstr("Name:"));
}

TEST_F(FileTest, FailedAtomicWriteLeavesTheOldFileAndNoTemporary) {
  ASSERT_EQ(MakeDirectories(Path("target/is_a_directory")), absl::OkStatus());
  EXPECT_FALSE(WriteFileAtomically(Path("target"), "new").ok());
  EXPECT_TRUE(IsDirectory(Path("target/is_a_directory")));
  EXPECT_THAT(*ListDirectory(directory_), ElementsAre("target"));
}

TEST_F(FileTest, ErrorsNamePathAndCause) {
  const std::string missing = Path("missing/file");
  for (const Status& status :
       {ReadFile(missing).status(), WriteFileAtomically(missing, "x"), AppendToFile(missing, "x"),
        ChecksumFile(missing).status(), FileWriter::Create(missing).status(),
        ListDirectory(missing).status(), SyncDirectory(missing),
        RenameAndSync(missing, Path("b"))}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << status;
    EXPECT_THAT(status, IsError(HasSubstr(missing)));
    EXPECT_THAT(status, IsError(HasSubstr("No such file or directory")));
  }
  ASSERT_EQ(AppendToFile(Path("file"), "x"), absl::OkStatus());
  const Status below_a_file = MakeDirectories(Path("file/sub"));
  EXPECT_THAT(below_a_file, IsError(HasSubstr("Not a directory")));
  EXPECT_FALSE(MakeDirectories(Path("file")).ok());
  EXPECT_FALSE(ReadFile(directory_).ok());
}

TEST_F(FileTest, WhereARelativePathDoesNotLeadIsSaid) {
  const std::string here = std::filesystem::current_path().string();
  EXPECT_THAT(
      ReadFile("missing/file").status(),
      IsError("cannot open missing/file: No such file or directory (the current directory is '" +
              here + "')"));
  EXPECT_THAT(ReadFile("/missing/file").status(),
              IsError("cannot open /missing/file: No such file or directory"));
}

TEST_F(FileTest, FullDiskIsAnError) {
  if (!PathExists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  const Status appended = AppendToFile("/dev/full", "x");
  EXPECT_EQ(appended.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(appended.message(), "cannot write /dev/full: No space left on device");
  ASSERT_OK_AND_ASSIGN(auto writer, FileWriter::Create("/dev/full"));
  EXPECT_EQ(writer->Append("x", 1), absl::OkStatus());  // buffered
  EXPECT_EQ(writer->Finish().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_FALSE(writer->Finish().ok());  // and stays an error
  EXPECT_FALSE(writer->Append("x", 1).ok());
}

TEST_F(FileTest, OnlyRegularFilesOfAKnownSizeAreRead) {
  ASSERT_EQ(mkfifo(Path("pipe").c_str(), 0600), 0);
  for (const std::string& path : {Path("pipe"), std::string("/dev/zero")}) {
    EXPECT_THAT(ReadFile(path), IsError(HasSubstr("expected a regular file"))) << path;
    EXPECT_THAT(ChecksumFile(path), IsError(HasSubstr("expected a regular file"))) << path;
  }
  EXPECT_FALSE(AppendToFile(Path("pipe"), "x").ok()) << "nobody reads it, and nobody waits";
  ASSERT_EQ(AppendToFile(Path("sparse"), "x"), absl::OkStatus());
  ASSERT_EQ(truncate(Path("sparse").c_str(), int64_t{1} << 40), 0);
  EXPECT_THAT(ReadFile(Path("sparse")), IsError(HasSubstr("it has 1099511627776 bytes")));
  ASSERT_EQ(WriteFileAtomically(Path("five"), "12345"), absl::OkStatus());
  EXPECT_EQ(*ReadFile(Path("five"), 5), "12345");
  EXPECT_FALSE(ReadFile(Path("five"), 4).ok());
}

TEST_F(FileTest, TemporaryNamesAreNewAndNotFollowed) {
  const std::string one = TemporaryName("some/name"), two = TemporaryName("some/name");
  EXPECT_NE(one, two);
  EXPECT_TRUE(IsTemporaryNameOf(one.substr(5), "name"));
  for (const char* other : {"name.tmp.", "name.tmp.0123456789abcde", "name.tmp.0123456789abcdeX",
                            "name.tmp.mine", "other.tmp.0123456789abcdef", "name"}) {
    EXPECT_FALSE(IsTemporaryNameOf(other, "name")) << other;
  }
}

TEST_F(FileTest, AScratchDirectoryGoesUnlessItIsReleased) {
  std::string kept;
  {
    ASSERT_OK_AND_ASSIGN(auto gone, ScratchDirectory::MakeBeside(Path("x")));
    ASSERT_EQ(WriteFileAtomically(gone.path() + "/a", "a"), absl::OkStatus());
    auto stays = ScratchDirectory::MakeBeside(Path("x"));
    kept = stays->path();
    stays->Release();
  }
  EXPECT_TRUE(IsDirectory(kept));
  EXPECT_EQ(ListDirectory(directory_)->size(), 1u);
  EXPECT_EQ(ScratchDirectory::MakeBeside(Path("none/x")).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(FileTest, ANewNameIsNeverTakenFromAnybody) {
  ASSERT_EQ(MakeDirectories(Path("from")), absl::OkStatus());
  ASSERT_EQ(MakeDirectories(Path("empty")), absl::OkStatus());
  ASSERT_EQ(symlink("nowhere", Path("link").c_str()), 0);
  for (const char* taken : {"empty", "link"}) {
    EXPECT_EQ(RenameToNewName(Path("from"), Path(taken)).code(), absl::StatusCode::kAlreadyExists)
        << taken;
    EXPECT_TRUE(NameIsTaken(Path(taken)));
  }
  EXPECT_EQ(RenameToNewName(Path("from"), Path("to")), absl::OkStatus());
}

TEST_F(FileTest, OnlyFilesOfAKindAreReplaceable) {
  ASSERT_EQ(WriteFileAtomically(Path("ours"), "kind 1"), absl::OkStatus());
  ASSERT_EQ(WriteFileAtomically(Path("theirs"), "other"), absl::OkStatus());
  ASSERT_EQ(WriteFileAtomically(Path("empty"), ""), absl::OkStatus());
  for (const char* name : {"absent", "ours", "empty"}) {
    EXPECT_EQ(CheckReplaceable("--flag", Path(name), {"none", "kind"}), absl::OkStatus()) << name;
  }
  for (const std::string& path : {Path("theirs"), directory_, std::string("/dev/null")}) {
    EXPECT_THAT(CheckReplaceable("--flag", path, {"none", "kind"}), IsError(HasSubstr("--flag")))
        << path;
  }
}

TEST_F(FileTest, AppendAdds) {
  ASSERT_EQ(AppendToFile(Path("log"), "one\n"), absl::OkStatus());
  ASSERT_EQ(AppendToFile(Path("log"), "two\n"), absl::OkStatus());
  EXPECT_EQ(*ReadFile(Path("log")), "one\ntwo\n");
}

TEST_F(FileTest, WriterKeepsSizeAndCrc) {
  ASSERT_OK_AND_ASSIGN(auto writer, FileWriter::Create(Path("w")));
  std::string expected;
  for (int i = 0; i < 300; ++i) {
    const std::string piece(static_cast<size_t>(i * 41 % 9973), static_cast<char>('a' + i % 26));
    ASSERT_EQ(writer->Append(piece.data(), piece.size()), absl::OkStatus());
    expected += piece;
  }
  ASSERT_EQ(writer->Finish(), absl::OkStatus());
  EXPECT_GT(expected.size(), size_t{1} << 20);  // more than one block
  EXPECT_TRUE(*ReadFile(Path("w")) == expected);
  EXPECT_EQ(writer->bytes(), static_cast<int64_t>(expected.size()));
  EXPECT_EQ(writer->crc32c(), ChecksumFile(Path("w"))->crc32c);
}

TEST_F(FileTest, RenameReplacesAndListIsSorted) {
  for (const char* name : {"b", "a", "c"}) {
    ASSERT_EQ(AppendToFile(Path(name), name), absl::OkStatus());
  }
  ASSERT_EQ(MakeDirectories(Path("d/e")), absl::OkStatus());
  ASSERT_EQ(MakeDirectories(Path("d/e")), absl::OkStatus());  // exists already
  ASSERT_EQ(RenameAndSync(Path("b"), Path("c")), absl::OkStatus());
  ASSERT_EQ(RenameAndSync(Path("a"), Path("d/a")), absl::OkStatus());
  EXPECT_THAT(*ListDirectory(directory_), ElementsAre("c", "d"));
  EXPECT_EQ(*ReadFile(Path("c")), "b");
  ASSERT_EQ(RemoveTree(Path("d")), absl::OkStatus());
  EXPECT_FALSE(PathExists(Path("d")));
  EXPECT_EQ(RemoveTree(Path("d")), absl::OkStatus());  // nothing to remove
}

}  // namespace
}  // namespace pepnet
