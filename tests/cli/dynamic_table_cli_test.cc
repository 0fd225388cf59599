// A table whose ids come and go, through the command line: trained, resumed, inspected, evaluated
// and exported.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/safetensors.h"
#include "tests/support/cli_job.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string SoleIdsTensor(const std::string& path) {
  const auto reader = SafetensorsReader::Open(path);
  std::string found;
  for (const auto& [name, info] : (*reader)->tensors()) {
    if (info.dtype == "I64") found = name;
  }
  return found;
}

// Copies a file of tensors with other ids; without them where `change` says false.
void CopyTensors(const std::string& from, const std::string& to,
                 const std::function<bool(std::vector<int64_t>*)>& change) {
  ASSERT_OK_AND_ASSIGN(const auto reader, SafetensorsReader::Open(from));
  const std::string ids_name = SoleIdsTensor(from);
  ASSERT_OK_AND_ASSIGN(std::vector<int64_t> ids, reader->ReadIntegers(ids_name));
  const bool keeps_ids = change(&ids);
  std::vector<SafetensorsWriter::Declaration> declarations;
  for (const auto& [name, info] : reader->tensors()) {
    if (name != ids_name || keeps_ids) declarations.push_back({name, info.dtype, info.shape});
  }
  ASSERT_OK_AND_ASSIGN(const auto writer, SafetensorsWriter::Create(to, declarations));
  for (const auto& declaration : declarations) {
    if (declaration.name == ids_name) {
      ASSERT_OK(writer->Append(ids.data(), ids.size() * sizeof(int64_t)));
      continue;
    }
    ASSERT_OK_AND_ASSIGN(const std::vector<float> values, reader->ReadFloats(declaration.name));
    ASSERT_OK(writer->Append(values.data(), values.size() * sizeof(float)));
  }
  ASSERT_OK(writer->Finish().status());
}

class DynamicTableCli : public ::testing::Test {
 protected:
  DynamicTableCli() : job_(Options()) {}
  static RandomJobOptions Options() {
    RandomJobOptions options = LivingTableJob();
    options.word_rows += " data_type: 'BF16'";
    options.batch_size = 8;
    options.sparse_optimizer = "adagrad_optimizer { lr: 0.05 }";
    return options;
  }
  void Train(const std::string& start, const std::string& model, const std::string& flags = "") {
    const ProcessResult result =
        job_.Run(start, "train", model, absl::StrCat("--seed=3 --verbose ", flags));
    ASSERT_EQ(result.exit_status, 0) << result.err;
    log_ = result.err;
  }
  std::string Newest(const std::string& model) const { return *ResolveCheckpoint(job_ / model); }

  CliJob job_;
  std::string log_;
};

TEST_F(DynamicTableCli, ServersAndStopsDoNotChangeWhichRowsThereAre) {
  Train("$PEPNET", "one");
  EXPECT_THAT(log_, HasSubstr("word_emb: grows, expected 1024 rows x 4 BF16"));
  EXPECT_THAT(
      log_,
      HasSubstr(
          "an id gets its row in step 2 of those that name it, admitted with probability 0.9, rows "
          "expire when 25 steps have not named them, rows expire 1200 s of event time after the "
          "last step "
          "that named them, at most 1024 rows: rows named in the fewest steps leave first"));
  EXPECT_THAT(log_, HasSubstr("\"lifecycle\":{\"word_emb\":{\"admitted\":"));
  EXPECT_THAT(
      log_,
      HasSubstr("event time: the latest of column time; a step moves it on by 86400 s at most"));
  EXPECT_THAT(log_, HasSubstr("event time: 16000"));
  Train("$MPIRUN -n 4 $PEPNET", "three", "--num_servers=3");
  Train("$PEPNET", "halves",
        "--edit_config_json '{\"train_config.num_epochs\": 0, \"train_config.num_steps\": 40}'");
  Train("$MPIRUN -n 3 $PEPNET", "halves", "--num_servers=2 --continue_train");
  EXPECT_EQ(job_.Difference("one", "three"), "");
  EXPECT_EQ(job_.Difference("one", "halves"), "");
}

