// predict's promises to scripts: part files, columns, reserved columns, and what it never touches.
#include <arrow/api.h>
#include <arrow/io/file.h>
#include <gtest/gtest.h>
#include <parquet/arrow/reader.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/file/file.h"
#include "tests/support/golden_job.h"
#include "tests/support/process.h"
#include "tests/support/random_job.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace pepnet {
namespace {

std::shared_ptr<arrow::Table> ReadPart(const std::string& path) {
  auto file = arrow::io::ReadableFile::Open(path);
  EXPECT_OK(file) << path;
  auto reader = parquet::arrow::OpenFile(*file, arrow::default_memory_pool());
  EXPECT_OK(reader) << path;
  return *(*reader)->ReadTable();
}

class PredictCli : public ::testing::Test {
 protected:
  void SetUp() override {
    RandomJobOptions options;
    options.files = 1;
    options.rows = 23;
    options.num_epochs = 1;
    ASSERT_OK(
        WriteFileAtomically(directory_ / "job.config", WriteRandomJob(directory_.path(), options)));
    ASSERT_EQ(
        RunShell("$PEPNET train --pipeline_config_path " + (directory_ / "job.config")).exit_status,
        0);
  }

  ProcessResult Predict(const std::string& flags, const std::string& launch = "") {
    return RunShell(absl::StrCat(launch, " $PEPNET predict --pipeline_config_path ",
                                 directory_ / "job.config ", flags));
  }
  std::string Paths(const std::string& input = "train-0.csv") {
    return absl::StrCat("--predict_input_path ", directory_ / input, " --predict_output_path ",
                        directory_ / "out ");
  }

  TemporaryDirectory directory_;
};

TEST_F(PredictCli, PartsInNameOrderAreTheInputOrderAndReplaceOlderOnes) {
  const ProcessResult two =
      Predict(Paths() + "--reserved_columns uid,word --num_servers=1", "$MPIRUN -n 3");
  ASSERT_EQ(two.exit_status, 0) << two.err;
  const auto first = ReadPart(directory_ / "out/part-00000.parquet"),
             second = ReadPart(directory_ / "out/part-00001.parquet");
  EXPECT_EQ(first->num_rows() + second->num_rows(), 23);
  EXPECT_EQ(first->schema()->field_names(),
            (std::vector<std::string>{"logits_ctr", "logits_cvr", "probs_ctr", "probs_cvr", "uid",
                                      "word"}));
  EXPECT_TRUE(second->schema()->Equals(first->schema()));

  const ProcessResult one = Predict(Paths() + "--output_columns probs_cvr --overwrite");
  ASSERT_EQ(one.exit_status, 0) << one.err;
  const auto whole = ReadPart(directory_ / "out/part-00000.parquet");
  EXPECT_EQ(whole->num_rows(), 23);
  EXPECT_EQ(whole->schema()->field_names(), std::vector<std::string>{"probs_cvr"});
  EXPECT_FALSE(PathExists(directory_ / "out/part-00001.parquet"))
      << "a part of more workers must not stay behind";
}

TEST_F(PredictCli, WithoutAConfigThatOfTheTrainingIsTaken) {
  // As the training took it, with its edits; the file that it was made of may be gone.
  const std::string model = directory_ / "edited";
  const ProcessResult trained =
      RunShell(absl::StrCat("$PEPNET train ", directory_ / "job.config", " --model_dir ", model,
                            " --set 'feature_configs[0].id_feature.embedding_name=\"renamed\"'"));
  ASSERT_EQ(trained.exit_status, 0) << trained.err;
  EXPECT_TRUE(absl::StrContains(trained.err,
                                absl::StrCat("pepnet predict (eval, export) --model_dir ", model)))
      << trained.err;
  ASSERT_EQ(RunShell("rm " + (directory_ / "job.config")).exit_status, 0);
  const ProcessResult predicted =
      RunShell(absl::StrCat("$PEPNET predict --model_dir ", model, " ", Paths()));
  ASSERT_EQ(predicted.exit_status, 0) << predicted.err;
  EXPECT_EQ(ReadPart(directory_ / "out/part-00000.parquet")->num_rows(), 23);
}

TEST_F(PredictCli, StepsAndTheKindOfFilesAreFlags) {
  const ProcessResult some = Predict(Paths() + "--batch_size 4 --predict_steps 2");
  ASSERT_EQ(some.exit_status, 0) << some.err;
  EXPECT_EQ(ReadPart(directory_ / "out/part-00000.parquet")->num_rows(), 8);
  const ProcessResult wrong = Predict(Paths() + "--overwrite --dataset_type ParquetDataset");
  EXPECT_EQ(wrong.exit_status, 1) << wrong.err;
  const ProcessResult unknown = Predict(Paths() + "--overwrite --dataset_type Csv");
  EXPECT_EQ(unknown.exit_status, 1);
  EXPECT_NE(unknown.Cause().find("--dataset_type: \"Csv\"; expected"), std::string::npos)
      << unknown.Cause();
  const ProcessResult right = Predict(Paths() + "--overwrite --dataset_type CsvDataset");
  ASSERT_EQ(right.exit_status, 0) << right.err;
  EXPECT_EQ(ReadPart(directory_ / "out/part-00000.parquet")->num_rows(), 23);
}

TEST_F(PredictCli, AWorkerWithoutRowsWritesAnEmptyPartWithTheSameColumns) {
  const std::string text = *ReadFile(directory_ / "train-0.csv");
  const size_t header = text.find('\n'), row = text.find('\n', header + 1);
  ASSERT_OK(WriteFileAtomically(directory_ / "one.csv", text.substr(0, row + 1)));
  const ProcessResult result =
      Predict(Paths("one.csv") + "--reserved_columns uid --num_servers=1", "$MPIRUN -n 3");
  ASSERT_EQ(result.exit_status, 0) << result.err;
  const auto first = ReadPart(directory_ / "out/part-00000.parquet"),
             second = ReadPart(directory_ / "out/part-00001.parquet");
  EXPECT_EQ(first->num_rows() + second->num_rows(), 1);
  EXPECT_TRUE(second->schema()->Equals(first->schema())) << second->schema()->ToString();
}

TEST_F(PredictCli, CsvHasAHeaderAndTheRowsOfParquet) {
  ASSERT_EQ(Predict(Paths() + "--writer_type CsvWriter --reserved_columns ALL_COLUMNS").exit_status,
            0);
  const std::string text = *ReadFile(directory_ / "out/part-00000.csv");
  EXPECT_TRUE(absl::StartsWith(
      text,
      "logits_ctr,logits_cvr,probs_ctr,probs_cvr,clk,buy,uid,iid,hist,tags,word,dom,price,"
      "score,click__iid,click__age\n"));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 24);
}

