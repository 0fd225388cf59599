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
std::vector<RankInfo> FourRanks() {
  std::vector<RankInfo> info(4);
  const char* roles[] = {"worker 0", "worker 1", "server 0", "server 1"};
  for (int r = 0; r < 4; ++r) {
    info[r].host = r % 2 == 0 ? "a" : "b";
    info[r].role = roles[r];
    info[r].program = r < 2 ? "pepnet" : "pepnet_ps";
    info[r].program_checksum = r < 2 ? "10 bytes, crc32c 00000001" : "5 bytes, crc32c 00000002";
    info[r].config_checksum = r < 2 ? "12345678" : "";
    info[r].cpu = r < 2 ? "x86-64 avx2" : "";
    info[r].libraries = {{"libmpi.so.40", "7 bytes"}};
    info[r].memory_bytes = 8'000'000'000;
    info[r].open_files = 1024;
    info[r].table_bytes = r < 2 ? 4e9 : 0;
  }
  return info;
}
std::string MessageOf(const std::vector<RankInfo>& info) {
  return std::string(CheckStart(info, TwoAndTwo()).status().message());
}

TEST(StartCheck, EqualRanksPassAndTheReportNamesHosts) {
  const StatusOr<StartReport> report = CheckStart(FourRanks(), TwoAndTwo());
  ASSERT_OK(report);
  EXPECT_THAT(
      report->lines,
      ElementsAre("host a: 1 worker(s), 1 server(s), 8.0 GB free, 2.0 GB if every table fills",
                  "host b: 1 worker(s), 1 server(s), 8.0 GB free, 2.0 GB if every table fills"));
  EXPECT_THAT(report->warnings, IsEmpty());
}

TEST(StartCheck, RanksThatWorkAndServeCountAsBoth) {
  Layout layout;
  layout.worker_ranks = layout.server_ranks = {0, 1, 2};
  layout.colocated = true;
  std::vector<RankInfo> info(3, FourRanks()[0]);  // 4 GB of tables
  info[2].host = "b";
  const StatusOr<StartReport> report = CheckStart(info, layout);
  ASSERT_OK(report);
  EXPECT_THAT(
      report->lines,
      ElementsAre("host a: 2 worker(s), 2 server(s), 8.0 GB free, 2.7 GB if every table fills",
                  "host b: 1 worker(s), 1 server(s), 8.0 GB free, 1.3 GB if every table fills"));
}

TEST(StartCheck, DifferentBuildsLibrariesAndConfigsAreNamed) {
  std::vector<RankInfo> info = FourRanks();
  info[3].program_checksum = "6 bytes, crc32c 00000003";
  EXPECT_THAT(MessageOf(info),
              AllOf(HasSubstr("rank 2 (server 0 on host a) and rank 3 (server 1 on host b)"),
                    HasSubstr("different builds of pepnet_ps (5 bytes, crc32c 00000002; 6 bytes")));
  info = FourRanks();
  info[1].libraries["libmpi.so.40"] = "8 bytes";
  EXPECT_THAT(MessageOf(info), HasSubstr("libmpi.so.40 has 7 bytes there and 8 bytes here"));
  info[1].libraries.clear();
  EXPECT_THAT(MessageOf(info), HasSubstr("is not loaded here"));
  info = FourRanks();
  info[1].libraries["libnccl.so.2"] = "300 bytes";
  EXPECT_THAT(MessageOf(info),
              HasSubstr("libnccl.so.2 is not loaded there and has 300 bytes here"));
  info = FourRanks();
  info[0].libraries["libnccl.so.2"] = "300 bytes";
  info[1].libraries["libnccl.so.2"] = "301 bytes";
  EXPECT_THAT(MessageOf(info), HasSubstr("libnccl.so.2 has 300 bytes there and 301 bytes here"));
  info = FourRanks();
  info[1].config_checksum = "87654321";
  EXPECT_THAT(MessageOf(info),
              AllOf(HasSubstr("rank 0 (worker 0 on host a) and rank 1 (worker 1 on host b)"),
                    HasSubstr("different configs or flags")));
}

TEST(StartCheck, TooFewFilesAreAnError) {
  std::vector<RankInfo> info = FourRanks();
  info[2].open_files = 100;
  EXPECT_THAT(
      MessageOf(info),
      HasSubstr("rank 2 (server 0 on host a) may open 100 files, a job of 4 ranks needs 136"));
  info[2].open_files = 0;  // unlimited
  EXPECT_EQ(MessageOf(info), "");
}

TEST(StartCheck, OtherCpusAndTooLittleMemoryAreWarnings) {
  std::vector<RankInfo> info = FourRanks();
  info[1].cpu = "x86-64 avx512f";
  info[3].memory_bytes = 1'000'000'000;
  info[1].memory_bytes = 1'000'000'000;
  const StatusOr<StartReport> report = CheckStart(info, TwoAndTwo());
  ASSERT_OK(report);
  EXPECT_THAT(report->warnings,
              ElementsAre(HasSubstr("x86-64 avx2; x86-64 avx512f"),
                          HasSubstr("host b has 1.0 GB free, its 1 server(s) will need 2.0 GB")));
}

TEST(StartCheck, ThisProcessKnowsItself) {
  const RankInfo info = InfoOfThisRank("worker 0", "config", "cpu");
  EXPECT_EQ(info.program, "start_check_test");
  EXPECT_THAT(info.program_checksum, HasSubstr(" bytes, crc32c "));
  EXPECT_GT(info.memory_bytes, 0);
  EXPECT_NE(info.config_checksum, InfoOfThisRank("worker 0", "another", "cpu").config_checksum);
}

TEST(StartCheck, EveryRankComesToTheSameVerdict) {
  std::vector<std::string> verdicts(4);
  const Status status = RunRanks(4, {}, [&](int rank, Transport* transport) -> Status {
    std::vector<RankInfo> info = FourRanks();
    info[1].config_checksum = "87654321";
    const StatusOr<StartReport> report = CheckStart(transport, TwoAndTwo(), info[rank]);
    verdicts[rank] = std::string(report.status().message());
    return absl::OkStatus();
  });
  ASSERT_OK(status);
  EXPECT_THAT(verdicts[0], HasSubstr("different configs"));
  for (const std::string& verdict : verdicts) EXPECT_EQ(verdict, verdicts[0]);
}

}  // namespace
}  // namespace pepnet
