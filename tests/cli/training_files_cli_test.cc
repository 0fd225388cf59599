// A training that goes on and its files, through the command line: each row of each file is trained
// num_epochs times, or the program says why not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/table_part.h"
#include "common/file/file.h"
#include "tests/support/cli_job.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

RandomJobOptions Options() {
  RandomJobOptions options;
  options.rows = 20;  // of the evaluation
  options.batch_size = 4;
  options.num_epochs = 1;
  options.shuffle = false;
  return options;
}

// A job whose training files are written by the test, each row with a user of its own: how often a
// user's row was updated is how often that row was trained.
class TrainingFilesCli : public ::testing::Test {
 protected:
  // Writes rows of the users [first, last) to `name`.
  void Write(const std::string& name, int first, int last) const {
    const std::string path = job_ / name;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream file(path);
    file << "clk,buy,uid,iid,hist,tags,word,dom,price,score,click__iid,click__age\n";
    for (int user = first; user < last; ++user) {
      file << user % 2 << ",0," << user << ",1,1|2,3:0.5,w1,0,3.5,0.5,3;4,0.5;1\n";
    }
  }

  // Trains into `model` on `files`, a comma list within the directory, with further fields of the
  // config.
  ProcessResult Train(const std::string& model, const std::string& files,
                      const std::string& flags = "", const std::string& fields = "",
                      const std::string& start = "$PEPNET") const {
    const std::string input = absl::StrCat(
        job_.path(), "/", absl::StrReplaceAll(files, {{",", "," + job_.path() + "/"}}));
    return job_.Run(
        start, "train", model,
        absl::StrCat("--continue_train --train_input_path '", input, "' --edit_config_json '{",
                     "\"feature_configs[0].id_feature.num_buckets\": 1000",
                     fields.empty() ? "" : ", ", fields, "}' ", flags));
  }
  // The same, stopped after `steps` steps of 4 rows in all.
  ProcessResult TrainSteps(const std::string& model, const std::string& files, int steps,
                           const std::string& fields = "") const {
    return Train(model, files, "",
                 absl::StrCat("\"train_config.num_epochs\": 0, \"train_config.num_steps\": ", steps,
                              fields.empty() ? "" : ", ", fields));
  }

  // The number of times that each row was trained, by user: "0-9:1 100-119:2".
  std::string Trained(const std::string& model) const {
    const StatusOr<std::string> checkpoint = ResolveCheckpoint(job_ / model);
    if (!checkpoint.ok()) return checkpoint.status().ToString();
    std::map<int64_t, int64_t> times;
    const StatusOr<Manifest> manifest = ReadManifest(*checkpoint);
    if (!manifest.ok()) return manifest.status().ToString();
    for (const PartEntry& part : manifest->parts) {
      if (part.table != "uid_emb") continue;
      const Status read = (*TablePartReader::Open(*checkpoint, part))
                              ->Read(0, part.rows, [&](const RowColumns& rows) {
                                for (size_t i = 0; i < rows.ids.size(); ++i) {
                                  times[rows.ids[i]] += rows.frequency[i];
                                }
                                return absl::OkStatus();
                              });
      if (!read.ok()) return read.ToString();
    }
    std::string text;
    for (auto run = times.begin(); run != times.end();) {
      auto last = run;
      auto next = std::next(run);
      while (next != times.end() && next->first == last->first + 1 && next->second == run->second) {
        last = next++;
      }
      absl::StrAppend(&text, text.empty() ? "" : " ", run->first, "-", last->first, ":",
                      run->second);
      run = next;
    }
    return text;
  }

  const CliJob job_{Options()};
};

// ---- the same data ------------------------------------------------------------------------------

