// Hostile files and flags through the command line: one sentence, status 1 or 2, never a crash, a
// wait or all of the memory.
#include <gtest/gtest.h>
#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/checkpoint/checkpoint.h"
#include "common/file/file.h"
#include "tests/support/cluster.h"
#include "tests/support/process.h"
#include "tests/support/random_job.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

class UntrustedCli : public ::testing::Test {
 protected:
  void SetUp() override {
    RandomJobOptions options;
    options.files = 1;
    options.rows = 20;
    options.num_epochs = 1;
    text_ = WriteRandomJob(directory_.path(), options);
    Write("job.config", text_);
  }

  void Write(const std::string& name, const std::string& text) {
    ASSERT_OK(WriteFileAtomically(directory_ / name, text));
  }
  // In 6 GB of address space and 20 s.
  ProcessResult Run(const std::string& line) {
    return RunShell(
        absl::StrCat("cd ", directory_.path(), "; ulimit -c 0; ulimit -v 6000000\n", line), 20);
  }
  ProcessResult Check(const std::string& config, const std::string& flags = "") {
    return Run(absl::StrCat("$PEPNET check-config --pipeline_config_path ", config, " ", flags));
  }
  static void ExpectRefused(const ProcessResult& result, std::initializer_list<const char*> parts,
                            int status = 1) {
    EXPECT_EQ(result.exit_status, status) << result.err;
    const std::string cause = result.Cause();
    EXPECT_LT(cause.size(), 2000u);
    EXPECT_TRUE(absl::EndsWith(result.err, cause + "\n"))
        << "the cause must be the last line: " << result.err;
    for (const char* part : parts) {
      EXPECT_TRUE(absl::StrContains(cause, part)) << "no '" << part << "' in: " << cause;
    }
  }
  static std::string Repeat(const std::string& piece, int times) {
    std::string text;
    for (int i = 0; i < times; ++i) text += piece;
    return text;
  }

  TemporaryDirectory directory_;
  std::string text_;
};

TEST_F(UntrustedCli, WhatIsNoRegularFileIsNotRead) {
  ASSERT_EQ(Run("mkfifo pipe; mkdir folder; truncate -s 1T sparse").exit_status, 0);
  ExpectRefused(Check("pipe"), {"pipe", "regular file"});
  ExpectRefused(Check("/dev/zero"), {"/dev/zero", "regular file"});
  ExpectRefused(Check("folder"), {"folder"});
  ExpectRefused(Check("sparse"), {"sparse", "bytes"});
  ExpectRefused(Run("mkfifo w.safetensors; $PEPNET inspect w.safetensors"),
                {"w.safetensors", "regular file"});
  Write("job.config",
        absl::StrReplaceAll(
            text_, {{"num_buckets: 50", "vocab_file: 'pipe' default_bucketize_value: 0"}}));
  ExpectRefused(Check("job.config"), {"pipe", "regular file"});
}

TEST_F(UntrustedCli, NestingHasALimit) {
  Write("deep.config", Repeat("a{", 150000));
  ExpectRefused(Check("deep.config"), {"deep.config", "deeper"});
  Write("deep.config", text_ + "feature_configs { sequence_feature " + Repeat("{ a ", 150000));
  ExpectRefused(Check("deep.config"), {"deep.config", "deeper"});
  ExpectRefused(Check("job.config", absl::StrCat("--edit_config_json '{\"model_dir\": ",
                                                 Repeat("[", 20000), Repeat("]", 20000), "}'")),
                {"--edit_config_json", "deeper"});
  const std::string header =
      absl::StrCat("{\"t\":{\"dtype\":\"F32\",\"shape\":[", Repeat("[", 100000),
                   Repeat("]", 100000), "],\"data_offsets\":[0,4]}}");
  const uint64_t length = header.size();
  std::string file(sizeof(length), '\0');
  std::memcpy(file.data(), &length, sizeof(length));
  Write("deep.safetensors", file + header + "1234");
  ExpectRefused(Run("$PEPNET inspect deep.safetensors"), {"deep.safetensors", "deeper"});
}

