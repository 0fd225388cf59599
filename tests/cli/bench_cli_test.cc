// `pepnet bench` at tiny sizes: every subcommand runs, checks itself, and leaves a report that a
// program can read.
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "common/file/file.h"
#include "nlohmann/json.hpp"
#include "tests/support/golden.h"
#include "tests/support/process.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"
#include "worker/model/mixed_precision.h"

namespace pepnet {
namespace {

class BenchCliTest : public testing::Test {
 protected:
  // Runs `launcher pepnet bench arguments` and returns its report.
  nlohmann::json Bench(const std::string& arguments, const std::string& launcher = "") {
    const std::string report = directory_ / "report.json";
    const ProcessResult result = RunShell(absl::StrCat(launcher, " $PEPNET bench ", arguments,
                                                       " --quick --rounds 2 --json ", report));
    EXPECT_EQ(result.exit_status, 0) << result.err;
    const auto text = ReadFile(report);
    EXPECT_OK(text);
    const nlohmann::json json = nlohmann::json::parse(text.value_or("{}"), nullptr, false);
    EXPECT_FALSE(json.is_discarded());
    for (const nlohmann::json& row : json["rows"]) {
      EXPECT_EQ(row.size(), json["columns"].size());
      for (const auto& [name, cell] : row.items()) {
        if (!cell.is_object()) continue;
        EXPECT_LE(cell["least"], cell["median"]) << name;
        EXPECT_LE(cell["median"], cell["most"]) << name;
        EXPECT_GT(cell["median"], 0) << name;
      }
    }
    EXPECT_FALSE(json["limits"].empty());
    EXPECT_FALSE(json["checked"].empty());
    // The same rows on stdout, in words; the tables fit a terminal of 120 columns.
    for (const absl::string_view line : absl::StrSplit(result.out, '\n')) {
      const bool is_table = !absl::StartsWith(line, "bench ") && !absl::StrContains(line, ": ");
      EXPECT_TRUE(!is_table || line.size() <= 120) << line;
    }
    for (const nlohmann::json& column : json["columns"]) {
      EXPECT_NE(result.out.find(column["name"].get<std::string>()), std::string::npos) << column;
    }
    EXPECT_NE(result.out.find("checked: "), std::string::npos) << result.out;
    return json;
  }
  std::string Config(const std::string& golden_case) const {
    return absl::StrCat(" --pipeline_config_path ", GoldenPath(golden_case, "pipeline.config"));
  }
  std::string Data(const std::string& golden_case) const {
    return absl::StrCat(" --train_input_path ", GoldenPath(golden_case, "train.csv"));
  }

