// One server over the in-process transport; the test's thread plays all workers.
#include "ps/server.h"

#include <cmath>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "common/base/partition.h"
#include "common/job_config/sparse_optimizer.h"
#include "common/job_config/table.h"
#include "common/net/in_process.h"
#include "ps/table/row_initializer.h"
#include "tests/ps/test_worker.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using testing::HasSubstr;

constexpr SparseOptimizerKind kSgd = SparseOptimizerKind::kSgd;

class ServerTest : public testing::Test {
 protected:
  // Starts a server on rank `workers` without telling it anything.
  void Start(int workers) {
    plan_ = TwoTablePlan(kSgd, workers);
    hub_ = std::make_unique<InProcessHub>(workers + 1);
    for (int w = 0; w < workers; ++w) {
      workers_.emplace_back(hub_->transport(w), w, std::vector<int>{workers}, plan_);
    }
    thread_ =
        std::thread([this, workers] { run_status_ = Server(hub_->transport(workers)).Run(); });
  }
  void StartConfigured(int workers) {
    Start(workers);
    ASSERT_OK(workers_[0].Configure());
  }
  // The result of Run(). The server must be on its way out.
  Status Join() {
    thread_.join();
    return run_status_;
  }
  ~ServerTest() override {
    if (!thread_.joinable()) return;
    hub_->Abort("the test is over");
    thread_.join();
  }

  TestWorker& worker(int w = 0) { return workers_[w]; }
  nlohmann::json Stats() {
    const auto bodies = worker().Call(MessageType::kStats, "");
    wire::StatsReply reply;
    if (!bodies.ok() || !reply.ParseFromString(bodies->front())) return bodies.status().ToString();
    return nlohmann::json::parse(reply.json());
  }
  TableRows InitialRows(const TableIds& ids) const {
    TableRows rows;
    for (size_t t = 0; t < ids.size(); ++t) {
      Table table;
      table.name = plan_.tables(t).name();
      table.rows = plan_.tables(t).rows();
      table.dim = plan_.tables(t).dim();
      std::vector<float> values(ids[t].size() * table.dim);
      for (size_t i = 0; i < ids[t].size(); ++i) {
        RowInitializer(table, plan_.seed())
            .Fill(ids[t][i], {values.data() + i * table.dim, static_cast<size_t>(table.dim)});
      }
      rows.push_back(values);
    }
    return rows;
  }
  // The error that the server answers to worker 0's request.
  std::string ErrorOf(MessageType type, const std::string& body) {
    return std::string(worker().Call(type, body).status().message());
  }

  wire::ServerPlan plan_;
  std::unique_ptr<InProcessHub> hub_;
  std::vector<TestWorker> workers_;
  std::thread thread_;
  Status run_status_;
};

float One(size_t, int64_t, int) { return 1.0f; }

TEST_F(ServerTest, UnseenIdReadsItsInitialValueAndGetsNoRow) {
  StartConfigured(1);
  const TableIds ids = {{0, 999, 5}, {49}};
  ASSERT_OK(worker().SendPull(0, ids, true));
  auto rows = worker().ReceiveRows(ids);
  ASSERT_OK(rows);
  EXPECT_EQ(*rows, InitialRows(ids));
  ASSERT_OK(worker().SendPull(1, ids));
  rows = worker().ReceiveRows(ids);
  ASSERT_OK(rows);
  EXPECT_EQ(*rows, InitialRows(ids));
  nlohmann::json stats = Stats();
  EXPECT_EQ(stats["rows"]["user"], 0);
  EXPECT_EQ(stats["rows"]["item"], 0);
  EXPECT_EQ(stats["unseen_rows"], 8);
  ASSERT_OK(worker().SendPush(1, ids, One));
  stats = Stats();
  EXPECT_EQ(stats["rows"]["user"], 3);
  EXPECT_EQ(stats["rows"]["item"], 1);
  EXPECT_EQ(stats["applied_steps"], 1);
}