TEST_F(UntrustedCli, AnyJobReportIsReplaced) {
  for (const std::string& report :
       {std::string(R"({"run": null})"), std::string(R"({"status": 3, "certainty": "x"})"),
        Repeat("[", 100000)}) {
    ASSERT_OK(RemoveTree(directory_ / "model"));
    ASSERT_OK(MakeDirectories(directory_ / "model"));
    Write("model/job_report.json", report);
    const ProcessResult trained = Run("$PEPNET train --pipeline_config_path job.config");
    EXPECT_EQ(trained.exit_status, 0) << trained.err;
    EXPECT_TRUE(absl::StrContains(*ReadFile(directory_ / "model/job_report.json"), "\"done\""));
  }
}

TEST_F(UntrustedCli, ALostResultIsAnError) {
  ASSERT_EQ(Run("$PEPNET train --pipeline_config_path job.config").exit_status, 0);
  for (const char* command : {"inspect model", "check-config --pipeline_config_path job.config",
                              "--help", "eval --pipeline_config_path job.config"}) {
    for (const char* out : {">/dev/full", ">&-"}) {
      ExpectRefused(Run(absl::StrCat("$PEPNET ", command, " ", out)), {"standard output"});
    }
  }
}

TEST_F(UntrustedCli, FlagsOutOfTheirRangeAreNamed) {
  const std::string train = "$PEPNET train --pipeline_config_path job.config ";
  const std::pair<const char*, const char*> wrong[] = {
      {"--seed -1", "--seed is \"-1\", expected a whole number from 0 to 18446744073709551615"},
      {"--seed=99999999999999999999",
       "--seed is \"99999999999999999999\", expected a whole number from 0"},
      {"--timeout_s=nan", "--timeout_s is \"nan\", expected a finite number"},
      {"--num_servers=abc", "--num_servers is \"abc\", expected a whole number"},
      {"--num_servers=0", "--num_servers"},
      {"--hash=md5", "--hash"},
      {"--model_dir ''", "--model_dir is empty"},
      {"--model_dir=", "--model_dir is empty"},
      {"--fine_tune_checkpoint ''", "--fine_tune_checkpoint is empty"},
      {"--no_such_flag", "unknown flag --no_such_flag"},
      {"--seed", "--seed"},
      {"stray", "stray"},
  };
  for (const auto& [flag, message] : wrong) ExpectRefused(Run(train + flag), {message}, 2);
  ExpectRefused(Run("$PEPNET inspect model --table t --id=99999999999999999999"), {"--id is"}, 2);
  ExpectRefused(Run("$PEPNET"), {"no command is given; expected one of train, eval"}, 2);
  ExpectRefused(Run("$PEPNET train"), {"--pipeline_config_path"}, 2);
  EXPECT_FALSE(PathExists(directory_ / "model"));
  ExpectRefused(Run(train + "--num_servers=100000"),
                {"--num_servers is 100000, expected at most 1024"});
}

TEST_F(UntrustedCli, AServerAloneEndsLikeACommand) {
  ExpectRefused(Run("$PEPNET_PS --injct kill:rank=0,step=1"), {"pepnet_ps: unknown flag --injct"},
                2);
  ExpectRefused(Run("$PEPNET_PS --inject 'die\033[2J'"), {"pepnet_ps: --inject"});
  ExpectRefused(Run("$PEPNET_PS"), {"pepnet_ps: ", "mpirun -n 2 pepnet_ps"});
  ExpectRefused(Run("$PEPNET_PS --version >/dev/full"), {"pepnet_ps: ", "standard output"});
}

