// Law L3, shard invariance: servers, delays, reader threads and shared ranks do not change a bit.
// Mutants under which a test here must fail are named in common/base/mutant.h.
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "common/checkpoint/checkpoint.h"
#include "common/net/in_process.h"
#include "tests/laws/law_support.h"
#include "tests/support/cluster.h"
#include "tests/support/random_job.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace pepnet {
namespace {

TEST(L3ShardInvariance, ServersDelaysAndReaderThreadsDoNotChangeABit) {
  RandomJobOptions options;
  options.batch_size = 4;
  options.sparse_optimizer = "adagrad_optimizer { lr: 0.05 }";
  TemporaryDirectory directory;
  const JobConfig first = OfAllValueKinds(MakeRandomJob(directory.path(), options, "s1"));
  ASSERT_OK(Train(first, {3, 1, {}}, TestOptions()));
  struct Variant {
    int servers, num_workers, max_delay_us;
    uint64_t seed;
  };
  for (const Variant& variant : {Variant{2, 4, 0, 0}, Variant{3, 1, 0, 0}, Variant{1, 1, 800, 1},
                                 Variant{2, 2, 800, 2}, Variant{3, 4, 2000, 3}}) {
    options.num_workers = variant.num_workers;
    const std::string name =
        absl::StrCat("s", variant.servers, "-", variant.seed, "-", variant.num_workers);
    const JobConfig other = OfAllValueKinds(MakeRandomJob(directory.path(), options, name));
    ASSERT_OK(
        Train(other, {3, variant.servers, {variant.seed, variant.max_delay_us}}, TestOptions()));
    EXPECT_EQ(CheckpointDifference(Newest(first), Newest(other)), "") << name;
  }
}

TEST(L3ShardInvariance, RanksThatWorkAndServeDoNotChangeABit) {
  RandomJobOptions options;
  options.batch_size = 4;
  options.sparse_optimizer = "adagrad_optimizer { lr: 0.05 }";
  TemporaryDirectory directory;
  const JobConfig dedicated =
      OfAllValueKinds(MakeRandomJob(directory.path(), options, "dedicated"));
  ASSERT_OK(Train(dedicated, {3, 2, {}}, TestOptions()));
  for (const InProcessOptions& network : {InProcessOptions{}, {4, 800}, {5, 2000}}) {
    const std::string name = absl::StrCat("colocated-", network.delay_seed);
    const JobConfig colocated = OfAllValueKinds(MakeRandomJob(directory.path(), options, name));
    ASSERT_OK(Train(colocated, {3, 3, network, {}, /*colocated=*/true}, TestOptions()));
    EXPECT_EQ(CheckpointDifference(Newest(dedicated), Newest(colocated)), "") << name;
  }
}

TEST(L3ShardInvariance, RowsAreAdmittedAndLeaveAlikeOnAnyNumberOfServers) {
  RandomJobOptions options = LivingTableJob();
  options.batch_size = 4;
  options.sparse_optimizer = "adagrad_optimizer { lr: 0.05 }";
  TemporaryDirectory directory;
  const JobConfig first = OfAllValueKinds(MakeRandomJob(directory.path(), options, "s1"));
  ASSERT_OK(Train(first, {2, 1, {}}, TestOptions()));
  ASSERT_OK_AND_ASSIGN(const Manifest manifest, ReadManifest(Newest(first)));
  ASSERT_EQ(manifest.candidates.size(), 1u);
  EXPECT_GT(manifest.candidates[0].rows, 0);
  for (const int servers : {2, 3, 5}) {
    const JobConfig other =
        OfAllValueKinds(MakeRandomJob(directory.path(), options, absl::StrCat("s", servers)));
    ASSERT_OK(Train(other, {2, servers, {static_cast<uint64_t>(servers), 800}}, TestOptions()));
    EXPECT_EQ(CheckpointDifference(Newest(first), Newest(other)), "") << servers;
  }
}

TEST(L3ShardInvariance, ShowsAndClicksKeepTheSameRowsOnAnyNumberOfServers) {
  RandomJobOptions options = ScoredTableJob();
  options.batch_size = 4;
  TemporaryDirectory directory;
  const JobConfig first = MakeRandomJob(directory.path(), options, "s1");
  ASSERT_OK(Train(first, {2, 1, {}}, TestOptions()));
  ASSERT_OK_AND_ASSIGN(const Manifest manifest, ReadManifest(Newest(first)));
  EXPECT_EQ(std::count_if(manifest.parts.begin(), manifest.parts.end(),
                          [](const PartEntry& part) { return part.counts_clicks; }),
            1);
  for (const int servers : {2, 5}) {
    const JobConfig other = MakeRandomJob(directory.path(), options, absl::StrCat("s", servers));
    ASSERT_OK(Train(other, {2, servers, {static_cast<uint64_t>(servers), 800}}, TestOptions()));
    EXPECT_EQ(CheckpointDifference(Newest(first), Newest(other)), "") << servers;
  }
}

TEST(L3ShardInvariance, AFilterAdmitsAlikeOnAnyNumberOfServers) {
  RandomJobOptions options = FilteredTableJob();
  options.batch_size = 4;
  TemporaryDirectory directory;
  const JobConfig first = MakeRandomJob(directory.path(), options, "s1");
  ASSERT_OK(Train(first, {2, 1, {}}, TestOptions()));
  ASSERT_OK_AND_ASSIGN(const Manifest manifest, ReadManifest(Newest(first)));
  ASSERT_EQ(manifest.filters.size(), 1u);
  EXPECT_FALSE(manifest.event_times.empty());
  for (const int servers : {2, 5}) {
    const JobConfig other = MakeRandomJob(directory.path(), options, absl::StrCat("s", servers));
    ASSERT_OK(Train(other, {2, servers, {static_cast<uint64_t>(servers), 800}}, TestOptions()));
    EXPECT_EQ(CheckpointDifference(Newest(first), Newest(other)), "") << servers;
  }
}

TEST(L3ShardInvariance, RoundedRowsOnTheWireAreTheSameForAnyNumberOfServers) {
  RandomJobOptions options;
  options.batch_size = 4;
  TemporaryDirectory directory;
  RunOptions run = TestOptions();
  const JobConfig exact = MakeRandomJob(directory.path(), options, "exact");
  ASSERT_OK(Train(exact, {2, 1, {}}, run));
  for (const auto& [name, dtype] :
       {std::pair("bfloat16", WireDtype::kBFloat16), {"float16", WireDtype::kFloat16}}) {
    run.wire_dtype = dtype;
    const JobConfig one = MakeRandomJob(directory.path(), options, absl::StrCat(name, "-1"));
    const JobConfig three = MakeRandomJob(directory.path(), options, absl::StrCat(name, "-3"));
    ASSERT_OK(Train(one, {2, 1, {}}, run));
    ASSERT_OK(Train(three, {2, 3, {}}, run));
    EXPECT_EQ(CheckpointDifference(Newest(one), Newest(three)), "") << name;
    EXPECT_NE(CheckpointDifference(Newest(one), Newest(exact)), "") << name << " rounds nothing";
  }
}

TEST(L3ShardInvariance, EvaluationCreatesNoRows) {
  RandomJobOptions options;
  options.num_epochs = 1;
  options.shuffle = false;
  TemporaryDirectory directory;
  JobConfig config = MakeRandomJob(directory.path(), options, "a");
  config.train.num_epochs = 0;
  config.train.num_steps = 2;  // most rows stay unseen
  ASSERT_OK(Train(config, {1, 1, {}}, TestOptions()));
  JobConfig evaluated = MakeRandomJob(directory.path(), options, "b");
  evaluated.train.num_epochs = 0;
  evaluated.train.num_steps = 2;
  evaluated.train.save_checkpoints_steps = 1;  // evaluates after every step
  ASSERT_OK(Train(evaluated, {1, 1, {}}, TestOptions()));
  EXPECT_EQ(CheckpointDifference(Newest(config), Newest(evaluated)), "");
}

}  // namespace
}  // namespace pepnet
