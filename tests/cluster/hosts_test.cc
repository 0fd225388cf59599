// A cluster of three hosts (network namespaces: scripts/dev/netns_cluster.sh) with real links: the
// run over the hosts is the run on one machine, a host that drops out ends the job with a sentence,
// the restarted job ends in the same bits, and what passes the links is what the wire formats say.
// Skipped, with the reason, where the hosts cannot be made.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/checkpoint/checkpoint.h"
#include "common/file/file.h"
#include "tests/support/cluster.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/random_job.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

class Hosts : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    Script("down");  // what a killed run of this test left behind
    const ProcessResult up = Script("up 3");
    if (up.exit_status != 0) reason_ = absl::StrCat("the hosts cannot be made here: ", up.err);
  }
  static void TearDownTestSuite() { Script("down"); }

  void SetUp() override {
    if (!reason_.empty()) GTEST_SKIP() << reason_;
    RandomJobOptions options;
    options.rows = 301;
    options.batch_size = 4;
    options.num_epochs = 20;
    ASSERT_OK(
        WriteFileAtomically(directory_ / "job.config", WriteRandomJob(directory_.path(), options)));
  }
  static ProcessResult Script(const std::string& arguments) {
    return RunShell(absl::StrCat("PEPNET_CLUSTER=peptst PEPNET_SUBNET=10.78.0 ", SourceDir(),
                                 "/scripts/dev/netns_cluster.sh ", arguments));
  }
  std::string Job(const std::string& model_dir, const std::string& flags) const {
    return absl::StrCat("train --pipeline_config_path ", directory_ / "job.config",
                        " --threads=1 --seed=3 --model_dir ", directory_ / model_dir,
                        " --edit_config_json '{\"train_config.save_checkpoints_steps\": 40}' ",
                        flags);
  }
  // Workers on h1 and h2, two servers on h3 and one on h2.
  static std::string OverHosts(const std::string& job) {
    return absl::StrCat("run -q -n 6 --host h1:2,h2:2,h3:2 -- $PEPNET ", job, " --num_servers=3");
  }
  std::string Difference(const std::string& a, const std::string& b) const {
    return CheckpointDifference(*ResolveCheckpoint(directory_ / a),
                                *ResolveCheckpoint(directory_ / b));
  }

  static std::string reason_;
  TemporaryDirectory directory_;
};
std::string Hosts::reason_;

TEST_F(Hosts, TheRunOverThreeHostsIsTheRunOnOne) {
  const ProcessResult here =
      RunShell(absl::StrCat("$MPIRUN -n 4 $PEPNET ", Job("here", "--num_servers=1")));
  ASSERT_EQ(here.exit_status, 0) << here.err;
  const ProcessResult spread = Script(OverHosts(Job("spread", "")));
  ASSERT_EQ(spread.exit_status, 0) << spread.err;
  EXPECT_EQ(Difference("here", "spread"), "");
  EXPECT_EQ(*ReadFile(directory_ / "here/train_eval_result.txt"),
            *ReadFile(directory_ / "spread/train_eval_result.txt"));
}

