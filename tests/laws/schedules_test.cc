// Laws L3 and L6 over many seeded schedules: ranks as threads, messages delayed and so overtaking
// each other, answers lost.
//   schedules_test [--seeds N] [--first_seed S]
// A seed that fails is printed; replay it with --seeds 1 --first_seed S.
#include <gtest/gtest.h>

#include <iostream>
#include <random>

#include "absl/strings/str_cat.h"
#include "common/checkpoint/checkpoint.h"
#include "tests/laws/seeds.h"
#include "tests/support/cluster.h"
#include "tests/support/random_job.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

RandomJobOptions SmallJob() {
  RandomJobOptions options;
  options.rows = 50;
  options.batch_size = 4;
  options.num_epochs = 1;
  options.sparse_optimizer = "adagrad_optimizer { lr: 0.05 }";
  return options;
}

JobConfig Job(const TemporaryDirectory& directory, const std::string& name) {
  JobConfig config = MakeRandomJob(directory.path(), SmallJob(), name);
  config.train.save_checkpoints_steps = 3;
  config.eval_input_path.clear();
  return config;
}

TEST(L3Schedules, NoScheduleChangesABit) {
  TemporaryDirectory directory;
  const JobConfig first = Job(directory, "first");
  ASSERT_OK(Train(first, {3, 1, {}, {}}, TestOptions()));
  const std::string expected = *ResolveCheckpoint(first.model_dir);
  for (int seed = RunSeeds().first; seed < RunSeeds().first + RunSeeds().count; ++seed) {
    std::mt19937_64 random(static_cast<uint64_t>(seed));
    ClusterShape shape{3,
                       static_cast<int>(1 + random() % 4),
                       {static_cast<uint64_t>(seed), static_cast<int>(random() % 1500)},
                       {}};
    const JobConfig config = Job(directory, absl::StrCat("seed", seed));
    const Status status = Train(config, shape, TestOptions());
    ASSERT_OK(status) << "seed " << seed;
    ASSERT_EQ(CheckpointDifference(expected, *ResolveCheckpoint(config.model_dir)), "")
        << "seed " << seed;
  }
  std::cout << RunSeeds().count << " schedules from seed " << RunSeeds().first
            << ", 0 differences\n";
}

// A lost answer ends the job at its deadline with a sentence that names the wait; what has been
// saved is whole and the resumed run ends in the same bits.
TEST(L6Schedules, ALostAnswerEndsTheJobAtTheDeadlineAndLosesNothing) {
  TemporaryDirectory directory;
  const JobConfig first = Job(directory, "first");
  ASSERT_OK(Train(first, {2, 1, {}, {}}, TestOptions()));
  const std::string expected = *ResolveCheckpoint(first.model_dir);
  int lost = 0;
  for (int seed = RunSeeds().first; seed < RunSeeds().first + RunSeeds().count / 3 + 1; ++seed) {
    std::mt19937_64 random(static_cast<uint64_t>(seed));
    const int servers = static_cast<int>(1 + random() % 3);
    ClusterShape shape{2, servers, {static_cast<uint64_t>(seed), 200}, {}};
    shape.faults = ParseFaultPlan(absl::StrCat("drop-reply:rank=", 2 + random() % servers,
                                               ",nth=", 1 + random() % 16))
                       .value();
    RunOptions options = TestOptions();
    options.timeout_s = 0.7;
    JobConfig config = Job(directory, absl::StrCat("seed", seed));
    const auto start = Clock::now();
    Status status = Train(config, shape, options);
    EXPECT_LT(std::chrono::duration<double>(Clock::now() - start).count(), 20) << "seed " << seed;
    if (!status.ok()) {
      ++lost;
      EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << "seed " << seed << ": " << status;
      EXPECT_THAT(status, IsError(testing::HasSubstr("from rank"))) << "seed " << seed;
    }
    options = TestOptions();
    options.continue_train = true;
    status = Train(config, {2, servers, {}, {}}, options);
    ASSERT_OK(status) << "seed " << seed;
    ASSERT_EQ(CheckpointDifference(expected, *ResolveCheckpoint(config.model_dir)), "")
        << "seed " << seed;
  }
  EXPECT_GT(lost, 0);
  std::cout << lost << " lost answers, each ended its job by name\n";
}

}  // namespace
}  // namespace pepnet

int main(int argc, char** argv) { return pepnet::RunSeededTests(argc, argv, /*count=*/24); }