TEST_F(UntrustedCli, TheNewestCheckpointWithoutManifestIsNotPassedOver) {
  ASSERT_EQ(Run("$PEPNET train --pipeline_config_path job.config").exit_status, 0);
  ASSERT_OK(MakeDirectories(directory_ / "model/model.ckpt-900"));
  for (const char* command : {"eval --pipeline_config_path job.config",
                              "export --pipeline_config_path job.config --export_dir ex",
                              "predict --pipeline_config_path job.config --predict_input_path "
                              "train-0.csv --predict_output_path out",
                              "inspect model"}) {
    ExpectRefused(Run(absl::StrCat("$PEPNET ", command)),
                  {"model.ckpt-900", "manifest.json", "newest"});
  }
  const std::string whole =
      absl::StrCat("model/", CheckpointName(ListCheckpoints(directory_ / "model")->back()));
  EXPECT_EQ(
      Run("$PEPNET eval --pipeline_config_path job.config --checkpoint_path " + whole).exit_status,
      0);
}

TEST_F(UntrustedCli, CheckConfigListsEverythingThatIsWrong) {
  Write("job.config",
        absl::StrReplaceAll(
            text_, {{"num_workers:",
                     "sample_mask_prob: 0.5 negative_sampler { length: 3, x: 1; } num_workers:"},
                    {"shuffle:", "shufle: true shuffle:"},
                    {"num_epochs: 1", "num_epochs: 1 save_checkpoints_timestamp_interval: 5"}}));
  const ProcessResult result = Check("job.config");
  EXPECT_EQ(result.exit_status, 1);
  for (const char* part :
       {"sample_mask_prob", "shufle", "save_checkpoints_timestamp_interval", "negative_sampler"}) {
    EXPECT_TRUE(absl::StrContains(result.err, part)) << "no " << part << " in: " << result.err;
  }
  ExpectRefused(result, {"job.config is refused for 4 reasons"});
  Write("job.config", text_);
  const ProcessResult good = Check("job.config");
  EXPECT_EQ(good.exit_status, 0) << good.err;
  EXPECT_TRUE(absl::EndsWith(good.err, "job.config is accepted\n")) << good.err;
}

// As another user, whose threads are those of this run alone: the limit of a user does not hold for
// root.
TEST_F(UntrustedCli, AThreadThatCannotBeStartedIsNamedWithTheLimit) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can run a program as a user without other threads";
  ASSERT_EQ(Run("chmod 777 .").exit_status, 0);
  int refused = 0;
  for (int threads = 3; threads < 18; threads += 2) {
    const std::string model = absl::StrCat("model-", threads);
    const ProcessResult result = Run(absl::StrCat(
        "exec setpriv --reuid=", 41000 + threads,
        " --regid=41000 --clear-groups prlimit --nproc=", threads,
        " $PEPNET train --pipeline_config_path job.config --threads 2 --model_dir ", model));
    if (result.exit_status == 0) continue;
    ++refused;
    ExpectRefused(result, {"cannot start the thread \"", "ulimit -u"});
    const auto saved = ListCheckpoints(directory_ / model);
    EXPECT_TRUE(!saved.ok() || saved->empty()) << threads;
  }
  EXPECT_GT(refused, 3);
}

TEST_F(UntrustedCli, ACurrentDirectoryThatIsGoneIsNamed) {
  for (const char* command :
       {"--version", "inspect model", "train --pipeline_config_path job.config"}) {
    ExpectRefused(Run(absl::StrCat("mkdir gone; cd gone; rmdir ../gone; $PEPNET ", command)),
                  {"pepnet: the current directory does not exist any more"});
  }
}

TEST_F(UntrustedCli, TextOfOthersCannotWriteLinesOrMoveTheCursor) {
  std::string rows = *ReadFile(directory_ / "train-0.csv");
  rows.replace(rows.find("uid"), 3, "\"u\x1b[2Jid\npepnet: forged\"");
  Write("train-0.csv", rows);
  const ProcessResult result = Run("$PEPNET train --pipeline_config_path job.config");
  ExpectRefused(result, {"has no column 'uid'", "\\x1b", "\\npepnet: forged"});
  EXPECT_FALSE(absl::StrContains(result.err, "\x1b"));
}

}  // namespace
}  // namespace pepnet