TEST_F(TrainingFilesCli, MovedFilesGoOnToTheBitsOfTheUndisturbedRun) {
  for (const char* shuffle : {"\"data_config.shuffle\": false", "\"data_config.shuffle\": true"}) {
    std::filesystem::remove_all(job_ / "undisturbed");
    std::filesystem::remove_all(job_ / "moved");
    Write("old/a.csv", 0, 18);
    Write("old/b.csv", 100, 121);
    ASSERT_EQ(Train("undisturbed", "old/*.csv", "", shuffle).exit_status, 0);
    ASSERT_EQ(TrainSteps("moved", "old/*.csv", 3, shuffle).exit_status, 0);
    std::filesystem::remove_all(job_ / "new");
    std::filesystem::rename(job_ / "old", job_ / "new");
    const ProcessResult moved = Train("moved", "new/*.csv", "", shuffle);
    ASSERT_EQ(moved.exit_status, 0) << moved.err;
    EXPECT_THAT(moved.err, HasSubstr("2 training files moved"));
    EXPECT_EQ(job_.Difference("undisturbed", "moved"), "");
    EXPECT_EQ(Trained("moved"), "0-17:1 100-120:1");
  }
}

TEST_F(TrainingFilesCli, ACheckpointNamesItsFilesAndOneWithoutThemGoesOnByItsPosition) {
  Write("a.csv", 0, 18);
  Write("b.csv", 100, 121);
  ASSERT_EQ(Train("undisturbed", "a.csv,b.csv").exit_status, 0);
  ASSERT_EQ(TrainSteps("old", "a.csv,b.csv", 6).exit_status, 0);
  const std::string checkpoint = job_ / "old/model.ckpt-6";
  auto trainer = nlohmann::ordered_json::parse(*ReadFile(checkpoint + "/trainer.json"));
  EXPECT_EQ(trainer["data"]["files"][1]["path"], job_ / "b.csv");
  EXPECT_EQ(trainer["data"]["files"][1]["bytes"], std::filesystem::file_size(job_ / "b.csv"));
  EXPECT_EQ(trainer["data"]["files"][1]["digest"].get<std::string>().size(), 32u);

  // As versions wrote it that recorded no files.
  trainer.erase("data");
  ASSERT_OK(WriteFileAtomically(checkpoint + "/trainer.json", trainer.dump(2) + "\n"));
  StatusOr<Manifest> manifest = ReadManifest(checkpoint);
  ASSERT_OK(manifest);
  for (FileEntry& file : manifest->files) {
    if (file.file != "trainer.json") continue;
    const StatusOr<FileChecksum> sum = ChecksumFile(checkpoint + "/trainer.json");
    ASSERT_OK(sum);
    file.bytes = sum->bytes;
    file.crc32c = sum->crc32c;
  }
  ASSERT_OK(WriteFileAtomically(checkpoint + "/manifest.json", *ManifestToText(*manifest)));
  const ProcessResult resumed = Train("old", "a.csv,b.csv");
  ASSERT_EQ(resumed.exit_status, 0) << resumed.err;
  EXPECT_THAT(resumed.err, HasSubstr("the data cannot be checked: epoch 0, row 24"));
  EXPECT_EQ(job_.Difference("undisturbed", "old"), "");
}

// ---- other data inside a pass -------------------------------------------------------------------

TEST_F(TrainingFilesCli, AChangedFileIsRefusedOnceItsRowsWereRead) {
  Write("a.csv", 0, 18);
  Write("b.csv", 100, 121);
  ASSERT_EQ(TrainSteps("model", "a.csv,b.csv", 3).exit_status, 0);
  Write("a.csv", 200, 218);
  const ProcessResult changed = Train("model", "a.csv,b.csv");
  EXPECT_EQ(changed.exit_status, 1);
  EXPECT_THAT(changed.Cause(), AllOf(HasSubstr("a.csv' has changed"), HasSubstr("epoch 0, row 12"),
                                     HasSubstr("--restart_data_at_step=3")));
  // The advice works, once.
  const ProcessResult restarted = Train("model", "a.csv,b.csv", "--restart_data_at_step=3");
  ASSERT_EQ(restarted.exit_status, 0) << restarted.err;
  EXPECT_EQ(Trained("model"), "0-11:1 100-120:1 200-217:1");
  const ProcessResult again = Train("model", "a.csv,b.csv", "--restart_data_at_step=3");
  ASSERT_EQ(again.exit_status, 0) << again.err;
  EXPECT_THAT(again.err, HasSubstr("nothing is left to train"));
  EXPECT_EQ(Trained("model"), "0-11:1 100-120:1 200-217:1");
}