TEST_F(ServerTest, PullOfTheNextStepWaitsUntilAllPushesAreApplied) {
  StartConfigured(2);
  const TableIds ids = {{3, 4}, {7}};
  for (int w = 0; w < 2; ++w) {
    ASSERT_OK(worker(w).SendPull(1, ids));
    ASSERT_OK(worker(w).ReceiveRows(ids));
    ASSERT_OK(worker(w).SendPull(2, ids));  // early
  }
  ASSERT_OK(worker(1).SendPush(1, ids, One));
  // This reply would come after the rows, had they been sent.
  EXPECT_EQ(Stats()["applied_steps"], 0);
  ASSERT_OK(worker(0).SendPush(1, ids, [](size_t, int64_t id, int e) { return 0.25f * id + e; }));
  TableRows expected = InitialRows(ids);
  for (size_t t = 0; t < ids.size(); ++t) {
    const size_t dim = t == 0 ? 3 : 2;
    for (size_t i = 0; i < expected[t].size(); ++i) {
      expected[t][i] -= 0.5f * (0.25f * ids[t][i / dim] + i % dim + 1.0f);
    }
  }
  for (int w = 0; w < 2; ++w) {
    ASSERT_OK_AND_ASSIGN(const auto rows, worker(w).ReceiveRows(ids));
    EXPECT_EQ(rows, expected);
  }
}

TEST_F(ServerTest, ReadOnlyPullsWaitForTheirStepAndLeaveNoTicket) {
  StartConfigured(1);
  const TableIds ids = {{1}, {}}, other = {{2}, {2}};
  ASSERT_OK(worker().SendPull(1, ids));
  ASSERT_OK(worker().ReceiveRows(ids));
  ASSERT_OK(worker().SendPull(1, other, true));  // after step 1
  EXPECT_EQ(Stats()["applied_steps"], 0);
  ASSERT_OK(worker().SendPush(1, ids, One));
  ASSERT_OK_AND_ASSIGN(auto rows, worker().ReceiveRows(other));
  EXPECT_EQ(rows, InitialRows(other));
  EXPECT_EQ(Stats()["rows"]["item"], 0);
  ASSERT_OK(worker().SendPull(0, other, true));  // too late
  EXPECT_THAT(worker().ReceiveRows(other),
              IsError(HasSubstr("the rows after step 0 are wanted, but 1 steps are applied")));
  ASSERT_OK(worker().SendPush(2, other, One));
  EXPECT_THAT(Join(), IsError(HasSubstr("step 2 of worker 0: push without ticket")));
}

TEST_F(ServerTest, RepliesToReadOnlyPullsSayThatTheyAre) {
  StartConfigured(1);
  const TableIds none = {{}, {}};
  for (bool read_only : {true, false}) {
    ASSERT_OK(worker().SendPull(read_only ? 0 : 1, none, read_only));
    ASSERT_OK_AND_ASSIGN(const auto frame, worker().Receive(0));
    EXPECT_EQ(frame.header().flags, read_only ? FrameHeader::kReadOnly : 0u);
    EXPECT_EQ(frame.header().type, MessageType::kRows);
  }
}

TEST_F(ServerTest, WorkersWithoutRowsSendEmptyPushes) {
  StartConfigured(3);
  const TableIds ids = {{8}, {}}, none = {{}, {}};
  for (int step = 1; step <= 2; ++step) {
    for (int w = 0; w < 3; ++w) {
      const TableIds& mine = w == 1 && step == 1 ? ids : none;
      ASSERT_OK(worker(w).SendPull(step, mine));
      ASSERT_OK(worker(w).ReceiveRows(mine));
      ASSERT_OK(worker(w).SendPush(step, mine, One));
    }
  }
  const nlohmann::json stats = Stats();
  EXPECT_EQ(stats["applied_steps"], 2);
  EXPECT_EQ(stats["rows"]["user"], 1);
}

TEST_F(ServerTest, IdOutOfRangeIsRefusedByTableIdAndRows) {
  StartConfigured(1);
  for (int64_t id : {int64_t{-1}, int64_t{50}, std::numeric_limits<int64_t>::max()}) {
    const TableIds ids = {{1}, {2, id}};
    ASSERT_OK(worker().SendPull(1, ids));
    EXPECT_THAT(worker().ReceiveRows(ids),
                IsError(HasSubstr(
                    absl::StrCat("id ", id, " of table item is out of range, expected 0 to 49"))));
  }
  const TableIds good = {{1}, {2}};  // the server lives on
  ASSERT_OK(worker().SendPull(1, good));
  EXPECT_OK(worker().ReceiveRows(good));
}

