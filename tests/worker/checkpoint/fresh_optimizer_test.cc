// --continue_train with ignore_restore_optimizer: the weights and the position of a checkpoint,
// fresh optimizer state.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/checkpoint/checkpoint.h"
#include "common/file/file.h"
#include "tests/support/cluster.h"
#include "tests/support/random_job.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using ::testing::HasSubstr;

class FreshOptimizer : public ::testing::Test {
 protected:
  JobConfig Job(const std::string& sparse, const std::string& dense, int64_t steps,
                const std::string& model) {
    RandomJobOptions options;
    options.rows = 40;
    options.batch_size = 4;
    options.sparse_optimizer = sparse;
    options.dense_optimizer = dense;
    JobConfig config = MakeRandomJob(directory_.path(), options, model);
    config.eval_input_path.clear();
    config.train.num_epochs = 0;
    config.train.num_steps = steps;
    return config;
  }
  // Trains 3 steps with one pair of optimizers, goes on to `steps` with another.
  Status GoOn(const JobConfig& first, const JobConfig& second, bool ignore_optimizer) {
    PEPNET_RETURN_IF_ERROR(Train(first, {2, 1, {}}, TestOptions()));
    RunOptions options = TestOptions(/*continue_train=*/true);
    options.ignore_restore_optimizer = ignore_optimizer;
    return Train(second, {2, 1, {}}, options);
  }
  static std::string Last(const JobConfig& config) { return *ResolveCheckpoint(config.model_dir); }

  TemporaryDirectory directory_;
};

constexpr char kPlain[] = "sgd_optimizer { lr: 0.1 }";
constexpr char kPlainDense[] = "sgd_optimizer { lr: 0.1 momentum: 0 }";

// Optimizers without state have none to ignore; only the rows' counts of updates begin at 0.
TEST_F(FreshOptimizer, WithoutStateItIsTheFullResume) {
  const JobConfig whole = Job(kPlain, kPlainDense, 6, "whole");
  ASSERT_OK(Train(whole, {2, 1, {}}, TestOptions()));
  const JobConfig resumed = Job(kPlain, kPlainDense, 6, "resumed");
  ASSERT_OK(GoOn(Job(kPlain, kPlainDense, 3, "resumed"), resumed, true));
  EXPECT_EQ(*ReadFile(Last(whole) + "/dense.safetensors"),
            *ReadFile(Last(resumed) + "/dense.safetensors"));
}

// With state it is another run than the full resume; from equal weights, the run of whatever
// optimizer wrote them.
TEST_F(FreshOptimizer, BeginsAfreshWhateverOptimizerWroteTheWeights) {
  const std::string adagrad = "adagrad_optimizer { lr: 0.1 }",
                    dense = "adam_optimizer { lr: 0.01 }";
  const JobConfig full = Job(adagrad, dense, 6, "full"), fresh = Job(adagrad, dense, 6, "fresh");
  ASSERT_OK(GoOn(Job(adagrad, dense, 3, "full"), full, false));
  ASSERT_OK(GoOn(Job(adagrad, dense, 3, "fresh"), fresh, true));
  EXPECT_NE(CheckpointDifference(Last(full), Last(fresh)), "");

  // A learning rate of 0 keeps the weights of the start, and so does SGD with one: only the
  // optimizer of the second part counts.
  const std::string still = "adagrad_optimizer { lr: 0 }", still_dense = "adam_optimizer { lr: 0 }";
  const JobConfig one = Job(adagrad, dense, 6, "one"), other = Job(adagrad, dense, 6, "other");
  ASSERT_OK(GoOn(Job(still, still_dense, 3, "one"), one, true));
  ASSERT_OK(
      GoOn(Job("sgd_optimizer { lr: 0 }", "sgd_optimizer { lr: 0 }", 3, "other"), other, true));
  EXPECT_EQ(CheckpointDifference(Last(one), Last(other)), "");
}

TEST_F(FreshOptimizer, OtherOptimizersNeedTheFlag) {
  const JobConfig first = Job(kPlain, kPlainDense, 3, "model");
  const JobConfig second = Job("adagrad_optimizer { lr: 0.1 }", kPlainDense, 6, "model");
  EXPECT_THAT(GoOn(first, second, false),
              IsError(HasSubstr("was written by another config: the config has \"sparse "
                                "optimizer: ")));
}

TEST_F(FreshOptimizer, AdamOfTablesCannotBeginInTheMiddle) {
  const JobConfig first = Job(kPlain, kPlainDense, 3, "model");
  EXPECT_THAT(GoOn(first, Job("adam_optimizer { lr: 0.1 }", kPlainDense, 6, "model"), true),
              IsError(HasSubstr("--ignore_restore_optimizer: adam_optimizer of the tables corrects "
                                "its moments by the steps")));
}

}  // namespace
}  // namespace pepnet