TEST_F(TrainingFilesCli, AVanishedFileIsRefusedOnceItsRowsWereReadAndReportedBefore) {
  Write("a.csv", 0, 18);
  Write("b.csv", 100, 121);
  Write("c.csv", 200, 203);
  ASSERT_EQ(TrainSteps("model", "a.csv,b.csv,c.csv", 3).exit_status, 0);
  const ProcessResult vanished = Train("model", "b.csv,c.csv");
  EXPECT_EQ(vanished.exit_status, 1);
  EXPECT_THAT(vanished.Cause(), HasSubstr("a.csv' is not among the files given"));
  const ProcessResult unread = Train("model", "a.csv,c.csv");
  ASSERT_EQ(unread.exit_status, 0) << unread.err;
  EXPECT_THAT(unread.err, HasSubstr("no row of it had been read in this pass"));
  EXPECT_EQ(Trained("model"), "0-17:1 200-202:1");
  // It was never read, so it is new when it is back.
  const ProcessResult back = Train("model", "*.csv");
  ASSERT_EQ(back.exit_status, 0) << back.err;
  EXPECT_THAT(Trained("model"), HasSubstr("100-120:1"));
}

TEST_F(TrainingFilesCli, AnInsertedAndAnAppendedFileAreTrainedOnceBehindTheRunningPass) {
  Write("day/b.csv", 0, 18);
  ASSERT_EQ(TrainSteps("model", "day/*.csv", 3, "\"data_config.shuffle\": true").exit_status, 0);
  Write("day/a.csv", 100, 121);
  Write("day/c.csv", 200, 203);
  const std::string twice = "\"data_config.shuffle\": true, \"train_config.num_epochs\": 2";
  const ProcessResult resumed = Train("model", "day/*.csv", "", twice);
  ASSERT_EQ(resumed.exit_status, 0) << resumed.err;
  EXPECT_THAT(resumed.err, HasSubstr("2 files (first '" + job_ / "day/a.csv"));
  EXPECT_EQ(Trained("model"), "0-17:2 100-120:2 200-202:2");
}

TEST_F(TrainingFilesCli, SeveralWorkersGoOnWithNewFilesTogether) {
  Write("day/b.csv", 0, 37);
  const std::string start = "$MPIRUN -n 4 $PEPNET", servers = "--num_servers=1 --share_reader=on";
  ASSERT_EQ(Train("model", "day/*.csv", servers,
                  "\"train_config.num_epochs\": 0, \"train_config.num_steps\": 2", start)
                .exit_status,
            0);
  Write("day/a.csv", 100, 121);
  const ProcessResult resumed = Train("model", "day/*.csv", servers, "", start);
  ASSERT_EQ(resumed.exit_status, 0) << resumed.err;
  EXPECT_EQ(Trained("model"), "0-36:1 100-120:1");
}

TEST_F(TrainingFilesCli, AnotherOrderIsRefusedInsideAPass) {
  Write("a.csv", 0, 40);
  ASSERT_EQ(TrainSteps("model", "a.csv", 3, "\"data_config.shuffle\": true").exit_status, 0);
  const ProcessResult unshuffled = Train("model", "a.csv");
  EXPECT_EQ(unshuffled.exit_status, 1);
  EXPECT_THAT(unshuffled.Cause(),
              HasSubstr("a shuffle within 8 rows before, no shuffle now, at row 12"));
  const ProcessResult wider =
      Train("model", "a.csv", "", "\"data_config.shuffle\": true, \"data_config.batch_size\": 5");
  EXPECT_EQ(wider.exit_status, 1);
  EXPECT_THAT(wider.Cause(), HasSubstr("batch_size * workers = 8"));
  // Another batch in the same windows: the same order of rows.
  const ProcessResult same = Train("model", "a.csv", "",
                                   "\"data_config.shuffle\": true, \"data_config.batch_size\": 2, "
                                   "\"data_config.shuffle_buffer_size\": 4");
  ASSERT_EQ(same.exit_status, 0) << same.err;
  EXPECT_EQ(Trained("model"), "0-39:1");
}