TEST_F(ServerTest, IdOfAnotherServerIsRefused) {
  Start(1);
  plan_.set_server_index(0);
  plan_.set_server_count(2);
  ASSERT_OK(worker().Call(MessageType::kConfigure, plan_.SerializeAsString()));
  int64_t id = 0;
  while (ServerOfBucket(BucketOf(RowHash(HashName("user"), id)), 2) == 0) ++id;
  const TableIds ids = {{id}, {}};
  ASSERT_OK(worker().SendPull(1, ids));
  EXPECT_THAT(worker().ReceiveRows(ids), IsError(HasSubstr("belongs to server 1")));
}

TEST_F(ServerTest, PullsThatDoNotFitThePlanAreRefused) {
  StartConfigured(2);
  const TableIds ids = {{1}, {2}}, one_table = {{1}};
  auto error = [&](int w, const TableIds& wanted) {
    return std::string(worker(w).ReceiveRows(wanted).status().message());
  };
  ASSERT_OK(worker().SendPull(1, one_table));
  EXPECT_THAT(error(0, one_table), HasSubstr("pull for 1 tables, the plan has 2"));
  ASSERT_OK(worker().SendPull(1, ids));
  ASSERT_OK(worker().ReceiveRows(ids));
  ASSERT_OK(worker().SendPull(1, ids));
  EXPECT_THAT(error(0, ids), HasSubstr("worker 0 pulls step 1 twice"));
  ASSERT_OK(worker().SendPull(0, ids));
  EXPECT_THAT(error(0, ids),
              HasSubstr("the rows after step -1 are wanted, but 0 steps are applied"));
  TestWorker impostor(hub_->transport(1), 0, {2}, plan_);
  ASSERT_OK(impostor.SendPull(1, ids));
  EXPECT_THAT(error(1, ids), HasSubstr("rank 1 says it is worker 0"));
  FrameHeader header;
  header.type = MessageType::kPull;
  header.table_count = 2;
  header.step = 1;
  ASSERT_OK(worker().Send(0, header, std::string(12, '\1')));
  EXPECT_THAT(error(0, ids), HasSubstr("pull announces"));
  worker().set_clicked([](size_t, int64_t) { return true; });
  ASSERT_OK(worker().SendPull(1, ids));
  EXPECT_THAT(error(0, ids), HasSubstr("a pull with marks, which no table counts"));
}

