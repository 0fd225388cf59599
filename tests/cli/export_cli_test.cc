// export's promises: what is written, what is refused, and that nothing half written stays. How
// other programs read the files: tests/tools.
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/strict_json.h"
#include "common/file/file.h"
#include "tests/support/process.h"
#include "tests/support/random_job.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace pepnet {
namespace {

class ExportCli : public ::testing::Test {
 protected:
  void SetUp() override {
    RandomJobOptions options;
    options.files = 1;
    options.rows = 40;
    options.num_epochs = 2;
    text_ = WriteRandomJob(directory_.path(), options);
    WriteConfig(text_);
    const ProcessResult trained = RunShell(
        absl::StrCat("$PEPNET train --pipeline_config_path ", directory_ / "job.config",
                     " --edit_config_json '{\"train_config.save_checkpoints_steps\": 4}'"));
    ASSERT_EQ(trained.exit_status, 0) << trained.err;
  }

  void WriteConfig(const std::string& text) {
    ASSERT_OK(WriteFileAtomically(directory_ / "job.config", text));
  }
  ProcessResult Export(const std::string& flags = "") {
    return RunShell(absl::StrCat("$PEPNET export --pipeline_config_path ",
                                 directory_ / "job.config", " --export_dir ", directory_ / "out ",
                                 flags));
  }
  void ExpectRefused(const ProcessResult& result, std::initializer_list<std::string> parts) {
    EXPECT_EQ(result.exit_status, 1) << result.err;
    for (const std::string& part : parts) {
      EXPECT_TRUE(absl::StrContains(result.Cause(), part))
          << "no '" << part << "' in: " << result.Cause();
    }
    EXPECT_FALSE(PathExists(directory_ / "out"));
    ASSERT_OK_AND_ASSIGN(const std::vector<std::string> names, ListDirectory(directory_.path()));
    for (const std::string& name : names) {
      EXPECT_FALSE(absl::StartsWith(name, "out")) << name << " is left behind";
    }
  }