TEST_F(DynamicTableCli, InspectShowsCandidatesAndWhatAPolicyWouldTakeOut) {
  Train("$PEPNET", "model");
  const std::string path = Newest("model");
  const ProcessResult summary = RunShell(absl::StrCat("$PEPNET inspect ", path));
  EXPECT_THAT(summary.out, HasSubstr(" candidates, ids without a row yet"));
  const ProcessResult verified = RunShell(absl::StrCat("$PEPNET inspect --verify ", path));
  EXPECT_EQ(verified.exit_status, 0) << verified.err;
  const ProcessResult what_if =
      RunShell(absl::StrCat("$PEPNET inspect --what_if ttl_steps=5 --table word_emb ", path));
  ASSERT_EQ(what_if.exit_status, 0) << what_if.err;
  EXPECT_THAT(what_if.out, HasSubstr("what if: rows expire when 5 steps have not named them"));
  EXPECT_THAT(what_if.out, HasSubstr("by steps since the last that named them:"));
  const ProcessResult json = RunShell(
      absl::StrCat("$PEPNET inspect --json --what_if ttl_steps=5 --table word_emb ", path));
  const auto tables = nlohmann::json::parse(json.out);
  EXPECT_GT(tables[0]["expired"]["rows"], 0);
  EXPECT_LT(tables[0]["expired"]["rows"], tables[0]["all"]["rows"]);
  const ProcessResult by_time = RunShell(
      absl::StrCat("$PEPNET inspect --json --what_if ttl_seconds=600 --table word_emb ", path));
  ASSERT_EQ(by_time.exit_status, 0) << by_time.err;
  EXPECT_GT(nlohmann::json::parse(by_time.out)[0]["all"]["rows"], 0);
  const ProcessResult wrong = RunShell(absl::StrCat("$PEPNET inspect --what_if rows=5 ", path));
  EXPECT_EQ(wrong.exit_status, 1);
  EXPECT_THAT(wrong.Cause(), HasSubstr("\"rows=5\"; expected name=value"));
}

TEST_F(DynamicTableCli, ClicksAreCountedShownAndWeighed) {
  CliJob scored([] {
    RandomJobOptions options = ScoredTableJob();
    options.batch_size = 8;
    return options;
  }());
  const ProcessResult trained = scored.Run("$PEPNET", "train", "model", "--seed=3 --verbose");
  ASSERT_EQ(trained.exit_status, 0) << trained.err;
  EXPECT_THAT(trained.err, HasSubstr("a step counts 0.2, with a positive clk 1 more"));
  const std::string path = *ResolveCheckpoint(scored / "model");
  const ProcessResult verified = RunShell(absl::StrCat("$PEPNET inspect --verify ", path));
  EXPECT_EQ(verified.exit_status, 0) << verified.err;
  // A row that is there, by its id.
  ASSERT_OK_AND_ASSIGN(const Manifest manifest, ReadManifest(path));
  int64_t id = 0;
  float clicks = -1;
  for (const PartEntry& part : manifest.parts) {
    if (!part.counts_clicks) continue;
    ASSERT_OK_AND_ASSIGN(const auto reader, TablePartReader::Open(path, part));
    ASSERT_OK(reader->Read(0, part.rows, [&](const RowColumns& rows) {
      for (size_t i = 0; i < rows.ids.size(); ++i) {
        const float here = part.ClicksOf(rows, i);
        EXPECT_LE(here, rows.frequency[i]);
        if (here > clicks) id = rows.ids[i], clicks = here;
      }
      return absl::OkStatus();
    }));
  }
  ASSERT_GT(clicks, 1);
  const ProcessResult row =
      RunShell(absl::StrCat("$PEPNET inspect --table word_emb --id ", id, " ", path));
  EXPECT_THAT(row.out, HasSubstr(absl::StrCat(", ", clicks, " with a positive label"))) << row.err;
  const ProcessResult what_if = RunShell(absl::StrCat(
      "$PEPNET inspect --what_if "
      "max_rows=1024,eviction=SCORE,half_life_steps=5,show_weight=0.2,click_weight=1 --table "
      "word_emb ",
      path));
  EXPECT_EQ(what_if.exit_status, 0) << what_if.err;
  EXPECT_THAT(what_if.out, HasSubstr("a step counts 0.2, with a positive click label 1 more"));
}