  TemporaryDirectory directory_;
};

TEST_F(BenchCliTest, Dense) {
  const auto json = Bench("dense --threads 1 --batch_sizes 7,32" + Config("multi_domain"));
  ASSERT_EQ(json["rows"].size(), 6u);
  EXPECT_EQ(json["rows"][0]["engine"], "reference");
  EXPECT_EQ(json["rows"][5]["batch"], 32);
  EXPECT_GT(json["limits"]["matrix peak beside batches of 32"]["value"], 0);
}

TEST_F(BenchCliTest, DenseWithBf16WhereTheCpuHasIt) {
  const auto json = Bench(R"(dense --device cpu --threads 1 --batch_sizes 32 --edit_config_json )"
                          R"('{"train_config.mixed_precision": "BF16"}')" +
                          Config("multi_domain"));
  ASSERT_EQ(json["rows"].size(), CpuHasBf16() ? 4u : 3u);
  EXPECT_EQ(json["rows"].back()["engine"], CpuHasBf16() ? "reference, BF16" : "fused");
}

TEST_F(BenchCliTest, Table) {
  const auto json = Bench("table --rows 2000,5001 --keys 500");
  ASSERT_EQ(json["rows"].size(), 2u);
  EXPECT_EQ(json["rows"][1]["table"], 5001);
  EXPECT_GE(json["rows"][0]["memory"], 128);
}

TEST_F(BenchCliTest, EveryPolicyOfADynamicTableBesideAFixedOne) {
  const auto json = Bench("policies --rows 2000,5001 --keys 500");
  ASSERT_EQ(json["rows"].size(), 14u);
  EXPECT_EQ(json["rows"][0]["policy"], "fixed");
  EXPECT_EQ(json["rows"][7]["table"], 5000);
  EXPECT_GT(json["rows"][8]["with new, of fixed"], 0);
  // Messages that end between a new id and the place of one that comes back.
  EXPECT_EQ(Bench("policies --rows 1000 --keys 25")["rows"].size(), 7u);
}

TEST_F(BenchCliTest, ServiceAsThreadsAndUnderMpirun) {
  EXPECT_EQ(Bench("service --rows 3000,5000 --keys 700")["settings"]["transport"], "threads");
  const auto json = Bench("service --rows 3000,5000 --keys 700", "$MPIRUN -n 2");
  EXPECT_EQ(json["settings"]["transport"], "MPI");
  EXPECT_EQ(json["rows"].size(), 2u);
}

TEST_F(BenchCliTest, AllreduceAsThreadsAndUnderMpirun) {
  EXPECT_EQ(Bench("allreduce --floats 1,1000 --workers 3")["rows"][1]["workers"], 3);
  EXPECT_EQ(Bench("allreduce --floats 1,1000", "$MPIRUN -n 3")["rows"][1]["workers"], 3);
}

TEST_F(BenchCliTest, SparseMeasuresEveryStageOfRowsBeingMadeAndOfRowsThatExist) {
  const auto json =
      Bench("sparse --threads 2 --batch_sizes 4,8" + Config("seq_pooling") + Data("seq_pooling"));
  ASSERT_EQ(json["rows"].size(), 12u);
  for (const char* stage : {"dedup: lookups", "find: rows", "pool: lookups", "scatter: lookups",
                            "update: rows", "all: rows"}) {
    EXPECT_EQ(std::count_if(json["rows"].begin(), json["rows"].end(),
                            [&](const nlohmann::json& row) { return row["stage"] == stage; }),
              2)
        << stage;
  }
  // No step can do less than the limit of "all" counts; its stages together take at least as long
  // as any of them.
  const auto &update = json["rows"][4], &all = json["rows"][5];
  EXPECT_GE(all["rows exist"]["median"], update["rows exist"]["median"]);
  EXPECT_LT(all["of the limit"], update["of the limit"]);
}

TEST_F(BenchCliTest, Reader) {
  const auto json =
      Bench("reader --batch_sizes 5 --num_workers 1,3" + Config("features") + Data("features"));
  ASSERT_EQ(json["rows"].size(), 2u);
  EXPECT_EQ(json["rows"][1]["decoding threads"], 3);
  // The first two of three workers, alone and together; bench itself compares their ids.
  const auto shared = Bench(
      "reader --batch_sizes 2 --num_workers 1 --workers 3 --local_workers 2 --share_reader off,on" +
      Config("features") + Data("features"));
  ASSERT_EQ(shared["rows"].size(), 2u);
  EXPECT_EQ(shared["rows"][0]["sharing"], "off");
  EXPECT_EQ(shared["rows"][1]["sharing"], "on");
  EXPECT_EQ(shared["rows"][0]["workers"], 3);
  EXPECT_EQ(shared["rows"][0]["decoded a row"], 1.0) << "of a CSV file only the own rows";
  EXPECT_GT(shared["rows"][0]["passed a row"], 0.5);
}

TEST_F(BenchCliTest, Checkpoint) {
  const auto json = Bench(absl::StrCat("checkpoint --rows 1000 --directory ", directory_.path()));
  ASSERT_EQ(json["rows"].size(), 1u);
  EXPECT_GE(json["rows"][0]["size"], 1000 * 128 * 1e-6);
  EXPECT_EQ(*ListDirectory(directory_.path()), (std::vector<std::string>{"report.json"}))
      << "it leaves nothing behind";
}

TEST_F(BenchCliTest, TrainInOneProcessAndUnderMpirun) {
  const std::string arguments =
      absl::StrCat("train --threads 1 --steps 3 --warmup_steps 1 --scratch_dir ",
                   directory_ / "model", Config("multi_domain"), Data("multi_domain"));
  const auto one = Bench(arguments + " --batch_sizes 4,8");
  ASSERT_EQ(one["rows"].size(), 2u);
  EXPECT_EQ(one["settings"]["workers"], "1");
  EXPECT_GT(one["rows"][0]["speed of a core"], 0);
  const auto four = Bench(arguments + " --batch_sizes 4 --num_servers 2", "$MPIRUN -n 4");
  ASSERT_EQ(four["rows"].size(), 1u);
  EXPECT_EQ(four["settings"]["workers"], "2");
  EXPECT_GE(four["rows"][0]["its work"], 1.0);  // of the slowest
  EXPECT_LE(four["rows"][0]["its work"], 2.0);
  const auto colocated =
      Bench(arguments + " --batch_sizes 4,8 --placement colocated", "$MPIRUN -n 2");
  ASSERT_EQ(colocated["rows"].size(), 2u);
  EXPECT_EQ(colocated["settings"]["workers"], "2");
  EXPECT_FALSE(PathExists(directory_ / "model"));
  // A directory that is there may hold someone's model.
  ASSERT_OK(MakeDirectories(directory_ / "model"));
  const ProcessResult refused =
      RunShell("$MPIRUN -n 4 $PEPNET bench " + arguments + " --quick --num_servers 2");
  EXPECT_NE(refused.exit_status, 0);
  EXPECT_NE(refused.err.find("exists; name a directory that does not"), std::string::npos)
      << refused.err;
  EXPECT_TRUE(PathExists(directory_ / "model"));
}

TEST_F(BenchCliTest, RefusesWhatItCannotMeasure) {
  auto cause = [](const std::string& command) {
    const ProcessResult result = RunShell(command);
    EXPECT_NE(result.exit_status, 0);
    return result.Cause();
  };
  EXPECT_EQ(cause("$PEPNET bench table --rows 10 --keys 20"),
            "pepnet: --rows 10 is less than --keys 20");
  EXPECT_EQ(cause("$PEPNET bench policies --rows 10 --keys 20"),
            "pepnet: --rows 10 is less than --keys 20");
  EXPECT_EQ(cause("$PEPNET bench checkpoint --directory nowhere"),
            "pepnet: --directory nowhere is not a directory");
  EXPECT_NE(cause("$MPIRUN -n 2 $PEPNET bench table").find("bench table runs as one process"),
            std::string::npos);
  EXPECT_NE(cause("$MPIRUN -n 3 $PEPNET bench service --rows 3000 --keys 10 --quick")
                .find("mpirun -n 2, not -n 3"),
            std::string::npos);
}

}  // namespace
}  // namespace pepnet
