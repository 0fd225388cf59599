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

TEST(ModelDirLockTest, OnlyLeftoversOfJobsAreRemoved) {
  TemporaryDirectory directory;
  const auto write = [&](const std::string& name) {
    return WriteFileAtomically(directory / name, "x").ok();
  };
  const std::vector<std::string> left = {".nonce-12-34", ".nonce-12-34.tmp.0123456789abcdef",
                                         "metrics.jsonl.tmp.0123456789abcdef",
                                         "pipeline.config.tmp.fedcba9876543210"};
  const std::vector<std::string> foreign = {".nonce-mine", "metrics.jsonl.tmp.old",
                                            "metrics.jsonl.tmp.1234", "notes.tmp.0123456789abcdef",
                                            "pipeline.config.tmp.0123456789ABCDEF"};
  for (const std::string& name : left) ASSERT_TRUE(write(name));
  for (const std::string& name : foreign) ASSERT_TRUE(write(name));
  ASSERT_OK(MakeDirectories(directory / "job_report.json.tmp.0123456789abcdef/theirs"));
  auto lock = ModelDirLock::Acquire(directory.path());
  ASSERT_OK(lock);
  for (const std::string& name : left) EXPECT_FALSE(PathExists(directory / name)) << name;
  for (const std::string& name : foreign) EXPECT_TRUE(PathExists(directory / name)) << name;
  EXPECT_TRUE(PathExists(directory / "job_report.json.tmp.0123456789abcdef/theirs"));
}

TEST(WriteEffectiveConfigTest, ReplacesItsOwnAndKeepsWhatIsNot) {
  TemporaryDirectory directory;
  const std::string path = directory / "pipeline.config";
  ASSERT_OK(WriteEffectiveConfig(directory.path(), "model_dir: \"a\"\n"));
  ASSERT_OK(WriteEffectiveConfig(directory.path(), "model_dir: \"b\"\n"));
  EXPECT_TRUE(absl::StrContains(*ReadFile(path), "\"b\"")) << *ReadFile(path);
  EXPECT_EQ((*ReadFile(path))[0], '#') << "it can be read as a config";
  EXPECT_FALSE(PathExists(path + ".1"));
  for (const char* own : {"# mine\n", "# mine, too\n"}) {
    ASSERT_OK(WriteFileAtomically(path, own));
    ASSERT_OK(WriteEffectiveConfig(directory.path(), "model_dir: \"c\"\n"));
    EXPECT_TRUE(absl::StrContains(*ReadFile(path), "\"c\""));
  }
  EXPECT_EQ(*ReadFile(path + ".1"), "# mine\n");
  EXPECT_EQ(*ReadFile(path + ".2"), "# mine, too\n");
}

TEST(ModelDirLockTest, ADirectoryThatCannotBeMadeIsNamed) {
  auto lock = ModelDirLock::Acquire("/dev/null/model");
  EXPECT_FALSE(lock.ok());
  EXPECT_TRUE(absl::StrContains(lock.status().message(), "/dev/null/model")) << lock.status();
}

}  // namespace
}  // namespace pepnet