  TemporaryDirectory directory_;
  std::string text_;
};

TEST_F(ExportCli, EveryFileIsInTheListWithItsSum) {
  ASSERT_OK(MakeDirectories(directory_ / "out.tmp/left by a crash"));
  const ProcessResult result = Export("--format safetensors,parquet,onnx --onnx_external_mb 0");
  ASSERT_EQ(result.exit_status, 0) << result.err;
  const auto json = nlohmann::json::parse(*ReadFile(directory_ / "out/export.json"));
  std::vector<std::string> names;
  for (const auto& file : json["files"]) {
    names.push_back(file["file"]);
    const FileChecksum sum = *ChecksumFile(absl::StrCat(directory_ / "out/", names.back()));
    EXPECT_EQ(file["bytes"], sum.bytes);
    EXPECT_EQ(file["crc32c"], Crc32cToHex(sum.crc32c));
  }
  EXPECT_EQ(names.front(), "model.safetensors");
  EXPECT_EQ(names.back(), "model.onnx.data");
  EXPECT_EQ(names.size(), 3 + 7 + 1u) << "three files of whole models, seven tables, dense.parquet";
  EXPECT_EQ(json["step"], 14);
  const std::string card = *ReadFile(directory_ / "out/README.md");
  for (const char* part : {"step 14", "equal within 1e-5 on 40 rows", "auc_ctr", "probs_cvr",
                           "uid_emb", "| word | int64 | hash |"}) {
    EXPECT_TRUE(absl::StrContains(card, part)) << part << "\n" << card;
  }
  EXPECT_TRUE(PathExists(directory_ / "out/pipeline.config"));
  EXPECT_FALSE(PathExists(directory_ / "out/left by a crash"));
  const ProcessResult again = Export();
  EXPECT_EQ(again.exit_status, 1);
  EXPECT_TRUE(absl::StrContains(again.Cause(), "exists already")) << again.Cause();
}

TEST_F(ExportCli, InspectVerifiesItsFiles) {
  const auto verify = [&](const std::string& what) {
    return RunShell(absl::StrCat("$PEPNET inspect --verify ", directory_ / what));
  };
  ASSERT_EQ(Export("--format safetensors,parquet").exit_status, 0);
  for (const char* whole : {"out", "out/model.safetensors"}) {
    const ProcessResult result = verify(whole);
    EXPECT_EQ(result.exit_status, 0) << result.err;
    EXPECT_TRUE(absl::StrContains(result.out, "out: every file is as export.json says"))
        << result.out;
  }
  for (const char* file : {"model.safetensors", "dense.parquet"}) {
    const std::string path = absl::StrCat(directory_ / "out/", file);
    std::string bytes = *ReadFile(path);
    bytes[bytes.size() / 2] ^= 1;
    ASSERT_OK(WriteFileAtomically(path, bytes));
    const ProcessResult result = verify("out");
    EXPECT_EQ(result.exit_status, 1);
    EXPECT_TRUE(absl::StrContains(result.Cause(), absl::StrCat(file, ": expected crc32c")))
        << result.Cause();
    bytes[bytes.size() / 2] ^= 1;
    ASSERT_OK(WriteFileAtomically(path, bytes));
  }
  ASSERT_OK(RemoveTree(directory_ / "out"));
  ASSERT_EQ(Export("--format parquet").exit_status, 0);
  EXPECT_EQ(verify("out").exit_status, 0);
}

TEST_F(ExportCli, AssetFilesAreCopiedAndListed) {
  ASSERT_OK(WriteFileAtomically(directory_ / "words.txt", "red\n"));
  const std::string words = directory_ / "words.txt";
  ExpectRefused(Export("--asset_files " + (directory_ / "absent.txt")),
                {"--asset_files", "absent.txt is not a file"});
  ExpectRefused(Export(absl::StrCat("--asset_files ", words, ",", words)),
                {"has another file named words.txt"});
  ASSERT_OK(WriteFileAtomically(directory_ / "export.json", "{}"));
  ExpectRefused(Export("--asset_files " + (directory_ / "export.json")),
                {"has another file named export.json"});
  const ProcessResult result = Export("--asset_files " + words);
  ASSERT_EQ(result.exit_status, 0) << result.err;
  EXPECT_EQ(*ReadFile(directory_ / "out/words.txt"), "red\n");
  const auto json = nlohmann::json::parse(*ReadFile(directory_ / "out/export.json"));
  EXPECT_EQ(json["files"].back()["file"], "words.txt");
  EXPECT_EQ(json["files"].back()["bytes"], 4);
}

TEST_F(ExportCli, UnknownFormatsAreRefused) {
  ExpectRefused(Export("--format torchscript"),
                {"torchscript", "expected safetensors, parquet, onnx"});
  ExpectRefused(Export("--format onnx,onnx"), {"names onnx twice"});
}

TEST_F(ExportCli, BestTakesTheCheckpointWithTheBestEvaluation) {
  const std::string results = directory_ / "model/train_eval_result.txt";
  ASSERT_OK(WriteFileAtomically(
      results,
      "{\"global_step\":4,\"auc_ctr\":0.6}\n{\"global_step\":8,\"auc_ctr\":0.7}\n"
      "{\"global_step\":12,\"auc_ctr\":0.65}\n{\"global_step\":14,\"auc_ctr\":null}\n"));
  const std::string best =
      "export_config { exporter_type: 'best' best_exporter_metric: 'auc_ctr' } data_config {";
  WriteConfig(absl::StrReplaceAll(text_, {{"data_config {", best}}));
  ASSERT_EQ(Export().exit_status, 0);
  EXPECT_EQ(nlohmann::json::parse(*ReadFile(directory_ / "out/export.json"))["step"], 8);
  ASSERT_OK(RemoveTree(directory_ / "out"));
  ASSERT_EQ(Export("--checkpoint_path " + (directory_ / "model/model.ckpt-12")).exit_status, 0);
  EXPECT_EQ(nlohmann::json::parse(*ReadFile(directory_ / "out/export.json"))["step"], 12);
  ASSERT_OK(RemoveTree(directory_ / "out"));
  WriteConfig(absl::StrReplaceAll(
      text_,
      {{"data_config {",
        absl::StrReplaceAll(best, {{"auc_ctr'", "auc_ctr' metric_larger_is_better: false"}})}}));
  ASSERT_EQ(Export().exit_status, 0);
  EXPECT_EQ(nlohmann::json::parse(*ReadFile(directory_ / "out/export.json"))["step"], 4);
  ASSERT_OK(RemoveTree(directory_ / "out"));

  WriteConfig(absl::StrReplaceAll(
      text_, {{"data_config {", absl::StrReplaceAll(best, {{"auc_ctr", "auc"}})}}));
  ExpectRefused(Export(), {"best_exporter_metric: \"auc\"", "expected one of auc_ctr"});
  WriteConfig(absl::StrReplaceAll(text_, {{"data_config {", best}}));
  ASSERT_OK(RemoveTree(results));
  ExpectRefused(Export(), {"exporter_type is best", "--checkpoint_path"});
}

TEST_F(ExportCli, TheBestCheckpointOutlivesTheNewestOnes) {
  WriteConfig(absl::StrReplaceAll(
      text_,
      {{"data_config {",
        "export_config { exporter_type: 'best' best_exporter_metric: 'auc_ctr' } data_config {"}}));
  const std::string kept = directory_ / "kept";
  const std::string start = absl::StrCat(
      "$PEPNET train --pipeline_config_path ", directory_ / "job.config", " --model_dir ", kept,
      " --edit_config_json '{\"train_config.keep_checkpoint_max\": 1, ");
  const ProcessResult first =
      RunShell(start + "\"train_config.num_epochs\": 0, \"train_config.num_steps\": 2}'");
  ASSERT_EQ(first.exit_status, 0) << first.err;
  EXPECT_TRUE(absl::StrContains(first.err, "the newest 1 and the best are kept")) << first.err;
  // Step 2 was the best by far.
  ASSERT_OK(WriteFileAtomically(kept + "/train_eval_result.txt",
                                "{\"global_step\":2,\"auc_ctr\":2.5}\n"));
  const ProcessResult second =
      RunShell(start + "\"train_config.save_checkpoints_steps\": 4}' --continue_train");
  ASSERT_EQ(second.exit_status, 0) << second.err;
  EXPECT_EQ(*ListCheckpoints(kept), (std::vector<int64_t>{2, 14})) << second.err;

  const std::string from_kept =
      absl::StrCat("--edit_config_json '{\"model_dir\": \"", kept, "\"}'");
  const ProcessResult there = Export(from_kept);
  ASSERT_EQ(there.exit_status, 0) << there.err;
  EXPECT_TRUE(absl::StrContains(
      there.err, "step 2 was the best by auc_ctr (2.5000), and model.ckpt-2 is there"))
      << there.err;
  EXPECT_EQ(nlohmann::json::parse(*ReadFile(directory_ / "out/export.json"))["step"], 2);
  ASSERT_OK(RemoveTree(directory_ / "out"));
  ASSERT_OK(RemoveTree(kept + "/model.ckpt-2"));
  const ProcessResult gone = Export(from_kept);
  ASSERT_EQ(gone.exit_status, 0) << gone.err;
  EXPECT_TRUE(absl::StrContains(gone.err, "but model.ckpt-2 is not in")) << gone.err;
  EXPECT_EQ(nlohmann::json::parse(*ReadFile(directory_ / "out/export.json"))["step"], 14);
}

TEST_F(ExportCli, WithoutEvalDataItSaysThatNothingWasCompared) {
  const ProcessResult result = Export("--edit_config_json '{\"eval_input_path\": \"gone.csv\"}'");
  ASSERT_EQ(result.exit_status, 0) << result.err;
  EXPECT_TRUE(absl::StrContains(result.err, "not compared with eval")) << result.err;
  EXPECT_TRUE(
      absl::StrContains(*ReadFile(directory_ / "out/README.md"), "| compared with eval | no |"));
}

TEST_F(ExportCli, AWeightThatIsNotFiniteIsRefused) {
  // A row of the newest checkpoint, behind the checksums' back: --no_verify lets it through to the
  // export.
  const std::string checkpoint = *ResolveCheckpoint(directory_ / "model");
  const Manifest manifest = *ReadManifest(checkpoint);
  const PartEntry& part = manifest.parts.front();
  ASSERT_OK_AND_ASSIGN(auto reader, TablePartReader::Open(checkpoint, part));
  std::string value(part.dim * sizeof(float), '\0');
  ASSERT_OK(reader->Read(0, 1, [&](const RowColumns& rows) -> Status {
    std::memcpy(value.data(), rows.values.data(), value.size());
    return absl::OkStatus();
  }));
  std::string bytes = *ReadFile(absl::StrCat(checkpoint, "/", part.file));
  const size_t at = bytes.find(value);
  ASSERT_NE(at, std::string::npos);
  const float infinite = std::numeric_limits<float>::infinity();
  std::memcpy(bytes.data() + at, &infinite, sizeof(infinite));
  ASSERT_OK(WriteFileAtomically(absl::StrCat(checkpoint, "/", part.file), bytes));
  ExpectRefused(Export("--no_verify"), {part.table, "holds inf", "--checkpoint_path"});
  ExpectRefused(Export(), {part.file});
}

TEST_F(ExportCli, AFullDiskLeavesNothing) {
  ExpectRefused(
      RunShell(absl::StrCat("trap '' XFSZ\nulimit -f 16\n$PEPNET export --pipeline_config_path ",
                            directory_ / "job.config", " --export_dir ",
                            directory_ / "out --format parquet,onnx,safetensors")),
      {"out.tmp"});
}

}  // namespace
}  // namespace pepnet