TEST_F(PredictCli, LabelColumnsAreNotNeeded) {
  std::string text = *ReadFile(directory_ / "train-0.csv");
  text.replace(0, 8, "a,b,");  // the columns clk and buy under other names
  ASSERT_OK(WriteFileAtomically(directory_ / "unlabelled.csv", text));
  const ProcessResult result = Predict(Paths("unlabelled.csv"));
  EXPECT_EQ(result.exit_status, 0) << result.err;
}

TEST_F(PredictCli, TheInputIsNeverWrittenOver) {
  const std::string before = *ReadFile(directory_ / "train-0.csv");
  const ProcessResult result =
      Predict(absl::StrCat("--predict_input_path ", directory_ / "train-0.csv",
                           " --predict_output_path ", directory_.path()));
  EXPECT_EQ(result.exit_status, 1);
  EXPECT_TRUE(absl::StrContains(result.Cause(), "train-0.csv")) << result.err;
  EXPECT_EQ(*ReadFile(directory_ / "train-0.csv"), before);
}

TEST_F(PredictCli, AFailedPredictionLeavesTheEarlierOne) {
  ASSERT_EQ(Predict(Paths()).exit_status, 0);
  const std::string before = *ReadFile(directory_ / "out/part-00000.parquet");
  ASSERT_OK(AppendToFile(directory_ / "train-0.csv", "0,0,50,1,1,1:1,w1,0,3.5,0.5,3;4,0.5;1\n"));
  EXPECT_EQ(Predict(Paths() + "--overwrite").exit_status, 1);
  EXPECT_EQ(*ReadFile(directory_ / "out/part-00000.parquet"), before);
  EXPECT_EQ(ListDirectory(directory_ / "out")->size(), 2u) << "the part and the manifest";
  EXPECT_TRUE(absl::StrContains(*ReadFile(directory_ / "out/_pepnet_prediction.json"),
                                "\"complete\": true"));
}

