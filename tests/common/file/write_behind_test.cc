#include "common/file/write_behind.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <string>

#include "common/file/file_hook.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace pepnet {
namespace {

constexpr size_t kBlock = WriteBehind::kBlockBytes;

class WriteBehindTest : public testing::Test {
 protected:
  std::string path() const { return directory_ + "/file"; }

  const TemporaryDirectory temporary_;
  const std::string directory_ = temporary_.path();
};

TEST_F(WriteBehindTest, ContentsSizeAndCrcDoNotDependOnThePieces) {
  std::string contents;
  for (size_t i = 0; i < 5 * kBlock; ++i) contents.push_back(static_cast<char>(i * i >> 7));
  for (const size_t piece : {size_t{9973}, kBlock - 1, kBlock, kBlock + 1, contents.size()}) {
    ASSERT_OK_AND_ASSIGN(auto file, WriteBehind::Create(path()));
    EXPECT_EQ(file->Append(nullptr, 0), absl::OkStatus());
    for (size_t at = 0; at < contents.size(); at += piece) {
      ASSERT_EQ(file->Append(contents.data() + at, std::min(piece, contents.size() - at)),
                absl::OkStatus());
    }
    EXPECT_EQ(file->bytes(), static_cast<int64_t>(contents.size()));
    ASSERT_EQ(file->Finish(), absl::OkStatus());
    EXPECT_TRUE(*ReadFile(path()) == contents) << piece;
    EXPECT_EQ(file->crc32c(), ChecksumFile(path())->crc32c) << piece;
    EXPECT_FALSE(file->Finish().ok());
    EXPECT_FALSE(file->Append("x", 1).ok());
  }
}

TEST_F(WriteBehindTest, AnEmptyFileIsAFile) {
  ASSERT_OK_AND_ASSIGN(auto file, WriteBehind::Create(path()));
  ASSERT_EQ(file->Finish(), absl::OkStatus());
  EXPECT_EQ(ChecksumFile(path())->bytes, 0);
}

TEST_F(WriteBehindTest, AnErrorIsToldAndNobodyWaits) {
  EXPECT_EQ(WriteBehind::Create(directory_ + "/missing/file").status().code(),
            absl::StatusCode::kNotFound);
  if (!PathExists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  const std::string block(kBlock, 'x');
  ASSERT_OK_AND_ASSIGN(auto file, WriteBehind::Create("/dev/full"));
  Status status;
  for (size_t i = 0; i < 10 * WriteBehind::kBlocks && status.ok(); ++i) {
    status = file->Append(block.data(), kBlock);
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_EQ(file->Finish(), status);

  auto small = WriteBehind::Create("/dev/full");  // too small to be noticed before the end
  ASSERT_OK(small);
  EXPECT_EQ((*small)->Append("x", 1), absl::OkStatus());
  EXPECT_EQ((*small)->Finish().code(), absl::StatusCode::kResourceExhausted);
}

// Lets the first write pass only when the appender has run ahead as far as it can.
class SlowDisk : public FileHook {
 public:
  SlowDisk() { InstallFileHook(this); }
  ~SlowDisk() override { InstallFileHook(nullptr); }
  Verdict Before(FileOperation operation, const std::string&, std::string_view data) override {
    if (operation == FileOperation::kWrite) {
      while (written_ == 0 && appended_ + 1 < WriteBehind::kBlocks) std::this_thread::yield();
      for (int i = 0; written_ == 0 && i < 10000; ++i) std::this_thread::yield();
      farthest_ = std::max(farthest_, appended_ * kBlock - written_);
      written_ += data.size();
    }
    return {0, data};
  }
  void After(FileOperation, const std::string&) override {}

  std::atomic<size_t> appended_ = 0;   // blocks, by the test
  size_t written_ = 0, farthest_ = 0;  // bytes, by the thread "write" alone
};

TEST_F(WriteBehindTest, ASlowDiskHoldsTheAppenderUpInsteadOfFillingTheMemory) {
  SlowDisk disk;
  const std::string block(kBlock, 'x');
  ASSERT_OK_AND_ASSIGN(auto file, WriteBehind::Create(path()));
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(file->Append(block.data(), kBlock), absl::OkStatus());
    ++disk.appended_;
  }
  ASSERT_EQ(file->Finish(), absl::OkStatus());
  EXPECT_EQ(disk.written_, 20 * kBlock);
  EXPECT_LE(disk.farthest_, WriteBehind::kBlocks * kBlock);
}

TEST_F(WriteBehindTest, WhatIsGivenUpEndsAtOnce) {
  const std::string block(kBlock, 'x');
  ASSERT_OK_AND_ASSIGN(auto file, WriteBehind::Create(path()));
  for (int i = 0; i < 5; ++i) ASSERT_EQ(file->Append(block.data(), kBlock), absl::OkStatus());
  file.reset();
  EXPECT_LE(ChecksumFile(path())->bytes, static_cast<int64_t>(5 * kBlock));
}

}  // namespace
}  // namespace pepnet
