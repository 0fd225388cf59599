#include "worker/sparse/ps_client.h"

#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "common/net/in_process.h"
#include "ps/server.h"
#include "ps/table/row_initializer.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

JobConfig TwoTables() {
  JobConfig config;
  config.tables = {{"users", 1000, 3, {}, true}, {"items", 50, 2, {}, true}};
  config.train.sparse_optimizer.kind = SparseOptimizerKind::kSgd;
  return config;
}

UniqueIds Ids(std::vector<int64_t> users, std::vector<int64_t> items) {
  UniqueIds ids;
  ids.ids = {std::move(users), std::move(items)};
  return ids;
}

// Runs `work` as the only worker of `servers` servers.
Status WithServers(int servers, const JobConfig& config,
                   const std::function<Status(PsClient&)>& work) {
  std::vector<int> server_ranks;
  for (int s = 0; s < servers; ++s) server_ranks.push_back(1 + s);
  return RunRanks(1 + servers, {}, [&](int rank, Transport* transport) -> Status {
    if (rank > 0) return Server(transport).Run();
    PsClient client(transport, &config, server_ranks, 0, 30);
    PEPNET_RETURN_IF_ERROR(client.Configure({0}, 7, 0));
    PEPNET_RETURN_IF_ERROR(work(client));
    return client.Shutdown();
  });
}

TEST(PsClientTest, RowsComeBackInTheOrderOfTheIdsWhateverTheServers) {
  const JobConfig config = TwoTables();
  const UniqueIds ids = Ids({5, 999, 0, 17, 400, 3}, {49, 1});
  for (int servers : {1, 2, 5}) {
    const Status status = WithServers(servers, config, [&](PsClient& client) -> Status {
      PEPNET_ASSIGN_OR_RETURN(PullTicket ticket, client.StartPull(ids, 0, /*read_only=*/true));
      std::vector<AlignedBuffer<float>> rows;
      PEPNET_RETURN_IF_ERROR(client.FinishPull(ticket, &rows));
      for (int t = 0; t < 2; ++t) {
        const RowInitializer initializer(config.tables[t], 7);
        std::vector<float> expected(config.tables[t].dim);
        for (size_t i = 0; i < ids.ids[t].size(); ++i) {
          initializer.Fill(ids.ids[t][i], expected);
          for (int d = 0; d < config.tables[t].dim; ++d) {
            EXPECT_EQ(rows[t][i * expected.size() + d], expected[d]);
          }
        }
      }
      return absl::OkStatus();
    });
    EXPECT_OK(status);
  }
}

TEST(PsClientTest, APullSentEarlySeesTheStepBeforeIt) {
  const JobConfig config = TwoTables();
  const Status status = WithServers(2, config, [&](PsClient& client) -> Status {
    const UniqueIds ids = Ids({1, 2, 3, 4}, {});
    PEPNET_ASSIGN_OR_RETURN(PullTicket first, client.StartPull(ids, 1, false));
    std::vector<AlignedBuffer<float>> before, after, read;
    PEPNET_RETURN_IF_ERROR(client.FinishPull(first, &before));
    PEPNET_ASSIGN_OR_RETURN(PullTicket second, client.StartPull(ids, 2, false));  // waits in line
    std::vector<AlignedBuffer<float>> gradients(2);
    gradients[0].ResizeZeroed(12);
    for (float& g : gradients[0]) g = 2;
    PEPNET_RETURN_IF_ERROR(client.Push(first, gradients, 0.5, 1));
    // A read of the evaluation comes in between; its rows and those of step 2 must not be mixed up.
    PEPNET_ASSIGN_OR_RETURN(PullTicket reading, client.StartPull(Ids({4}, {}), 1, true));
    PEPNET_RETURN_IF_ERROR(client.FinishPull(reading, &read));
    PEPNET_RETURN_IF_ERROR(client.FinishPull(second, &after));
    for (size_t i = 0; i < 12; ++i) EXPECT_EQ(after[0][i], before[0][i] - 1.0f);
    for (int d = 0; d < 3; ++d) EXPECT_EQ(read[0][d], after[0][9 + d]);
    return absl::OkStatus();
  });
  EXPECT_OK(status);
}

TEST(PsClientTest, AServersRefusalNamesServerTableAndId) {
  const JobConfig config = TwoTables();
  const Status status = WithServers(1, config, [&](PsClient& client) -> Status {
    PEPNET_ASSIGN_OR_RETURN(PullTicket ticket, client.StartPull(Ids({}, {50}), 1, false));
    std::vector<AlignedBuffer<float>> rows;
    return client.FinishPull(ticket, &rows);
  });
  EXPECT_FALSE(status.ok());
  for (const char* part : {"server 0", "items", "50"}) {
    EXPECT_TRUE(absl::StrContains(status.message(), part)) << status;
  }
}