TEST_F(ServerTest, APushThatCannotBeAppliedEndsTheServerAndTellsAllWorkers) {
  const TableIds ids = {{1}, {2}}, fewer = {{1}, {}};
  auto push = [this](int w, const TableIds& rows, double lr = 0.5, int64_t update = 0,
                     int64_t step = 1) {
    ASSERT_OK(workers_[w].SendPush(step, rows, One, lr, update));
  };
  const std::vector<std::pair<std::string, std::function<void()>>> cases = {
      {"step 1 of worker 0: push of 12 bytes, the ticket's rows have 20", [&] { push(0, fewer); }},
      {"step 2 of worker 0: push without ticket", [&] { push(0, ids, 0.5, 0, 2); }},
      {"step 1 of worker 0: push with update -1", [&] { push(0, ids, 0.5, -1); }},
      {"step 1 of worker 0: push with event time -1, expected 0 to 99999999999 seconds since 1970",
       [&] { worker(0).set_event_time(-1), push(0, ids); }},
      {"push with event time 100000000000",
       [&] { worker(0).set_event_time(100'000'000'000), push(0, ids); }},
      {"step 1 of worker 0: second push of this step", [&] { push(0, ids), push(0, ids); }},
      {"step 1 of worker 1: push with lr 0.25 and update 1, worker 0 sent lr 0.5 and update 1",
       [&] { push(0, ids), push(1, ids, 0.25); }},
      {"push with lr 0.5 and update 2", [&] { push(0, ids), push(1, ids, 0.5, 2); }},
  };
  for (const auto& [message, act] : cases) {
    SCOPED_TRACE(message);
    workers_.clear();
    StartConfigured(2);
    for (int w = 0; w < 2; ++w) {
      ASSERT_OK(worker(w).SendPull(1, ids));
      ASSERT_OK(worker(w).ReceiveRows(ids));
    }
    act();
    EXPECT_THAT(Join(), IsError(HasSubstr(message)));
    for (int w = 0; w < 2; ++w) EXPECT_THAT(worker(w).Receive(0), IsError(HasSubstr(message)));
  }
}

TEST_F(ServerTest, EverythingBeforeThePlanIsRefused) {
  Start(1);
  for (MessageType type : {MessageType::kPull, MessageType::kPush, MessageType::kSave,
                           MessageType::kLoad, MessageType::kStats}) {
    EXPECT_THAT(ErrorOf(type, ""), HasSubstr("before kConfigure"));
  }
  EXPECT_OK(worker().Configure());
}

TEST_F(ServerTest, BadPlansAreRefusedByField) {
  Start(1);
  auto error = [&](const std::function<void(wire::ServerPlan*)>& damage) {
    wire::ServerPlan plan = plan_;
    plan.set_server_count(1);
    damage(&plan);
    return ErrorOf(MessageType::kConfigure, plan.SerializeAsString());
  };
  EXPECT_THAT(error([](auto* plan) { plan->mutable_tables(1)->set_rows(0); }),
              HasSubstr("table item has 0 rows"));
  EXPECT_THAT(error([](auto* plan) { plan->mutable_tables(1)->set_dim(-3); }),
              HasSubstr("table item has width -3"));
  EXPECT_THAT(error([](auto* plan) { plan->mutable_tables(1)->set_name("user"); }),
              HasSubstr("table user occurs twice"));
  EXPECT_THAT(error([](auto* plan) { plan->mutable_tables(0)->set_name(""); }),
              HasSubstr("a table has no name"));
  EXPECT_THAT(error([](auto* plan) { plan->mutable_tables(0)->set_init_kind("cauchy"); }),
              HasSubstr("init_kind is cauchy, expected default, uniform, normal, constant, "
                        "truncated_normal, eye or sparse"));
  EXPECT_THAT(error([](auto* plan) { plan->mutable_tables(0)->set_data_type("FP8"); }),
              HasSubstr("data_type is FP8, expected FP32, FP16, BF16 or INT8"));
  EXPECT_THAT(error([](auto* plan) { plan->mutable_optimizer()->set_state_data_type("FP8"); }),
              HasSubstr("state_data_type is FP8, expected FP32, FP16, BF16 or INT8"));
  EXPECT_THAT(error([](auto* plan) { plan->mutable_optimizer()->set_state_data_type("INT8"); }),
              HasSubstr("state_data_type INT8 is not supported; expected FP32 or BF16"));
  EXPECT_THAT(
      error([](auto* plan) { plan->mutable_optimizer()->set_kind("lion"); }),
      HasSubstr("optimizer kind is lion, expected sgd, adagrad, rowwise_adagrad, adam, "
                "partial_rowwise_adam, "
                "ftrl, adagrad_decay, lars_sgd, lamb, partial_rowwise_lamb, adadelta or rmsprop"));
  const auto parameter = [&](const std::string& kind, const std::string& name, double value) {
    return error([&](auto* plan) {
      plan->mutable_optimizer()->set_kind(kind);
      plan->mutable_optimizer()->clear_parameters();
      SparseOptimizer optimizer;
      optimizer.kind = *FindKind<SparseOptimizerKind>(&SparseOptimizerType::name, kind);
      for (const auto& [key, number] :
           ParameterValues(TypeOf(optimizer.kind).parameters, optimizer)) {
        (*plan->mutable_optimizer()->mutable_parameters())[key] = number;
      }
      (*plan->mutable_optimizer()->mutable_parameters())[name] = value;
    });
  };
  EXPECT_THAT(parameter("rowwise_adagrad", "weight_decay_mode", -1),
              HasSubstr("optimizer rowwise_adagrad: weight_decay_mode is -1"));
  EXPECT_THAT(parameter("rowwise_adagrad", "weight_decay_mode", 3),
              HasSubstr("weight_decay_mode is 3"));
  EXPECT_THAT(parameter("rowwise_adagrad", "weight_decay_mode", 0.5),
              HasSubstr("weight_decay_mode is 0.5"));
  EXPECT_THAT(parameter("adam", "beta1", 1), HasSubstr("beta1 is 1, expected 0 <= value < 1"));
  EXPECT_THAT(parameter("adam", "beta2", std::nan("")), HasSubstr("beta2 is nan"));
  EXPECT_THAT(parameter("sgd", "momentum", 0),
              HasSubstr("optimizer sgd: there is no parameter momentum"));
  EXPECT_THAT(error([](auto* plan) { plan->mutable_optimizer()->clear_parameters(); }),
              HasSubstr("optimizer sgd: lr is missing"));
  EXPECT_THAT(error([](auto* plan) { plan->set_server_index(1); }), HasSubstr("server 1 of 1"));
  EXPECT_THAT(error([](auto* plan) { plan->set_server_count(2000); }),
              HasSubstr("server 0 of 2000"));
  EXPECT_THAT(error([](auto* plan) { plan->clear_worker_ranks(); }), HasSubstr("no workers"));
  EXPECT_THAT(error([](auto* plan) { plan->add_worker_ranks(0); }), HasSubstr("worker rank 0"));
  EXPECT_THAT(error([](auto* plan) { plan->add_worker_ranks(2); }), HasSubstr("worker rank 2"));
  EXPECT_THAT(error([](auto* plan) { plan->set_finished_steps(-1); }),
              HasSubstr("finished_steps is -1"));
  EXPECT_THAT(error([](auto* plan) { plan->set_max_event_time_jump(-1); }),
              HasSubstr("max_event_time_jump is -1"));
  const auto policy = [&](const std::function<void(wire::RowPolicyPlan*)>& set) {
    return error([&](auto* plan) {
      wire::RowPolicyPlan* const out = plan->mutable_tables(0)->mutable_policy();
      out->set_admit_after_steps(2);
      out->set_admit_probability(1);
      out->set_eviction("LRU");
      out->set_show_weight(1);
      set(out);
    });
  };
  EXPECT_THAT(
      policy([](auto* plan) { plan->set_ttl_seconds(5); }),
      HasSubstr("table user has ttl_seconds 5, but max_event_time_jump is 0: rows have no time"));
  EXPECT_THAT(policy([](auto* plan) { plan->set_ttl_seconds(-5); }), HasSubstr("ttl_seconds: -5"));
  EXPECT_THAT(policy([](auto* plan) { plan->set_click_weight(1); }),
              HasSubstr("click_weight: 1; expected nothing"));
  EXPECT_THAT(policy([](auto* plan) { plan->set_show_weight(std::nan("")); }),
              HasSubstr("show_weight: nan"));
  EXPECT_THAT(policy([](auto* plan) { plan->set_filter_bytes(8191); }),
              HasSubstr("memory_mb is 8191 bytes"));
  EXPECT_THAT(policy([](auto* plan) { plan->set_filter_bytes(8192); }),
              HasSubstr("halve_every_steps is 0"));
  EXPECT_THAT(policy([](auto* plan) {
                plan->set_filter_bytes(8192);
                plan->set_filter_halve_steps(5);
                plan->set_admit_after_steps(256);
              }),
              HasSubstr("counts up to admit_after_steps, which is 256; expected 2 to 255"));
  EXPECT_THAT(ErrorOf(MessageType::kConfigure, "\xff\xff"), HasSubstr("not a wire::ServerPlan"));
  EXPECT_OK(worker().Configure());
  EXPECT_THAT(ErrorOf(MessageType::kConfigure, plan_.SerializeAsString()),
              HasSubstr("configured twice"));
}

TEST_F(ServerTest, DamagedControlRequestsAreRefused) {
  StartConfigured(1);
  EXPECT_THAT(ErrorOf(MessageType::kSave, "\xff\xff"), HasSubstr("not a wire::SaveRequest"));
  EXPECT_THAT(ErrorOf(MessageType::kLoad, "\xff\xff"), HasSubstr("not a wire::LoadRequest"));
  EXPECT_THAT(ErrorOf(MessageType::kRows, ""), HasSubstr("message type 3 is not a request"));
  wire::SaveRequest save;
  save.set_directory("/nowhere/at/all");
  EXPECT_THAT(ErrorOf(MessageType::kSave, save.SerializeAsString()),
              HasSubstr("server 0: the checkpoint directory /nowhere/at/all does not exist"));
  wire::LoadRequest load;
  load.set_directory("/nowhere/at/all");
  EXPECT_THAT(ErrorOf(MessageType::kLoad, load.SerializeAsString()), HasSubstr("/nowhere/at/all"));
  EXPECT_EQ(Stats()["applied_steps"], 0);
}

TEST_F(ServerTest, LoadWhileATicketIsOpenIsRefused) {
  StartConfigured(1);
  const TableIds ids = {{1}, {}};
  ASSERT_OK(worker().SendPull(1, ids));
  ASSERT_OK(worker().ReceiveRows(ids));
  EXPECT_THAT(ErrorOf(MessageType::kLoad, ""), HasSubstr("worker 0 holds the ticket of step 1"));
}

TEST_F(ServerTest, ABrokenFrameEndsTheServerAndTellsTheWorkers) {
  StartConfigured(1);
  Bytes garbage(70);
  std::fill(garbage.begin(), garbage.end(), uint8_t{0xab});
  ASSERT_OK(hub_->transport(0)->Send(Channel::kRequests, 1, std::move(garbage)));
  EXPECT_THAT(Join(), IsError(HasSubstr("server 0, message from rank 0: frame begins with")));
  EXPECT_THAT(worker().Receive(0), IsError(HasSubstr("frame begins with")));
}

TEST_F(ServerTest, StatisticsOfAStepWaitUntilItIsApplied) {
  StartConfigured(2);
  const TableIds ids = {{3, 4}, {7}};
  for (int w = 0; w < 2; ++w) {
    ASSERT_OK(worker(w).SendPull(1, ids));
    ASSERT_OK(worker(w).ReceiveRows(ids));
  }
  ASSERT_OK(worker(0).SendPush(1, ids, One));
  FrameHeader header;
  header.type = MessageType::kStats;
  header.step = 1;
  ASSERT_OK(worker(0).Send(0, header, ""));
  ASSERT_OK(worker(0).SendPull(2, ids));  // what comes behind it overtakes nothing
  ASSERT_OK(worker(1).SendPush(1, ids, One));
  ASSERT_OK_AND_ASSIGN(const ParsedFrame answer, worker(0).Receive(0));
  ASSERT_EQ(answer.header().type, MessageType::kStats);
  wire::StatsReply reply;
  ASSERT_TRUE(reply.ParseFromString(answer.BodyString()));
  EXPECT_EQ(nlohmann::json::parse(reply.json())["rows"]["user"], 2);
  EXPECT_OK(worker(0).ReceiveRows(ids));
  ASSERT_OK(worker(1).SendPull(2, ids));
  ASSERT_OK(worker(1).ReceiveRows(ids));
  for (int w = 0; w < 2; ++w) ASSERT_OK(worker(w).SendPush(2, ids, One));
  EXPECT_EQ(Stats()["applied_steps"], 2);
  ASSERT_OK(worker(0).Send(0, header, ""));
  EXPECT_THAT(worker(0).Receive(0),
              IsError(HasSubstr("the rows after step 1 are wanted, but 2 steps are applied")));
}

TEST_F(ServerTest, ALostTransportEndsTheServer) {
  StartConfigured(1);
  hub_->Abort("rank 0 is gone");
  EXPECT_THAT(Join(), IsError(HasSubstr("rank 0 is gone")));
}

TEST_F(ServerTest, ShutdownIsAcknowledgedAndCancelsWhatWaits) {
  StartConfigured(2);
  const TableIds ids = {{1}, {}};
  ASSERT_OK(worker(1).SendPull(5, ids));
  ASSERT_OK(worker(1).Call(MessageType::kStats, ""));  // the pull is in line now
  EXPECT_OK(worker(0).Call(MessageType::kShutdown, ""));
  EXPECT_OK(Join());
  EXPECT_TRUE(absl::IsCancelled(worker(1).ReceiveRows(ids).status()));
}

}  // namespace
}  // namespace pepnet