// The golden case with towers for 3 domains, whose domain column no feature reads: it may be
// missing.
class OwnDomainCli : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string config = *ReadFile(GoldenPath("multi_domain", "pipeline.config"));
    const size_t at = config.find("context:dom");
    ASSERT_NE(at, std::string::npos);
    config.replace(at, 11, "context:place");
    ASSERT_OK(WriteFileAtomically(directory_ / "job.config", config));
    const std::string data = *ReadFile(GoldenPath("multi_domain", "train.csv"));
    std::string with, without, wrong;
    for (const absl::string_view line : absl::StrSplit(data, '\n', absl::SkipEmpty())) {
      const std::vector<std::string> cells = absl::StrSplit(line, ',');
      ASSERT_EQ(cells.size(), 6u);
      const bool is_header = cells[4] == "dom";
      if (!is_header) domains_.push_back(std::stoi(cells[4]));
      const std::string others =
          absl::StrJoin({cells[0], cells[1], cells[2], cells[3], cells[5]}, ",");
      const std::string place = is_header ? "place" : cells[4];
      absl::StrAppend(&with, others, ",", place, ",", cells[4], "\n");
      absl::StrAppend(&without, others, ",", place, "\n");
      absl::StrAppend(&wrong, others, ",", place, ",",
                      is_header              ? "dom"
                      : domains_.size() == 3 ? "3"
                                             : cells[4],
                      "\n");
    }
    ASSERT_OK(WriteFileAtomically(directory_ / "with.csv", with));
    ASSERT_OK(WriteFileAtomically(directory_ / "without.csv", without));
    ASSERT_OK(WriteFileAtomically(directory_ / "wrong.csv", wrong));
    const ProcessResult imported = RunShell(absl::StrCat(
        "$PEPNET import --pipeline_config_path ", directory_ / "job.config", " --model_dir ",
        directory_ / "model", " --weights ", GoldenPath("multi_domain", "init.safetensors")));
    ASSERT_EQ(imported.exit_status, 0) << imported.err;
  }

  ProcessResult Predict(const std::string& input, const std::string& flags = "",
                        const std::string& launch = "") {
    return RunShell(absl::StrCat(
        launch, " $PEPNET predict --pipeline_config_path ", directory_ / "job.config",
        " --checkpoint_path ", directory_ / "model", " --predict_input_path ", directory_ / input,
        " --predict_output_path ", directory_ / "out --overwrite ", flags));
  }
  std::vector<float> Column(const std::string& name) const {
    std::vector<float> values;
    const StatusOr<std::vector<std::string>> parts = ListDirectory(directory_ / "out");
    EXPECT_OK(parts);
    for (const std::string& part : *parts) {
      if (!absl::EndsWith(part, ".parquet")) continue;
      const auto column =
          ReadPart(absl::StrCat(directory_ / "out", "/", part))->GetColumnByName(name);
      if (column == nullptr) return {};
      for (const auto& chunk : column->chunks()) {
        const auto& floats = static_cast<const arrow::FloatArray&>(*chunk);
        for (int64_t i = 0; i < floats.length(); ++i) values.push_back(floats.Value(i));
      }
    }
    return values;
  }

  TemporaryDirectory directory_;
  std::vector<int> domains_;  // by row
};

TEST_F(OwnDomainCli, TheValueIsThatOfTheColumnThatTheRowsDomainNames) {
  for (const char* launch : {"", "$MPIRUN -n 3"}) {
    const ProcessResult result = Predict("with.csv", *launch == 0 ? "" : "--num_servers=1", launch);
    ASSERT_EQ(result.exit_status, 0) << result.err;
    for (const std::string stem : {"probs_ctr", "logits_ctr", "probs_cvr", "logits_cvr"}) {
      const std::vector<float> own = Column(stem);
      ASSERT_EQ(own.size(), domains_.size()) << stem;
      std::vector<std::vector<float>> all;
      for (int d = 0; d < 3; ++d) all.push_back(Column(absl::StrCat(stem, "_", d)));
      for (size_t row = 0; row < own.size(); ++row) {
        EXPECT_EQ(own[row], all[domains_[row]][row]) << stem << " of row " << row;  // the same bits
        EXPECT_NE(own[row], all[(domains_[row] + 1) % 3][row]) << stem << " of row " << row;
      }
    }
  }
}

TEST_F(OwnDomainCli, WithoutTheColumnThereAreTheOutputsOfEveryDomainAlone) {
  const ProcessResult result = Predict("without.csv");
  ASSERT_EQ(result.exit_status, 0) << result.err;
  EXPECT_TRUE(absl::StrContains(
      result.err, "the input has no column 'dom' (domain_input_name), so no output is chosen"))
      << result.err;
  EXPECT_EQ(Column("probs_ctr_0").size(), domains_.size());
  EXPECT_TRUE(Column("probs_ctr").empty());
  const ProcessResult asked = Predict("without.csv", "--output_columns probs_ctr");
  EXPECT_EQ(asked.exit_status, 1);
  EXPECT_TRUE(absl::StrContains(asked.Cause(), "the input has no column 'dom'")) << asked.Cause();
}

TEST_F(OwnDomainCli, ADomainOutOfRangeIsAnErrorUnlessNoOutputIsChosenByIt) {
  const ProcessResult wrong = Predict("wrong.csv");
  EXPECT_EQ(wrong.exit_status, 1);
  EXPECT_TRUE(absl::StrContains(wrong.Cause(), "row 3, column 'dom'")) << wrong.Cause();
  EXPECT_TRUE(absl::StrContains(wrong.Cause(), "must be an integer from 0 to 2")) << wrong.Cause();
  const ProcessResult unread = Predict("wrong.csv", "--output_columns probs_ctr_1");
  EXPECT_EQ(unread.exit_status, 0) << unread.err;
}

TEST_F(OwnDomainCli, ExportsSayWhatTheyCannotChoose) {
  const std::string config =
      absl::StrCat("$PEPNET export --pipeline_config_path ", directory_ / "job.config",
                   " --model_dir ", directory_ / "model --export_dir ", directory_ / "ex ");
  const ProcessResult format = RunShell(config + "--own_domain");
  EXPECT_EQ(format.exit_status, 1);
  EXPECT_TRUE(absl::StrContains(format.Cause(), "--own_domain is of model.onnx")) << format.Cause();
}

}  // namespace
}  // namespace pepnet
