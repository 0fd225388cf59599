#include "worker/checkpoint/model_dir.h"

#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "common/file/file.h"
#include "tests/support/cluster.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

TEST(ModelDirLockTest, ASecondJobIsRefusedUntilTheFirstEnds) {
  TemporaryDirectory directory;
  {
    auto first = ModelDirLock::Acquire(directory / "model");
    ASSERT_OK(first);
    auto second = ModelDirLock::Acquire(directory / "model");
    EXPECT_TRUE(absl::IsFailedPrecondition(second.status())) << second.status();
    EXPECT_TRUE(absl::StrContains(second.status().message(), "another job")) << second.status();
  }
  EXPECT_OK(ModelDirLock::Acquire(directory / "model"));
}

TEST(ModelDirLockTest, TheNonceGoesWithTheLock) {
  TemporaryDirectory directory;
  std::string nonce;
  {
    ASSERT_OK_AND_ASSIGN(auto lock, ModelDirLock::Acquire(directory.path()));
    nonce = lock.nonce();
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