TEST_F(DynamicTableCli, ReadersLeaveTheTableAlone) {
  Train("$PEPNET", "model");
  const std::string before = Newest("model");
  const ProcessResult eval = job_.Run("$PEPNET", "eval", "model");
  EXPECT_EQ(eval.exit_status, 0) << eval.err;
  const ProcessResult predict =
      job_.Run("$PEPNET", "predict", "model",
               absl::StrCat("--predict_input_path '", job_ / "train-0.csv",
                            "' --predict_output_path ", job_ / "predictions"));
  EXPECT_EQ(predict.exit_status, 0) << predict.err;
  const auto run_export = [&](const std::string& flags) {
    return RunShell(absl::StrCat("$PEPNET export --pipeline_config_path ", job_ / "job.config",
                                 " --model_dir ", job_ / "model", " --export_dir ", job_ / "export",
                                 flags));
  };
  const ProcessResult exported = run_export(" --format safetensors,parquet,onnx");
  EXPECT_EQ(exported.exit_status, 0) << exported.err;
  EXPECT_EQ(Newest("model"), before);
  EXPECT_EQ(RunShell(absl::StrCat("$PEPNET inspect --verify ", before)).exit_status, 0);
}

// An export that was imported predicts what the checkpoint does, of ids with rows and of ids
// without.
TEST_F(DynamicTableCli, ExportedRowsCanBeImported) {
  Train("$PEPNET", "model");
  const std::string config = absl::StrCat(" --pipeline_config_path ", job_ / "job.config");
  const ProcessResult exported =
      RunShell(absl::StrCat("$PEPNET export", config, " --model_dir ", job_ / "model",
                            " --export_dir ", job_ / "export"));
  ASSERT_EQ(exported.exit_status, 0) << exported.err;
  const std::string weights = job_ / "export/model.safetensors";
  const ProcessResult imported = RunShell(absl::StrCat(
      "$PEPNET import --seed 3", config, " --weights ", weights, " --model_dir ", job_ / "other"));
  ASSERT_EQ(imported.exit_status, 0) << imported.err;
  const auto predict = [&](const std::string& model) {
    const std::string out = absl::StrCat(job_ / "predicted-", model);
    const ProcessResult result =
        job_.Run("$PEPNET", "predict", model,
                 absl::StrCat("--predict_input_path '", job_ / "train-0.csv",
                              "' --predict_output_path ", out));
    EXPECT_EQ(result.exit_status, 0) << result.err;
    return RunShell(absl::StrCat("cat ", out, "/part-*")).out;
  };
  EXPECT_EQ(predict("model"), predict("other"));
  Train("$PEPNET", "other", "--continue_train");

  const std::string ids = SoleIdsTensor(weights);
  for (const auto& [name, change, words] : std::vector<
           std::tuple<std::string, std::function<bool(std::vector<int64_t>*)>, std::string>>{
           {"twice",
            [](std::vector<int64_t>* of_rows) { return (of_rows->at(1) = of_rows->at(0), true); },
            " twice"},
           {"least",
            [](std::vector<int64_t>* of_rows) { return (of_rows->at(1) = INT64_MIN, true); },
            "expected -9223372036854775807 to"},
           {"none", [](std::vector<int64_t>*) { return false; }, "holds no tensor " + ids}}) {
    CopyTensors(weights, job_ / name, change);
    const ProcessResult refused =
        RunShell(absl::StrCat("$PEPNET import", config, " --weights ", job_ / name, " --model_dir ",
                              job_ / "model-", name));
    EXPECT_EQ(refused.exit_status, 1);
    EXPECT_THAT(refused.Cause(), HasSubstr(words));
  }
}