// ---- daily training -----------------------------------------------------------------------------

TEST_F(TrainingFilesCli, DailyTrainingBackFillAndRollBack) {
  Write("day=1/part-0.csv", 0, 18);
  Write("day=2/part-0.csv", 100, 121);
  Write("day=3/part-0.csv", 200, 209);
  ASSERT_EQ(Train("model", "day=1/*.csv").exit_status, 0);
  const ProcessResult day2 = Train("model", "day=2/*.csv");
  ASSERT_EQ(day2.exit_status, 0) << day2.err;
  EXPECT_THAT(day2.err,
              HasSubstr("had not been read before and will be trained once (num_epochs)"));
  EXPECT_EQ(Trained("model"), "0-17:1 100-120:1");
  const std::string yesterday = *ResolveCheckpoint(job_ / "model");

  // The same command again has nothing to do.
  const ProcessResult again = Train("model", "day=2/*.csv");
  ASSERT_EQ(again.exit_status, 0) << again.err;
  EXPECT_THAT(again.err, HasSubstr("nothing is left to train: 1 file ("));
  EXPECT_EQ(*ResolveCheckpoint(job_ / "model"), yesterday);

  // Day 3, by a glob over all days, and a day that arrives late.
  const ProcessResult day3 = Train("model", "day=*/*.csv");
  ASSERT_EQ(day3.exit_status, 0) << day3.err;
  EXPECT_THAT(day3.err, HasSubstr("2 given files had been trained, and will not be again"));
  Write("day=0/part-0.csv", 300, 310);
  ASSERT_EQ(Train("model", "day=0/*.csv").exit_status, 0);
  EXPECT_EQ(Trained("model"), "0-17:1 100-120:1 200-208:1 300-309:1");

  // Back to yesterday, because day 3 was wrong: its repaired file is new to that checkpoint, as it
  // would have been then.
  Write("day=3/part-0.csv", 400, 409);
  const ProcessResult back = Train("model", "day=3/*.csv", "--checkpoint_path " + yesterday);
  ASSERT_EQ(back.exit_status, 0) << back.err;
  EXPECT_THAT(back.err, HasSubstr(".rejected"));
  EXPECT_EQ(Trained("model"), "0-17:1 100-120:1 400-408:1");
}

TEST_F(TrainingFilesCli, AKilledDayGoesOnAndAnotherDayInBetweenIsRefused) {
  Write("day=1/part-0.csv", 0, 18);
  Write("day=2/part-0.csv", 100, 121);
  Write("day=3/part-0.csv", 200, 209);
  ASSERT_EQ(Train("model", "day=1/*.csv").exit_status, 0);
  const std::string often = "\"train_config.save_checkpoints_steps\": 2";
  ASSERT_NE(Train("model", "day=2/*.csv", "--inject kill:rank=0,step=9", often).exit_status, 0);
  const ProcessResult other = Train("model", "day=3/*.csv", "", often);
  EXPECT_EQ(other.exit_status, 1);
  EXPECT_THAT(other.Cause(), HasSubstr("day=2/part-0.csv' is not among the files given"));
  const ProcessResult resumed = Train("model", "day=2/*.csv", "", often);
  ASSERT_EQ(resumed.exit_status, 0) << resumed.err;
  EXPECT_THAT(resumed.err, Not(HasSubstr("nothing is left")));
  EXPECT_EQ(Trained("model"), "0-17:1 100-120:1");
}

}  // namespace
}  // namespace pepnet
