// Damage to a checkpoint is always found, named, and answered with what to do; nothing is loaded
// from it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "common/checkpoint/checkpoint.h"
#include "common/file/file.h"
#include "tests/support/cluster.h"
#include "tests/support/random_job.h"
#include "tests/support/status_matchers.h"
#include "worker/checkpoint/checkpointing.h"

namespace pepnet {
namespace {

using testing::HasSubstr;

class DamagedCheckpoint : public ::testing::Test {
 protected:
  // Checkpoints 2, 4 and 5.
  JobConfig Job(const std::string& model_name) {
    RandomJobOptions options;
    options.rows = 40;
    options.batch_size = 8;
    JobConfig config = MakeRandomJob(directory_.path(), options, model_name);
    config.train.num_epochs = 0;
    config.train.num_steps = 5;
    config.train.save_checkpoints_steps = 2;
    config.eval_input_path.clear();
    return config;
  }
  JobConfig Trained(const std::string& model_name) {
    const JobConfig config = Job(model_name);
    const Status status = Train(config, {1, 2, {}, {}}, TestOptions());
    EXPECT_OK(status);
    return config;
  }
  static void Replace(const std::string& path, const std::string& contents) {
    ASSERT_OK(WriteFileAtomically(path, contents));
  }

  TemporaryDirectory directory_;
};

TEST_F(DamagedCheckpoint, NoFlippedByteAndNoCutIsLoaded) {
  const JobConfig config = Trained("model");
  const std::string checkpoint = *ResolveCheckpoint(config.model_dir);
  std::vector<std::string> files;
  uintmax_t bytes = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(checkpoint)) {
    if (!entry.is_regular_file()) continue;
    files.push_back(entry.path());
    bytes += entry.file_size();
  }
  const uintmax_t stride = std::max<uintmax_t>(1, bytes / 1500);
  int flips = 0, cuts = 0, removals = 0, missed = 0;
  const Status status = RunCluster(
      config, {1, 1, {}, {}}, TestOptions(/*continue_train=*/true),
      [&](const WorkerContext& context) -> Status {
        const auto expect_refused = [&](const std::string& file, const std::string& what) {
          const auto found = FindCheckpoint(context, checkpoint);
          if (!found.ok() &&
              found.status().message().find(std::filesystem::path(file).filename().string()) !=
                  std::string::npos) {
            return;
          }
          ++missed;
          ADD_FAILURE() << what << " of " << file << ": "
                        << (found.ok() ? "loaded" : found.status().ToString());
        };
        for (const std::string& file : files) {
          const std::string whole = ReadFile(file).value();
          for (size_t at = flips % stride; at < whole.size(); at += stride) {
            std::string damaged = whole;
            damaged[at] = static_cast<char>(damaged[at] ^ (1 << (at % 8)));
            Replace(file, damaged);
            expect_refused(file, absl::StrCat("flip at byte ", at));
            ++flips;
            Replace(file, whole.substr(0, at));
            expect_refused(file, absl::StrCat("cut at byte ", at));
            ++cuts;
          }
          std::filesystem::remove(file);
          expect_refused(file, "removal");
          ++removals;
          Replace(file, whole);
        }
        return FindCheckpoint(context, checkpoint).status();  // whole again
      });
  EXPECT_OK(status);
  std::cout << files.size() << " files, " << bytes << " bytes: " << flips << " flips, " << cuts
            << " cuts, " << removals << " removals, " << missed << " not refused by name\n";
  EXPECT_GT(flips, 1000);
}

TEST_F(DamagedCheckpoint, TrainingSaysWhichOlderOneIsWholeAndGoesOnFromItWhenTold) {
  const JobConfig undisturbed = Trained("undisturbed");
  const JobConfig config = Trained("model");
  const auto damage = [&](int64_t step) {
    const std::string file =
        absl::StrCat(config.model_dir, "/", CheckpointName(step), "/dense.safetensors");
    std::string bytes = ReadFile(file).value();
    bytes.back() = static_cast<char>(bytes.back() ^ 1);
    Replace(file, bytes);
  };
  damage(5);
  Status status = Train(config, {1, 2, {}, {}}, TestOptions(/*continue_train=*/true));
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(status, IsError(HasSubstr("model.ckpt-5/dense.safetensors: expected crc32c")));
  EXPECT_THAT(
      status,
      IsError(HasSubstr(absl::StrCat("--checkpoint_path=", config.model_dir, "/model.ckpt-4"))));
  damage(4);
  status = Train(config, {1, 2, {}, {}}, TestOptions(/*continue_train=*/true));
  EXPECT_THAT(
      status,
      IsError(HasSubstr(absl::StrCat("--checkpoint_path=", config.model_dir, "/model.ckpt-2"))));

  // A damaged one is refused when told to, too, and then nothing has been moved.
  RunOptions options = TestOptions(/*continue_train=*/true);
  options.checkpoint_path = config.model_dir + "/model.ckpt-4";
  status = Train(config, {1, 2, {}, {}}, options);
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_TRUE(IsDirectory(config.model_dir + "/model.ckpt-5"));

  options.checkpoint_path = config.model_dir + "/model.ckpt-2";
  status = Train(config, {1, 2, {}, {}}, options);
  ASSERT_OK(status);
  EXPECT_TRUE(IsDirectory(config.model_dir + "/model.ckpt-5.rejected"));
  EXPECT_TRUE(IsDirectory(config.model_dir + "/model.ckpt-4.rejected"));
  EXPECT_EQ(CheckpointDifference(undisturbed.model_dir + "/model.ckpt-5",
                                 config.model_dir + "/model.ckpt-5"),
            "");
}

TEST_F(DamagedCheckpoint, ALostManifestIsDamageNotAReasonToStartEarlier) {
  const JobConfig config = Trained("model");
  std::filesystem::remove(config.model_dir + "/model.ckpt-5/manifest.json");
  const Status status = Train(config, {1, 1, {}, {}}, TestOptions(/*continue_train=*/true));
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(status,
              IsError(HasSubstr("model.ckpt-4 is the newest older checkpoint that is whole")));
  for (int step : {2, 4}) {
    std::filesystem::remove(absl::StrCat(config.model_dir, "/model.ckpt-", step, "/manifest.json"));
  }
  EXPECT_THAT(Train(config, {1, 1, {}, {}}, TestOptions(/*continue_train=*/true)),
              IsError(HasSubstr("no older checkpoint")));
}

TEST_F(DamagedCheckpoint, TheCheckpointToGoOnFromMustBeThisJobs) {
  const JobConfig config = Trained("model"), other = Trained("other");
  RunOptions options = TestOptions(/*continue_train=*/true);
  options.checkpoint_path = other.model_dir + "/model.ckpt-4";
  EXPECT_THAT(Train(config, {1, 1, {}, {}}, options), IsError(HasSubstr("is not in model_dir")));
  options.checkpoint_path = config.model_dir + "/model.ckpt-4";
  options.continue_train = false;
  EXPECT_THAT(Train(config, {1, 1, {}, {}}, options), IsError(HasSubstr("add --continue_train")));
}

}  // namespace
}  // namespace pepnet
