// No command removes or overwrites what it did not make.
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/checkpoint/checkpoint.h"
#include "common/file/file.h"
#include "nlohmann/json.hpp"
#include "tests/support/cluster.h"
#include "tests/support/process.h"
#include "tests/support/random_job.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

class OwnershipCli : public ::testing::Test {
 protected:
  void SetUp() override {
    RandomJobOptions options;
    options.files = 1;
    options.rows = 23;
    options.num_epochs = 1;
    Write("job.config", WriteRandomJob(directory_.path(), options));
    const ProcessResult trained = Run("train");
    ASSERT_EQ(trained.exit_status, 0) << trained.err;
  }

  void Write(const std::string& name, const std::string& text) {
    ASSERT_OK(WriteFileAtomically(directory_ / name, text));
  }
  std::string Read(const std::string& name) {
    return ReadFile(directory_ / name).value_or("(absent)");
  }
  void Make(const std::string& name) { ASSERT_OK(MakeDirectories(directory_ / name)); }

  ProcessResult Run(const std::string& command, const std::string& flags = "",
                    const std::string& launch = "") {
    return RunShell(absl::StrCat("cd ", directory_.path(), "\n", launch, " $PEPNET ", command,
                                 " --pipeline_config_path job.config ", flags));
  }
  ProcessResult Predict(const std::string& flags = "", const std::string& launch = "") {
    return Run("predict", "--predict_input_path train-0.csv --predict_output_path out " + flags,
               launch);
  }
  static void ExpectRefused(const ProcessResult& result, std::initializer_list<const char*> parts,
                            int status = 1) {
    EXPECT_EQ(result.exit_status, status) << result.err;
    for (const char* part : parts) {
      EXPECT_TRUE(absl::StrContains(result.Cause(), part)) << part << ": " << result.err;
    }
  }

  TemporaryDirectory directory_;
};

TEST_F(OwnershipCli, PredictRefusesADirectoryWithAnythingElseInIt) {
  for (const char* foreign :
       {"part-00001.csv", "part-00007.parquet", ".tmp.part-mine", "notes.txt"}) {
    Make("out");
    Write(absl::StrCat("out/", foreign), "mine");
    ExpectRefused(Predict(), {foreign, "--predict_output_path"});
    ExpectRefused(Predict("--overwrite"), {foreign, "--predict_output_path"});
    EXPECT_EQ(Read(absl::StrCat("out/", foreign)), "mine");
    EXPECT_EQ(ListDirectory(directory_ / "out")->size(), 1u) << foreign;
    ASSERT_OK(RemoveTree(directory_ / "out"));
  }
  Make("out/part-00000.parquet/inner");
  ExpectRefused(Predict("--overwrite"), {"part-00000.parquet"});
  EXPECT_TRUE(IsDirectory(directory_ / "out/part-00000.parquet/inner"));
}

TEST_F(OwnershipCli, OverwriteReplacesWhatAnEarlierPredictionMadeAndNothingElse) {
  ASSERT_EQ(Predict("--num_servers=1", "$MPIRUN -n 3").exit_status, 0);
  ExpectRefused(Predict(), {"earlier prediction", "--overwrite"});
  ASSERT_TRUE(PathExists(directory_ / "out/part-00001.parquet"));
  ASSERT_EQ(Predict("--overwrite").exit_status, 0);
  EXPECT_FALSE(PathExists(directory_ / "out/part-00001.parquet"))
      << "a part of more workers must not stay behind";
  const auto manifest = nlohmann::json::parse(Read("out/_pepnet_prediction.json"));
  EXPECT_EQ(manifest["complete"], true);
  EXPECT_EQ(manifest["writing"], "");
  ASSERT_EQ(manifest["parts"].size(), 1u);
  EXPECT_EQ(manifest["parts"][0]["bytes"], Read("out/part-00000.parquet").size());
  // A part that somebody changed is somebody's.
  ASSERT_OK(AppendToFile(directory_ / "out/part-00000.parquet", "more"));
  const std::string changed = Read("out/part-00000.parquet");
  ExpectRefused(Predict("--overwrite"), {"part-00000.parquet", "no longer"});
  EXPECT_EQ(Read("out/part-00000.parquet"), changed);
}

