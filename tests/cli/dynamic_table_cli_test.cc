// A table whose ids come and go, through the command line: trained, resumed, inspected, evaluated and exported.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/checkpoint/checkpoint.h"
#include "tests/support/cli_job.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class DynamicTableCli : public ::testing::Test {
 protected:
  DynamicTableCli() : job_(Options()) {}
  static RandomJobOptions Options() {
    RandomJobOptions options = LivingTableJob();
    options.batch_size = 8;
    options.sparse_optimizer = "adagrad_optimizer { lr: 0.05 }";
    return options;
  }
  void Train(const std::string& start, const std::string& model, const std::string& flags = "") {
    const ProcessResult result = job_.Run(start, "train", model, absl::StrCat("--seed=3 --verbose ", flags));
    ASSERT_EQ(result.exit_status, 0) << result.err;
    log_ = result.err;
  }
  std::string Newest(const std::string& model) const { return *ResolveCheckpoint(job_ / model); }

  CliJob job_;
  std::string log_;
};

TEST_F(DynamicTableCli, ServersAndStopsDoNotChangeWhichRowsThereAre) {
  Train("$PEPNET", "one");
  EXPECT_THAT(log_, HasSubstr("word_emb: grows, expected 1024 rows x 4"));
  EXPECT_THAT(log_,
              HasSubstr("an id gets its row in step 2 of those that name it, admitted with probability 0.9, rows "
                        "expire when 25 steps have not named them, at most 1024 rows: rows named in the fewest steps "
                        "leave first"));
  EXPECT_THAT(log_, HasSubstr("\"lifecycle\":{\"word_emb\":{\"admitted\":"));
  Train("$MPIRUN -n 4 $PEPNET", "three", "--num_servers=3");
  Train("$PEPNET", "halves", "--edit_config_json '{\"train_config.num_epochs\": 0, \"train_config.num_steps\": 40}'");
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
  const ProcessResult what_if = RunShell(absl::StrCat("$PEPNET inspect --what_if ttl_steps=5 --table word_emb ", path));
  ASSERT_EQ(what_if.exit_status, 0) << what_if.err;
  EXPECT_THAT(what_if.out, HasSubstr("what if: rows expire when 5 steps have not named them"));
  EXPECT_THAT(what_if.out, HasSubstr("by steps since the last that named them:"));
  const ProcessResult json =
      RunShell(absl::StrCat("$PEPNET inspect --json --what_if ttl_steps=5 --table word_emb ", path));
  const auto tables = nlohmann::json::parse(json.out);
  EXPECT_GT(tables[0]["expired"]["rows"], 0);
  EXPECT_LT(tables[0]["expired"]["rows"], tables[0]["all"]["rows"]);
  const ProcessResult wrong = RunShell(absl::StrCat("$PEPNET inspect --what_if rows=5 ", path));
  EXPECT_EQ(wrong.exit_status, 1);
  EXPECT_THAT(wrong.Cause(), HasSubstr("\"rows=5\"; expected name=value"));
}

TEST_F(DynamicTableCli, ReadersLeaveTheTableAlone) {
  Train("$PEPNET", "model");
  const std::string before = Newest("model");
  const ProcessResult eval = job_.Run("$PEPNET", "eval", "model");
  EXPECT_EQ(eval.exit_status, 0) << eval.err;
  const ProcessResult predict = job_.Run(
      "$PEPNET", "predict", "model",
      absl::StrCat("--predict_input_path '", job_ / "train-0.csv", "' --predict_output_path ", job_ / "predictions"));
  EXPECT_EQ(predict.exit_status, 0) << predict.err;
  const auto run_export = [&](const std::string& flags) {
    return RunShell(absl::StrCat("$PEPNET export --pipeline_config_path ", job_ / "job.config", " --model_dir ",
                                 job_ / "model", " --export_dir ", job_ / "export", flags));
  };
  const ProcessResult dense = run_export("");
  EXPECT_EQ(dense.exit_status, 1);
  EXPECT_THAT(dense.Cause(), HasSubstr("export it with --format parquet"));
  const ProcessResult parquet = run_export(" --format parquet");
  EXPECT_EQ(parquet.exit_status, 0) << parquet.err;
  EXPECT_EQ(Newest("model"), before);
  EXPECT_EQ(RunShell(absl::StrCat("$PEPNET inspect --verify ", before)).exit_status, 0);
}

TEST_F(DynamicTableCli, APolicyMayChangeBetweenRuns) {
  const std::string table = "feature_configs[4].id_feature.dynamic_table.";
  Train("$PEPNET", "model", "--edit_config_json '{\"train_config.num_epochs\": 1}'");
  Train("$PEPNET", "model",
        absl::StrCat("--continue_train --edit_config_json '{\"", table, "admit_after_steps\": 1, \"", table,
                     "ttl_steps\": 3}'"));
  EXPECT_THAT(log_, Not(HasSubstr("of those that name it")));
  EXPECT_THAT(RunShell(absl::StrCat("$PEPNET inspect ", Newest("model"))).out, Not(HasSubstr("candidates, ids")));
}

}  // namespace
}  // namespace pepnet