TEST_F(DynamicTableCli, APolicyMayChangeBetweenRuns) {
  const std::string table = "feature_configs[4].id_feature.dynamic_table.";
  Train("$PEPNET", "model", "--edit_config_json '{\"train_config.num_epochs\": 1}'");
  Train("$PEPNET", "model",
        absl::StrCat("--continue_train --edit_config_json '{\"", table,
                     "admit_after_steps\": 1, \"", table, "ttl_steps\": 3}'"));
  EXPECT_THAT(log_, Not(HasSubstr("of those that name it")));
  EXPECT_THAT(RunShell(absl::StrCat("$PEPNET inspect ", Newest("model"))).out,
              Not(HasSubstr("candidates, ids")));
}

TEST_F(DynamicTableCli, TheTypeOfValuesMayChangeBetweenRuns) {
  const auto edit = [](const std::string& type, int epochs) {
    return absl::StrCat("--edit_config_json '{\"feature_configs[4].id_feature.data_type\": \"",
                        type, "\", \"train_config.num_epochs\": ", epochs, "}'");
  };
  Train("$PEPNET", "model", edit("FP32", 1));
  Train("$PEPNET", "model", absl::StrCat("--continue_train ", edit("BF16", 2)));
  EXPECT_THAT(log_,
              HasSubstr("table word_emb kept values in FP32 in the checkpoint and keeps BF16 now"));
  EXPECT_THAT(log_, HasSubstr("rows were not exact in BF16; they are rounded to nearest"));
  EXPECT_THAT(RunShell(absl::StrCat("$PEPNET inspect ", Newest("model"))).out,
              HasSubstr("word_emb: values kept in BF16, 24 bytes per row with state on a server"));
  Train("$PEPNET", "model", absl::StrCat("--continue_train ", edit("FP32", 3)));
  EXPECT_THAT(log_,
              HasSubstr("table word_emb kept values in BF16 in the checkpoint and keeps FP32 now"));
  EXPECT_THAT(log_, Not(HasSubstr("rounded to nearest")));
  EXPECT_THAT(RunShell(absl::StrCat("$PEPNET inspect ", Newest("model"))).out,
              Not(HasSubstr("values kept in")));
}

TEST_F(DynamicTableCli, TheTypeOfTheStateMayChangeBetweenRuns) {
  const auto edit = [](const std::string& type, int epochs) {
    return absl::StrCat(
        "--edit_config_json '{\"train_config.sparse_optimizer.state_data_type\": \"", type,
        "\", \"train_config.num_epochs\": ", epochs, "}'");
  };
  Train("$PEPNET", "model", edit("FP32", 1));
  Train("$PEPNET", "model", absl::StrCat("--continue_train ", edit("BF16", 2)));
  EXPECT_THAT(log_, HasSubstr("MiB with optimizer state in BF16"));
  EXPECT_THAT(log_,
              HasSubstr("table word_emb kept state in FP32 in the checkpoint and keeps BF16 now"));
  EXPECT_THAT(log_,
              testing::ContainsRegex("table word_emb: the state of [0-9]+ of [0-9]+ rows were not "
                                     "exact in BF16; they are rounded to nearest"));
  EXPECT_THAT(RunShell(absl::StrCat("$PEPNET inspect ", Newest("model"))).out,
              HasSubstr("word_emb: values kept in BF16, state in BF16, 16 bytes per row with state "
                        "on a server"));
  Train("$PEPNET", "model", absl::StrCat("--continue_train ", edit("FP32", 3)));
  EXPECT_THAT(log_,
              HasSubstr("table word_emb kept state in BF16 in the checkpoint and keeps FP32 now"));
  EXPECT_THAT(log_, Not(HasSubstr("rounded to nearest")));
}

}  // namespace
}  // namespace pepnet