TEST_F(Hosts, AHostThatDropsOutEndsTheJobAndTheRestartLosesNothing) {
  const ProcessResult undisturbed =
      RunShell(absl::StrCat("$MPIRUN -n 4 $PEPNET ", Job("undisturbed", "--num_servers=1")));
  ASSERT_EQ(undisturbed.exit_status, 0) << undisturbed.err;

  // The plug of h3 (two servers) is pulled behind the first checkpoint. mpirun itself waits for the
  // lost host for ever, so it is ended once its ranks have spoken.
  const std::string cluster = absl::StrCat("PEPNET_CLUSTER=peptst PEPNET_SUBNET=10.78.0 ",
                                           SourceDir(), "/scripts/dev/netns_cluster.sh ");
  const ProcessResult cut = RunShell(absl::StrCat(
      cluster, OverHosts(Job("cut", "--timeout_s=3 --inject delay:max_ms=5,seed=1")), " 2> ",
      directory_ / "cut.err", " & job=$!\nfor i in $(seq 600); do [ -e ", directory_ / "cut",
      "/model.ckpt-40/manifest.json ] && break; sleep 0.02; done\n", cluster,
      "link h3 down\nsleep 8\nkill -9 $job\nwait $job\n", cluster, "link h3 up\ncat ",
      directory_ / "cut.err", " >&2"));
  // Whatever comes first: the deadline of a pull, or the end of the heartbeats.
  EXPECT_THAT(cut.err, testing::ContainsRegex(
                           "pepnet: .*rank [45].*(waited 3\\..* s for rows of step|hangs)"));
  // The ranks that were cut off end as well: nobody holds model_dir any more.
  const ProcessResult resumed = Script(OverHosts(Job("cut", "--continue_train")));
  ASSERT_EQ(resumed.exit_status, 0) << resumed.err << cut.err;
  EXPECT_EQ(Difference("undisturbed", "cut"), "");
}

// Ranks that work and serve, one on each host, move the rows of two workers' ids over the links as
// dedicated servers do.
TEST_F(Hosts, OneColocatedRankOnEachHostEndsInTheSameBits) {
  const ProcessResult here =
      RunShell(absl::StrCat("$MPIRUN -n 5 $PEPNET ", Job("here", "--num_servers=2")));
  ASSERT_EQ(here.exit_status, 0) << here.err;
  const ProcessResult spread = Script(absl::StrCat("run -q -n 3 --host h1,h2,h3 -- $PEPNET ",
                                                   Job("spread", "--placement=colocated")));
  ASSERT_EQ(spread.exit_status, 0) << spread.err;
  EXPECT_EQ(Difference("here", "spread"), "");
}

// ---- traffic ------------------------------------------------------------------------------------

// Every batch has kBatch users, no two alike, and all of kDomains domains: the sizes of all
// messages are known.
constexpr int kBatch = 2000, kDomains = 3, kUserWidth = 32, kDomainWidth = 4;
constexpr char kTrafficConfig[] = R"(
eval_input_path: ""
train_config {
  sparse_optimizer { sgd_optimizer { lr: 0.1 } constant_learning_rate {} }
  dense_optimizer { sgd_optimizer { lr: 0.01 } constant_learning_rate {} }
  log_step_count_steps: 1000
}
data_config { batch_size: 2000 dataset_type: CsvDataset with_header: true fg_mode: FG_DAG label_fields: ["clk"] }
feature_configs { id_feature { feature_name: "uid" expression: "user:uid" num_buckets: 40000 embedding_dim: 32 } }
feature_configs { id_feature { feature_name: "dom" expression: "context:dom" num_buckets: 3 embedding_dim: 4 } }
model_config {
  feature_groups { group_name: "all" feature_names: ["uid"] group_type: DEEP }
  feature_groups { group_name: "domain" feature_names: ["dom"] group_type: DEEP }
  feature_groups { group_name: "uia" feature_names: ["uid"] group_type: DEEP }
  pepnet {
    epnet_hidden_unit: 16
    ppnet_hidden_units: [64, 32]
    task_towers { tower_name: "ctr" label_name: "clk" mlp { hidden_units: [16] } losses { binary_cross_entropy {} } }
  }
}
)";

struct Traffic {
  double sent = 0, received = 0;  // bytes inside the TCP connections
};

