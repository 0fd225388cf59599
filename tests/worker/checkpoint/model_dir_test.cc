#include "worker/checkpoint/model_dir.h"

#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "common/file/file.h"
#include "tests/support/cluster.h"

namespace pepnet {
namespace {

TEST(ModelDirLockTest, ASecondJobIsRefusedUntilTheFirstEnds) {
  TemporaryDirectory directory;
  {
    auto first = ModelDirLock::Acquire(directory / "model");
    ASSERT_TRUE(first.ok()) << first.status();
    auto second = ModelDirLock::Acquire(directory / "model");
    EXPECT_TRUE(absl::IsFailedPrecondition(second.status())) << second.status();
    EXPECT_TRUE(absl::StrContains(second.status().message(), "another job")) << second.status();
  }
  EXPECT_TRUE(ModelDirLock::Acquire(directory / "model").ok());
}

TEST(ModelDirLockTest, TheNonceGoesWithTheLock) {
  TemporaryDirectory directory;
  std::string nonce;
  {
    auto lock = ModelDirLock::Acquire(directory.path());
    ASSERT_TRUE(lock.ok()) << lock.status();
    nonce = lock->nonce();
    EXPECT_TRUE(PathExists(nonce));
  }
  EXPECT_FALSE(PathExists(nonce));
}

TEST(ModelDirLockTest, ADirectoryThatCannotBeMadeIsNamed) {
  auto lock = ModelDirLock::Acquire("/dev/null/model");
  EXPECT_FALSE(lock.ok());
  EXPECT_TRUE(absl::StrContains(lock.status().message(), "/dev/null/model")) << lock.status();
}

}  // namespace
}  // namespace pepnet
