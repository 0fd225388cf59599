#include "common/health/start_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/net/in_process.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// Ranks 0, 1 work, ranks 2, 3 serve; hosts a and b have one of each.
Layout TwoAndTwo() {
  Layout layout;
  layout.worker_ranks = {0, 1};
  layout.server_ranks = {2, 3};
  return layout;
}
std::vector<RankFacts> FourRanks() {
  std::vector<RankFacts> facts(4);
  const char* roles[] = {"worker 0", "worker 1", "server 0", "server 1"};
  for (int r = 0; r < 4; ++r) {
    facts[r].host = r % 2 == 0 ? "a" : "b";
    facts[r].role = roles[r];
    facts[r].program = r < 2 ? "pepnet" : "pepnet_ps";
    facts[r].program_sum = r < 2 ? "10 bytes, crc32c 00000001" : "5 bytes, crc32c 00000002";
    facts[r].config_sum = r < 2 ? "12345678" : "";
    facts[r].cpu = r < 2 ? "x86-64 avx2" : "";
    facts[r].libraries = {{"libmpi.so.40", "7 bytes"}};
    facts[r].memory_bytes = 8'000'000'000;
    facts[r].open_files = 1024;
    facts[r].table_bytes = r < 2 ? 4e9 : 0;
  }
  return facts;
}
std::string MessageOf(const std::vector<RankFacts>& facts) {
  return std::string(JudgeStart(facts, TwoAndTwo()).status().message());
}

TEST(StartCheck, EqualRanksPassAndTheReportNamesHosts) {
  const StatusOr<StartReport> report = JudgeStart(FourRanks(), TwoAndTwo());
  ASSERT_OK(report);
  EXPECT_THAT(report->lines, ElementsAre("host a: 1 worker(s), 1 server(s), 8.0 GB free, 2.0 GB if every table fills",
                                         "host b: 1 worker(s), 1 server(s), 8.0 GB free, 2.0 GB if every table fills"));
  EXPECT_THAT(report->warnings, IsEmpty());
}

TEST(StartCheck, RanksThatWorkAndServeCountAsBoth) {
  Layout layout;
  layout.worker_ranks = layout.server_ranks = {0, 1, 2};
  layout.colocated = true;
  std::vector<RankFacts> facts(3, FourRanks()[0]);  // 4 GB of tables
  facts[2].host = "b";
  const StatusOr<StartReport> report = JudgeStart(facts, layout);
  ASSERT_OK(report);
  EXPECT_THAT(report->lines, ElementsAre("host a: 2 worker(s), 2 server(s), 8.0 GB free, 2.7 GB if every table fills",
                                         "host b: 1 worker(s), 1 server(s), 8.0 GB free, 1.3 GB if every table fills"));
}

TEST(StartCheck, DifferentBuildsLibrariesAndConfigsAreNamed) {
  std::vector<RankFacts> facts = FourRanks();
  facts[3].program_sum = "6 bytes, crc32c 00000003";
  EXPECT_THAT(MessageOf(facts), AllOf(HasSubstr("rank 2 (server 0 on host a) and rank 3 (server 1 on host b)"),
                                      HasSubstr("different builds of pepnet_ps (5 bytes, crc32c 00000002; 6 bytes")));
  facts = FourRanks();
  facts[1].libraries["libmpi.so.40"] = "8 bytes";
  EXPECT_THAT(MessageOf(facts), HasSubstr("libmpi.so.40 has 7 bytes there and 8 bytes here"));
  facts[1].libraries.clear();
  EXPECT_THAT(MessageOf(facts), HasSubstr("is not loaded here"));
  facts = FourRanks();
  facts[1].libraries["libnccl.so.2"] = "300 bytes";
  EXPECT_THAT(MessageOf(facts), HasSubstr("libnccl.so.2 is not loaded there and has 300 bytes here"));
  facts = FourRanks();
  facts[0].libraries["libnccl.so.2"] = "300 bytes";
  facts[1].libraries["libnccl.so.2"] = "301 bytes";
  EXPECT_THAT(MessageOf(facts), HasSubstr("libnccl.so.2 has 300 bytes there and 301 bytes here"));
  facts = FourRanks();
  facts[1].config_sum = "87654321";
  EXPECT_THAT(MessageOf(facts), AllOf(HasSubstr("rank 0 (worker 0 on host a) and rank 1 (worker 1 on host b)"),
                                      HasSubstr("different configs or flags")));
}

TEST(StartCheck, TooFewFilesAreAnError) {
  std::vector<RankFacts> facts = FourRanks();
  facts[2].open_files = 100;
  EXPECT_THAT(MessageOf(facts),
              HasSubstr("rank 2 (server 0 on host a) may open 100 files, a job of 4 ranks needs 136"));
  facts[2].open_files = 0;  // unlimited
  EXPECT_EQ(MessageOf(facts), "");
}

TEST(StartCheck, OtherCpusAndTooLittleMemoryAreWarnings) {
  std::vector<RankFacts> facts = FourRanks();
  facts[1].cpu = "x86-64 avx512f";
  facts[3].memory_bytes = 1'000'000'000;
  facts[1].memory_bytes = 1'000'000'000;
  const StatusOr<StartReport> report = JudgeStart(facts, TwoAndTwo());
  ASSERT_OK(report);
  EXPECT_THAT(report->warnings, ElementsAre(HasSubstr("x86-64 avx2; x86-64 avx512f"),
                                            HasSubstr("host b has 1.0 GB free, its 1 server(s) will need 2.0 GB")));
}

TEST(StartCheck, ThisProcessKnowsItself) {
  const RankFacts facts = FactsOfThisRank("worker 0", "config", "cpu");
  EXPECT_EQ(facts.program, "start_check_test");
  EXPECT_THAT(facts.program_sum, HasSubstr(" bytes, crc32c "));
  EXPECT_GT(facts.memory_bytes, 0);
  EXPECT_NE(facts.config_sum, FactsOfThisRank("worker 0", "another", "cpu").config_sum);
}

TEST(StartCheck, EveryRankComesToTheSameVerdict) {
  std::vector<std::string> verdicts(4);
  const Status status = RunRanks(4, {}, [&](int rank, Transport* transport) -> Status {
    std::vector<RankFacts> facts = FourRanks();
    facts[1].config_sum = "87654321";
    const StatusOr<StartReport> report = CheckStart(transport, TwoAndTwo(), facts[rank]);
    verdicts[rank] = std::string(report.status().message());
    return absl::OkStatus();
  });
  ASSERT_OK(status);
  EXPECT_THAT(verdicts[0], HasSubstr("different configs"));
  for (const std::string& verdict : verdicts) EXPECT_EQ(verdict, verdicts[0]);
}

}  // namespace
}  // namespace pepnet
