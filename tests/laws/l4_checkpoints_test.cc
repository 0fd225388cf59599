// Law L4 where checkpoints are written while training goes on, and where another number of servers
// reads them.
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/checkpoint/checkpoint.h"
#include "common/file/file.h"
#include "common/file/file_hook.h"
#include "tests/support/cluster.h"
#include "tests/support/random_job.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

// Holds back the first fsync of each server's first table until step 8 is trained: the tables
// behind it change before they are saved.
class SlowDisk : public FileHook {
 public:
  static constexpr int64_t kReleaseAfter = 8;
  SlowDisk() { InstallFileHook(this); }
  ~SlowDisk() override { InstallFileHook(nullptr); }
  Verdict Before(FileOperation operation, const std::string& path, std::string_view data) override {
    const Deadline deadline = Clock::now() + std::chrono::seconds(30);
    while (operation == FileOperation::kSync && absl::StrContains(path, ".tmp.model.ckpt-5.tmp.") &&
           absl::StrContains(path, "/tables/") && finished_steps < kReleaseAfter &&
           Clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return {0, data};
  }
  void After(FileOperation, const std::string&) override {}

  std::atomic<int64_t> finished_steps = 0;
};

TEST(L4Snapshot, ACheckpointIsTheStateOfItsStepThoughTrainingGoesOn) {
  for (const char* optimizer : {"adagrad_optimizer { lr: 0.05 }", "adam_optimizer { lr: 0.01 }"}) {
    RandomJobOptions options;
    options.batch_size = 4;
    options.sparse_optimizer = optimizer;
    options.train_extra = "gradient_accumulation_steps: 2";
    TemporaryDirectory directory;
    JobConfig at_rest = MakeRandomJob(directory.path(), options, "at_rest");
    at_rest.eval_input_path.clear();
    at_rest.train.num_epochs = 0;
    at_rest.train.num_steps = 5;
    ASSERT_OK(Train(at_rest, {2, 2, {}}, TestOptions()));

    JobConfig busy = MakeRandomJob(directory.path(), options, "busy");
    busy.eval_input_path.clear();
    busy.train.save_checkpoints_steps = 5;
    const std::string checkpoint = busy.model_dir + "/model.ckpt-5";
    SlowDisk disk;
    const Status trained =
        RunCluster(busy, {2, 2, {}}, TestOptions(), [&](const WorkerContext& context) -> Status {
          Trainer trainer(context);
          PEPNET_RETURN_IF_ERROR(trainer.Start());
          for (int64_t step = 1; step <= SlowDisk::kReleaseAfter; ++step) {
            PEPNET_RETURN_IF_ERROR(trainer.Step().status());
            const bool disk_was_slow = !PathExists(checkpoint);
            EXPECT_TRUE(disk_was_slow);
            if (context.first()) disk.finished_steps = step;
          }
          return trainer.FinishSave();
        });
    ASSERT_OK(trained);
    EXPECT_EQ(CheckpointDifference(*ResolveCheckpoint(at_rest.model_dir), checkpoint), "")
        << optimizer;
    EXPECT_EQ(*ReadFile(at_rest.model_dir + "/model.ckpt-5/trainer.json"),
              *ReadFile(checkpoint + "/trainer.json"));
  }
}

// Every number of servers that saved, every number that loads: equal digests of every bucket, and
// after 10 more steps the bits of the run that was never saved.
TEST(L4Servers, AnyNumberGoesOnWhereAnyNumberSaved) {
  RandomJobOptions options;
  options.batch_size = 4;
  options.sparse_optimizer = "adagrad_optimizer { lr: 0.05 }";
  TemporaryDirectory directory;
  const auto job = [&](const std::string& name, int64_t steps) {
    JobConfig config = MakeRandomJob(directory.path(), options, name);
    config.eval_input_path.clear();
    config.train.num_epochs = 0;
    config.train.num_steps = steps;
    return config;
  };
  const JobConfig undisturbed = job("undisturbed", 15);
  ASSERT_OK(Train(undisturbed, {2, 1, {}}, TestOptions()));
  const std::string expected = *ResolveCheckpoint(undisturbed.model_dir);
  std::string first_saved;
  for (int saving : {1, 2, 3, 4}) {
    const JobConfig half = job(absl::StrCat("saved-by-", saving), 5);
    ASSERT_OK(Train(half, {2, saving, {}}, TestOptions()));
    const std::string saved = *ResolveCheckpoint(half.model_dir);
    if (first_saved.empty()) first_saved = saved;
    EXPECT_EQ(CheckpointDifference(first_saved, saved), "") << saving << " servers saved";
    for (int loading : {1, 2, 3, 4}) {
      const JobConfig whole = job(absl::StrCat("saved-by-", saving, "-loaded-by-", loading), 15);
      std::filesystem::copy(half.model_dir, whole.model_dir,
                            std::filesystem::copy_options::recursive);
      const Status status = Train(whole, {2, loading, {}}, TestOptions(/*continue_train=*/true));
      ASSERT_OK(status) << saving << " saved, " << loading << " loaded: ";
      EXPECT_EQ(CheckpointDifference(expected, *ResolveCheckpoint(whole.model_dir)), "")
          << saving << " servers saved, " << loading << " loaded";
    }
  }
}

}  // namespace
}  // namespace pepnet
