// Law L4 holds for one kind of matrix products, which a checkpoint records: a run that goes on with
// others says so.
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/file/file.h"
#include "tests/support/cluster.h"
#include "tests/support/process.h"
#include "tests/support/random_job.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

TEST(ProductsCli, ARunWithOtherProductsThanItsCheckpointSaysSo) {
  const TemporaryDirectory directory;
  RandomJobOptions options;
  options.rows = 60;
  ASSERT_OK(
      WriteFileAtomically(directory / "job.config", WriteRandomJob(directory.path(), options)));
  const auto train = [&](const char* environment, const char* flags, int epochs) {
    const ProcessResult done = RunShell(
        absl::StrCat(environment, " $PEPNET train ", directory / "job.config", " --model_dir ",
                     directory / "model", " --set train_config.num_epochs=", epochs, flags));
    EXPECT_EQ(done.exit_status, 0) << done.err;
    return absl::StrContains(done.err, "but not to the same bits");
  };
  EXPECT_FALSE(train("", "", 1));
  EXPECT_FALSE(train("", " --continue_train", 2));
  const bool others = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  EXPECT_EQ(train("MKL_ENABLE_INSTRUCTIONS=AVX2", " --continue_train", 3), others);
}

}  // namespace
}  // namespace pepnet