// A transport whose ranks seem to be processes.
class Apart : public Transport {
 public:
  explicit Apart(Transport* inner) : inner_(inner) {}
  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  Status Send(Channel channel, int rank, Bytes body) override {
    return inner_->Send(channel, rank, std::move(body));
  }
  StatusOr<Message> Receive(Channel channel, int source, Deadline deadline,
                            const std::string& what) override {
    return inner_->Receive(channel, source, deadline, what);
  }
  Status Flush(Deadline deadline) override { return inner_->Flush(deadline); }
  uint64_t bytes_sent(Channel channel) const override { return inner_->bytes_sent(channel); }
  uint64_t bytes_received(Channel channel) const override {
    return inner_->bytes_received(channel);
  }

 private:
  Transport* const inner_;
};

// The same rows and the same updates, whether rows come by reference (threads of one process,
// float32) or as messages, and however the tables keep them.
class PsClientValues : public testing::TestWithParam<ValueKind> {};

INSTANTIATE_TEST_SUITE_P(All, PsClientValues, testing::ValuesIn(AllKinds<ValueKind>()),
                         [](const auto& info) { return std::string(TypeOf(info.param).name); });

TEST_P(PsClientValues, RowsByReferenceAreThoseOfMessages) {
  JobConfig config = TwoTables();
  config.tables[0].value_kind = GetParam();
  const auto train = [&](bool apart, int servers, std::vector<std::vector<float>>* seen) {
    std::vector<int> server_ranks;
    for (int s = 0; s < servers; ++s) server_ranks.push_back(1 + s);
    return RunRanks(1 + servers, {}, [&](int rank, Transport* plain) -> Status {
      Apart wrapped(plain);
      Transport* const transport = apart ? &wrapped : plain;
      if (rank > 0) return Server(transport, nullptr, /*threads=*/2).Run();
      PsClient client(transport, &config, server_ranks, 0, 30);
      PEPNET_RETURN_IF_ERROR(client.Configure({0}, 7, 0));
      for (int64_t step = 1; step <= 5; ++step) {
        const UniqueIds ids = Ids({500, step, 100 + step, 999}, {49, step});
        for (const bool read_only : {true, false}) {
          PEPNET_ASSIGN_OR_RETURN(PullTicket ticket,
                                  client.StartPull(ids, read_only ? step - 1 : step, read_only));
          PulledRows rows;
          PEPNET_RETURN_IF_ERROR(client.FinishPull(ticket, &rows));
          for (size_t t = 0; t < 2; ++t) {
            for (const float* row : rows.table(t)) {
              seen->emplace_back(row, row + config.tables[t].dim);
            }
          }
          if (read_only) continue;
          RowGradients gradients = client.MakeGradients(ticket);
          for (std::span<float> table : gradients.tables) {
            for (size_t i = 0; i < table.size(); ++i) table[i] = 0.1f * static_cast<float>(i + 1);
          }
          PEPNET_RETURN_IF_ERROR(client.Push(ticket, std::move(gradients), 0.5, step));
        }
      }
      return client.Shutdown();
    });
  };
  std::vector<std::vector<float>> expected;
  EXPECT_OK(train(/*apart=*/true, 1, &expected));
  ASSERT_EQ(expected.size(), 5u * 2 * 6);
  EXPECT_NE(expected[0], expected[expected.size() - 6]);  // id 500 was trained
  for (const int servers : {1, 2, 3}) {
    for (const bool apart : {false, true}) {
      std::vector<std::vector<float>> seen;
      EXPECT_OK(train(apart, servers, &seen));
      EXPECT_EQ(seen, expected) << servers << (apart ? " apart" : " together");
    }
  }
}

TEST(PsClientTest, AServerOfAnotherProcessRefusesToPointAtItsRows) {
  const JobConfig config = TwoTables();
  const Status status = RunRanks(2, {}, [&](int rank, Transport* transport) -> Status {
    if (rank > 0) {
      Apart apart(transport);
      return Server(&apart).Run();
    }
    PsClient client(transport, &config, {1}, 0, 30);
    PEPNET_RETURN_IF_ERROR(client.Configure({0}, 7, 0));
    PEPNET_ASSIGN_OR_RETURN(PullTicket ticket, client.StartPull(Ids({1}, {}), 0, true));
    PulledRows rows;
    return client.FinishPull(ticket, &rows);
  });
  EXPECT_TRUE(
      absl::StrContains(status.message(), "by reference, which needs threads of one process"))
      << status;
}

}  // namespace
}  // namespace pepnet