TEST_F(OwnershipCli, AKilledPredictionIsTakenBackByTheNextOne) {
  const ProcessResult killed = Predict("--inject kill:point=before_rename,nth=2");
  ASSERT_NE(killed.exit_status, 0);
  ASSERT_GE(ListDirectory(directory_ / "out")->size(), 2u) << "the fault must leave something";
  const ProcessResult again = Predict();
  ASSERT_EQ(again.exit_status, 0) << again.err;
  EXPECT_EQ(*ListDirectory(directory_ / "out"),
            (std::vector<std::string>{"_pepnet_prediction.json", "part-00000.parquet"}));
}

TEST_F(OwnershipCli, ExportKeepsWhatStandsBesideIt) {
  Make("ex.tmp");
  Write("ex.tmp/notes", "mine");
  Make(".tmp");
  Write(".tmp/notes", "mine");
  ASSERT_EQ(Run("export", "--export_dir ex").exit_status, 0);
  EXPECT_EQ(Read("ex.tmp/notes"), "mine");
  ExpectRefused(Run("export", "--export_dir ''"), {"--export_dir", "empty"}, 2);
  EXPECT_EQ(Read(".tmp/notes"), "mine");
  ExpectRefused(RunShell(absl::StrCat(
                    "cd ", directory_.path(), "; ln -s nowhere dangling\n",
                    "$PEPNET export --pipeline_config_path job.config --export_dir dangling")),
                {"dangling", "exists"});
  ExpectRefused(Run("export", "--export_dir new/.."), {"new/..", "name"});
  const std::string checkpoint = *ResolveCheckpoint(directory_ / "model");
  ExpectRefused(Run("export", "--export_dir " + checkpoint + "/ex"), {"checkpoint"});
  ASSERT_OK_AND_ASSIGN(const std::vector<std::string> names, ListDirectory(directory_.path()));
  for (const std::string& name : names) {
    EXPECT_FALSE(absl::StartsWith(name, "ex.tmp.") || absl::StartsWith(name, "dangling."))
        << name << " is left";
  }
}

TEST_F(OwnershipCli, ReportsReplaceOnlyReportsOfTheirKind) {
  const std::string checkpoint = *ResolveCheckpoint(directory_ / "model");
  const auto inspect = [&](const std::string& report) {
    return RunShell(absl::StrCat("cd ", directory_.path(), "; $PEPNET inspect ", checkpoint,
                                 " --report ", report));
  };
  ASSERT_EQ(inspect("r.html").exit_status, 0);
  ASSERT_EQ(inspect("r.html").exit_status, 0) << "its own";
  const std::string manifest = checkpoint + "/manifest.json", before = *ReadFile(manifest);
  ExpectRefused(inspect(manifest), {"--report", "manifest.json"});
  EXPECT_EQ(*ReadFile(manifest), before);
  ExpectRefused(inspect("/dev/null"), {"/dev/null"});
  Write("theirs.prom", "node_load1 0.5\n");
  ExpectRefused(Run("train", "--model_dir other --metrics_textfile theirs.prom"), {"theirs.prom"});
  ExpectRefused(Run("train", "--model_dir other --trace_path theirs.prom"), {"theirs.prom"});
  EXPECT_EQ(Read("theirs.prom"), "node_load1 0.5\n");
}

TEST_F(OwnershipCli, ImportTakesTheLockOfTheModelDir) {
  ASSERT_EQ(Run("export", "--export_dir ex").exit_status, 0);
  const ProcessResult locked = RunShell(absl::StrCat(
      "cd ", directory_.path(), "; mkdir new\nexec 9>new/.lock; flock 9\n",
      "$PEPNET import --pipeline_config_path job.config --weights ex/model.safetensors",
      " --model_dir new"));
  ExpectRefused(locked, {"new", "another job"});
  ASSERT_EQ(Run("import", "--weights ex/model.safetensors --model_dir new").exit_status, 0);
}

TEST_F(OwnershipCli, AFailedImportLeavesNothing) {
  ASSERT_EQ(Run("export", "--export_dir ex").exit_status, 0);
  std::string bytes = Read("ex/model.safetensors");
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(bytes.data() + bytes.size() - sizeof(nan), &nan, sizeof(nan));  // the last tensor
  Write("nan.safetensors", bytes);
  ExpectRefused(Run("import", "--weights nan.safetensors --model_dir new"),
                {"nan", "nan.safetensors", "not finite"});
  EXPECT_THAT(ListDirectory(directory_ / "new").value_or(std::vector<std::string>()),
              testing::Each(".lock"));
}

}  // namespace
}  // namespace pepnet
