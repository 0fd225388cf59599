#include "worker/eval/predictor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <mutex>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/file/file.h"
#include "tests/support/cluster.h"
#include "tests/support/random_job.h"
#include "tests/support/status_matchers.h"
#include "worker/eval/inference.h"

namespace pepnet {
namespace {

using ::testing::SizeIs;
using ::testing::StartsWith;

class PredictorTest : public ::testing::Test {
 protected:
  static constexpr int kWorkers = 2;

  PredictorTest() : config_(MakeRandomJob(directory_.path(), Options())) {
    config_.eval_input_path.clear();
    config_.train.num_epochs = 0;
    config_.train.num_steps = 1;
  }
  static RandomJobOptions Options() {
    RandomJobOptions options;
    options.rows = 40;
    options.files = 1;
    return options;
  }
  // Predicts batches of 4 rows into `name`, as CSV; returns the number of rows, equal on all
  // workers.
  int64_t PredictInto(const std::string& name, int64_t steps) {
    PredictRequest request;
    request.input_path = config_.train_input_path;
    request.output_path = directory_ / name;
    request.csv = true;
    request.batch_size = 4;
    request.steps = steps;
    std::mutex mutex;
    int64_t rows = -1;
    const Status done = RunCluster(
        config_, {kWorkers, 1, {}}, TestOptions(), [&](const WorkerContext& context) -> Status {
          PEPNET_ASSIGN_OR_RETURN(InferenceModel model, OpenForInference(context, config_.model_dir,
                                                                         DenseValues::kWeights));
          PEPNET_ASSIGN_OR_RETURN(const int64_t written, Predict(context, model.model.get(),
                                                                 request, model.finished_steps));
          const std::lock_guard<std::mutex> lock(mutex);
          rows = written;
          return absl::OkStatus();
        });
    EXPECT_OK(done);
    return rows;
  }
  // Lines of a worker's part, the header first.
  std::vector<std::string> Part(const std::string& name, int worker) {
    const std::string text =
        *ReadFile(absl::StrCat(directory_ / name, "/part-0000", worker, ".csv"));
    return absl::StrSplit(text, '\n', absl::SkipEmpty());
  }

  TemporaryDirectory directory_;
  JobConfig config_;
};

TEST_F(PredictorTest, StepsAreTheFirstBatchesOfEachWorkersRange) {
  ASSERT_OK(Train(config_, {1, 1, {}}, TestOptions()));
  EXPECT_EQ(PredictInto("all", 0), 40);
  EXPECT_EQ(PredictInto("some", 2), kWorkers * 2 * 4);
  EXPECT_EQ(PredictInto("more", 1000), 40);
  for (int worker = 0; worker < kWorkers; ++worker) {
    std::vector<std::string> all = Part("all", worker);
    EXPECT_EQ(Part("more", worker), all);
    ASSERT_THAT(all, SizeIs(1 + 20));
    EXPECT_THAT(all[0], StartsWith("logits_"));
    all.resize(1 + 2 * 4);
    EXPECT_EQ(Part("some", worker), all);
  }
}

}  // namespace
}  // namespace pepnet
