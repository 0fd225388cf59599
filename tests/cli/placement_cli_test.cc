// --placement=colocated with real processes: ranks that work and serve end in the bits of dedicated
// servers, one rank is named with both of its roles, and what does not fit together is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "absl/strings/str_cat.h"
#include "common/checkpoint/checkpoint.h"
#include "common/file/file.h"
#include "nlohmann/json.hpp"
#include "tests/support/cli_job.h"

namespace pepnet {
namespace {

using testing::HasSubstr;

RandomJobOptions Options() {
  RandomJobOptions options;
  options.batch_size = 4;
  options.num_epochs = 8;
  options.sparse_optimizer = "adagrad_optimizer { lr: 0.05 }";
  return options;
}

class PlacementCli : public testing::Test {
 protected:
  void Train(const std::string& start, const std::string& model, const std::string& flags) const {
    const ProcessResult result = job_.Run(start, "train", model, flags);
    ASSERT_EQ(result.exit_status, 0) << result.err;
  }

  const CliJob job_{Options()};
};

TEST_F(PlacementCli, RanksThatServeAsWellEndInTheBitsOfDedicatedServers) {
  Train("$MPIRUN -n 5 $PEPNET", "dedicated", "--num_servers=2");
  Train("$MPIRUN -n 2 $PEPNET_PS : -n 3 $PEPNET", "torch_free", "");
  Train("$MPIRUN -n 3 $PEPNET", "colocated", "--placement=colocated");
  Train("$MPIRUN -n 3 $PEPNET", "counted",
        "--placement=colocated --num_servers=3 --inject delay:max_ms=3,seed=2");
  for (const char* other : {"torch_free", "colocated", "counted"}) {
    EXPECT_EQ(job_.Difference("dedicated", other), "") << other;
    EXPECT_EQ(*ReadFile(job_ / "dedicated/train_eval_result.txt"),
              *ReadFile(job_ / other + "/train_eval_result.txt"))
        << other;
    EXPECT_EQ(job_.Report(other)["status"], "done") << other;
  }
  std::set<std::string> parts;
  const Manifest manifest = *ReadManifest(*ResolveCheckpoint(job_ / "colocated"));
  for (const PartEntry& part : manifest.parts) parts.insert(part.file);
  EXPECT_THAT(parts, testing::Contains(HasSubstr("part-00002-of-00003")))
      << "three ranks must have served";
}

TEST_F(PlacementCli, OneProcessIsItsOwnServerAnyway) {
  Train("$MPIRUN -n 2 $PEPNET", "dedicated", "--num_servers=1");
  for (const char* start : {"$PEPNET", "$MPIRUN -n 1 $PEPNET"}) {
    const std::string model = absl::StrCat("one", std::string(start).size());
    const ProcessResult one =
        job_.Run(start, "train", model, "--placement=colocated --num_servers=2");
    ASSERT_EQ(one.exit_status, 0) << one.err;
    EXPECT_THAT(one.err, HasSubstr("--placement=colocated changes nothing here"));
    EXPECT_EQ(job_.Difference("dedicated", model), "");
  }
}

TEST_F(PlacementCli, EvalAndPredictServeFromTheirOwnRanks) {
  Train("$PEPNET", "model", "");
  const ProcessResult dedicated =
      job_.Run("$MPIRUN -n 4 $PEPNET", "eval", "model", "--num_servers=1");
  const ProcessResult colocated =
      job_.Run("$MPIRUN -n 3 $PEPNET", "eval", "model", "--placement=colocated");
  ASSERT_EQ(colocated.exit_status, 0) << colocated.err;
  EXPECT_THAT(colocated.out, HasSubstr("auc_ctr"));
  EXPECT_EQ(colocated.out, dedicated.out);

  const ProcessResult predicted =
      job_.Run("$MPIRUN -n 3 $PEPNET", "predict", "model",
               absl::StrCat("--placement=colocated --predict_input_path '", job_ / "train-*.csv",
                            "' --predict_output_path ", job_ / "scores"));
  ASSERT_EQ(predicted.exit_status, 0) << predicted.err;
  for (int part = 0; part < 3; ++part) {
    EXPECT_TRUE(PathExists(job_ / absl::StrCat("scores/part-0000", part, ".parquet"))) << part;
  }
}

TEST_F(PlacementCli, TheTraceShowsTheServerBesideTheWorker) {
  Train("$MPIRUN -n 2 $PEPNET", "model",
        absl::StrCat("--placement=colocated --trace_path ", job_ / "trace.json"));
  for (int rank = 0; rank < 2; ++rank) {
    const nlohmann::json trace =
        nlohmann::json::parse(*ReadFile(job_ / absl::StrCat("trace-", rank, ".json")));
    std::map<int, std::string> threads;
    std::map<std::string, std::set<std::string>> names;
    for (const auto& event : trace["traceEvents"]) {
      if (event["ph"] == "M" && event["name"] == "thread_name") {
        threads[event["tid"]] = event["args"]["name"];
      }
    }
    for (const auto& event : trace["traceEvents"]) {
      if (event["ph"] == "X") names[threads[event["tid"]]].insert(event["name"].get<std::string>());
    }
    EXPECT_THAT(names[absl::StrCat("server-", rank)],
                testing::UnorderedElementsAre("answer pull", "apply step"));
    EXPECT_THAT(names["pepnet"], testing::IsSupersetOf({"pull", "push"}));
  }
}

class PlacementFailure : public PlacementCli {
 protected:
  static constexpr char kLong[] =
      " --timeout_s=4 --edit_config_json '{\"train_config.num_epochs\": 200}' "
      "--placement=colocated ";
};

TEST_F(PlacementFailure, ARankThatHangsIsNamedWithBothOfItsRoles) {
  const ProcessResult result = job_.Run("$MPIRUN -n 3 $PEPNET", "train", "model",
                                        absl::StrCat(kLong, "--inject stop:rank=1,step=25"));
  EXPECT_NE(result.exit_status, 0);
  ASSERT_NE(result.exit_status, 124) << result.err;
  const nlohmann::json report = job_.Report("model");
  EXPECT_EQ(report["first_cause"]["looks"], "hung") << report.dump(1);
  EXPECT_EQ(report["first_cause"]["rank"], 1) << report.dump(1);
  EXPECT_EQ(report["first_cause"]["role"], "worker 1 and server 1") << report.dump(1);
  ASSERT_EQ(report["ranks"].size(), 3u);
  EXPECT_TRUE(report["ranks"][0].contains("server_open_wait")) << report.dump(1);
  EXPECT_THAT(result.Cause(), HasSubstr("rank 1 (worker 1 and server 1 on host "));
}

// All waits of the job are in the end for what worker 1 does not send: those of the others for its
// sums, those of all servers for its push, and its own for rows that wait for that push.
TEST_F(PlacementFailure, ARankThatFallsBehindIsSlow) {
  const ProcessResult result =
      job_.Run("$MPIRUN -n 3 $PEPNET", "train", "model",
               absl::StrCat(kLong, "--inject 'delay:rank=1,max_ms=60000,seed=2,step=25'"));
  EXPECT_NE(result.exit_status, 0);
  ASSERT_NE(result.exit_status, 124) << result.err;
  const nlohmann::json report = job_.Report("model");
  EXPECT_EQ(report["first_cause"]["looks"], "slow") << report.dump(1);
  EXPECT_EQ(report["first_cause"]["rank"], 1) << report.dump(1);
}

TEST_F(PlacementFailure, AServerThatCannotWriteEndsTheJobWithItsName) {
  const ProcessResult result =
      job_.Run("$MPIRUN -n 3 $PEPNET", "train", "model",
               absl::StrCat(kLong, "--inject 'fail-write:nth=1,rank=1,path=tables'"));
  EXPECT_NE(result.exit_status, 0);
  ASSERT_NE(result.exit_status, 124) << result.err;
  EXPECT_THAT(result.Cause(), testing::AllOf(HasSubstr("server 1"), HasSubstr("tables")));
  EXPECT_EQ(job_.Report("model")["first_cause"]["looks"], "failed") << job_.Report("model").dump(1);
}

TEST_F(PlacementCli, WhatDoesNotFitTogetherIsRefused) {
  const auto cause = [&](const std::string& start, const std::string& flags) {
    const ProcessResult result = job_.Run(start, "train", "model", flags);
    EXPECT_NE(result.exit_status, 0);
    return result.Cause();
  };
  EXPECT_THAT(
      cause("$MPIRUN -n 3 $PEPNET", "--placement=colocated --num_servers=2"),
      HasSubstr(
          "--num_servers=2 with --placement=colocated: each of the 3 ranks works and serves"));
  EXPECT_THAT(cause("$MPIRUN -n 1 $PEPNET_PS : -n 2 $PEPNET", "--placement=colocated"),
              HasSubstr("but 1 pepnet_ps ranks were started"));
  const ProcessResult misspelt = job_.Run("$PEPNET", "train", "model", "--placement=beside");
  EXPECT_NE(misspelt.exit_status, 0);
  EXPECT_THAT(misspelt.err, HasSubstr("--placement"));
  EXPECT_FALSE(PathExists(job_ / "model"));
}

}  // namespace
}  // namespace pepnet
