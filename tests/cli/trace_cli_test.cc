// --trace_path: a job's trace can be read by a program and holds every stage of every rank.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "absl/strings/match.h"
#include "common/file/file.h"
#include "nlohmann/json.hpp"
#include "tests/support/cluster.h"
#include "tests/support/process.h"
#include "tests/support/random_job.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using testing::IsSupersetOf;

class TraceCliTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(
        WriteFileAtomically(directory_ / "job.config", WriteRandomJob(directory_.path(), {})));
  }
  ProcessResult Train(const std::string& launcher, const std::string& flags,
                      int threads = 1) const {
    return RunShell(absl::StrCat(launcher, " $PEPNET train --pipeline_config_path ",
                                 directory_ / "job.config --threads ", threads, " ", flags));
  }
  // Names of the complete events of a trace, by thread; checks what every event must have.
  std::map<std::string, std::set<std::string>> Names(const std::string& path, int rank) const {
    const auto text = ReadFile(path);
    EXPECT_OK(text);
    std::map<int, std::string> threads;
    std::map<std::string, std::set<std::string>> names;
    const nlohmann::json trace = nlohmann::json::parse(text.value_or("{\"traceEvents\": []}"));
    for (const auto& event : trace["traceEvents"]) {
      EXPECT_EQ(event["pid"], rank);
      if (event["ph"] == "M") {
        if (event["name"] == "thread_name") threads[event["tid"]] = event["args"]["name"];
        continue;
      }
      EXPECT_EQ(event["ph"], "X");
      EXPECT_GT(event["ts"].get<double>(), 1e15);  // microseconds since 1970
      EXPECT_GE(event["dur"].get<double>(), 0);
      names[threads.at(event["tid"])].insert(event["name"].get<std::string>());
    }
    return names;
  }

  // Those of all threads whose name begins with `prefix`: on a busy machine one of them may do all
  // the work.
  static std::set<std::string> NamesOf(const std::map<std::string, std::set<std::string>>& names,
                                       const std::string& prefix) {
    std::set<std::string> all;
    for (const auto& [thread, of_thread] : names) {
      if (absl::StartsWith(thread, prefix)) all.insert(of_thread.begin(), of_thread.end());
    }
    return all;
  }

  const std::vector<std::string> kStages = {
      "read",     "wait for rows", "agree", "dedup",     "pull",   "pool",       "forward",
      "backward", "compute",       "push",  "allreduce", "update", "checkpoint", "eval"};
  TemporaryDirectory directory_;
};

TEST_F(TraceCliTest, OneProcessShowsWorkerServersAndReaders) {
  const ProcessResult result =
      Train("", "--num_servers 2 --trace_path " + (directory_ / "trace.json"));
  ASSERT_EQ(result.exit_status, 0) << result.err;
  const auto names = Names(directory_ / "trace.json", 0);
  EXPECT_THAT(names.at("worker"), IsSupersetOf(kStages));
  for (const char* server : {"server-0", "server-1"}) {
    EXPECT_THAT(names.at(server), testing::UnorderedElementsAre("answer pull", "apply step"));
  }
  EXPECT_THAT(NamesOf(names, "read-"), testing::Contains("read file"));
  EXPECT_THAT(names.at("save"), testing::UnorderedElementsAre("write rows"));
}

TEST_F(TraceCliTest, ComputingThreadsComputeAtTheSameTime) {
  const ProcessResult result =
      Train("", "--trace_path " + (directory_ / "trace.json"), /*threads=*/3);
  ASSERT_EQ(result.exit_status, 0) << result.err;
  const auto names = Names(directory_ / "trace.json", 0);
  EXPECT_THAT(NamesOf(names, "compute-"), IsSupersetOf({"forward", "backward"}));
}

TEST_F(TraceCliTest, EveryRankOfMpirunWritesItsOwn) {
  const ProcessResult result =
      Train("$MPIRUN -n 4",
            "--num_servers 2 --dense_engine reference --trace_path " + (directory_ / "trace.json"));
  ASSERT_EQ(result.exit_status, 0) << result.err;
  EXPECT_FALSE(PathExists(directory_ / "trace.json"));
  for (int rank = 0; rank < 4; ++rank) {
    std::set<std::string> all;
    for (const auto& [thread, names] :
         Names(directory_ / absl::StrCat("trace-", rank, ".json"), rank)) {
      all.insert(names.begin(), names.end());
    }
    if (rank < 2) {
      EXPECT_THAT(all, IsSupersetOf(kStages)) << "rank " << rank;
    } else {
      EXPECT_THAT(all, testing::UnorderedElementsAre("answer pull", "apply step", "write rows"))
          << "rank " << rank;
    }
  }
}

TEST_F(TraceCliTest, AFileThatCannotBeWrittenEndsTheJobBeforeItStarts) {
  const ProcessResult result = Train("", "--trace_path /nowhere/trace.json");
  EXPECT_NE(result.exit_status, 0);
  EXPECT_THAT(result.Cause(), testing::StartsWith("pepnet: --trace_path: "));
  EXPECT_FALSE(PathExists(directory_ / "model"));
}

}  // namespace
}  // namespace pepnet