class HostsTraffic : public Hosts {
 protected:
  // The traffic of each host's link so far. Ethernet, IP and TCP (with its timestamps) take 14 +
  // 20 + 32 bytes of a packet, however large it is here (a virtual link does not cut what the
  // sender has put together).
  static std::map<std::string, Traffic> Carried() {
    constexpr double kPacketHeader = 66;
    std::istringstream lines(Script("traffic").out);
    std::map<std::string, Traffic> carried;
    double sent, received, packets_sent, packets_received;
    for (std::string host; lines >> host >> sent >> received >> packets_sent >> packets_received;) {
      carried[host] = {sent - kPacketHeader * packets_sent,
                       received - kPacketHeader * packets_received};
    }
    return carried;
  }
  // Trains `steps` steps, worker 0 on h1, worker 1 on h2, the server on h3; adds what each link
  // carried to *traffic.
  std::string Run(int steps, std::map<std::string, Traffic>* traffic) const {
    const std::map<std::string, Traffic> before = Carried();
    const ProcessResult run = Script(absl::StrCat(
        "run -q -n 3 --host h1,h2,h3 -- $PEPNET train --num_servers=1 --threads=1 --verbose "
        "--pipeline_config_path ",
        directory_ / "traffic.config", " --train_input_path ", directory_ / "traffic.csv",
        " --model_dir ", directory_ / absl::StrCat("steps", steps),
        " --edit_config_json '{\"train_config.num_steps\": ", steps, "}'"));
    EXPECT_EQ(run.exit_status, 0) << run.err;
    for (const auto& [host, now] : Carried()) {
      (*traffic)[host] = {now.sent - before.at(host).sent, now.received - before.at(host).received};
    }
    return run.err;
  }
  // The number in front of `words` in a log.
  static double NumberBefore(const std::string& log, const std::string& words) {
    const size_t end = log.find(words);
    if (end == std::string::npos) return -1;
    return std::stod(log.substr(log.rfind(' ', end - 1) + 1));
  }
};

TEST_F(HostsTraffic, EachLinkCarriesWhatTheFormatsSay) {
  std::string rows = "clk,uid,dom\n";
  for (int row = 0; row < 40000; ++row) {
    absl::StrAppend(&rows, row % 5 == 0, ",", row, ",", row % kDomains, "\n");
  }
  ASSERT_OK(WriteFileAtomically(directory_ / "traffic.csv", rows));
  ASSERT_OK(WriteFileAtomically(directory_ / "traffic.config", kTrafficConfig));
  constexpr int kFew = 5, kMany = 45;
  std::map<std::string, Traffic> few, many;
  Run(kFew, &few);
  const std::string log = Run(kMany, &many);

  // common/net/message.h and packing.h: a frame is 64 bytes and its body; a pull's counts and short
  // ids, rows and gradients.
  const double pull = 64 + 2 * 4 + 4.0 * (kBatch + kDomains);
  const double values = 64 + 4.0 * (kBatch * kUserWidth + kDomains * kDomainWidth);
  // common/net/collective.cc: 64 bytes in front of each message. A sum of two workers sends half of
  // the floats to be added, and half of them summed up; the agreement on a batch is two doubles.
  const double dense = 4 * NumberBefore(log, " dense parameters") + 2 * 64;
  const double agreement = 2 * 8 + 64;
  ASSERT_GT(dense, 10000) << log;

  const std::map<std::string, Traffic> expected = {
      {"h1", {pull + values + dense + agreement, values + dense + agreement}},
      {"h2", {pull + values + dense + agreement, values + dense + agreement}},
      {"h3", {2 * values, 2 * (pull + values)}},
  };
  for (const auto& [host, step] : expected) {
    const double sent = (many[host].sent - few[host].sent) / (kMany - kFew);
    const double received = (many[host].received - few[host].received) / (kMany - kFew);
    EXPECT_NEAR(sent, step.sent, 0.02 * step.sent) << host << " sends, a step";
    EXPECT_NEAR(received, step.received, 0.02 * step.received) << host << " receives, a step";
    RecordProperty(host + " sent", absl::StrCat(sent, " of ", step.sent));
    RecordProperty(host + " received", absl::StrCat(received, " of ", step.received));
  }
  // The program counts the same, to the byte (it prints tenths of a byte a sample).
  EXPECT_NEAR(NumberBefore(log, " and received "), (pull + values) / kBatch, 0.051) << log;
  EXPECT_NEAR(NumberBefore(log, " bytes of ids, rows and gradients per sample"), values / kBatch,
              0.051)
      << log;
}

}  // namespace
}  // namespace pepnet
