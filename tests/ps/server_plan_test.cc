// A sparse optimizer as a worker sends it is the one that a server reads, for every kind and
// parameter.
#include "ps/server_plan.h"

#include <climits>
#include <cmath>
#include <functional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "proto/wire.pb.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

TEST(ServerPlanTest, EveryParameterOfEveryOptimizerArrives) {
  for (const SparseOptimizerKind kind : AllKinds<SparseOptimizerKind>()) {
    const SparseOptimizerType& type = TypeOf(kind);
    SparseOptimizer sent;
    sent.kind = kind;
    sent.lr = 0.25, sent.initial_accumulator_value = 0.5, sent.beta1 = 0.75, sent.beta2 = 0.125;
    sent.weight_decay = 0.375, sent.weight_decay_mode = WeightDecayMode::kDecouple;
    sent.gradient_clipping = true, sent.max_gradient = 3;
    sent.beta = 0.625, sent.l1 = 0.1, sent.l2 = 0.2, sent.l21 = 0.3, sent.decay_steps = 7,
    sent.decay_rate = 0.875;
    sent.momentum = 0.6, sent.rho = 0.7, sent.alpha = 0.8, sent.eps = 0.01;
    for (const Parameter<SparseOptimizer>& parameter : type.parameters) {
      ASSERT_NE(parameter.get(sent), parameter.get(SparseOptimizer()))
          << parameter.name << " has its default";
    }
    wire::ServerPlan plan;
    plan.set_server_count(1);
    plan.add_worker_ranks(0);
    plan.mutable_optimizer()->set_kind(type.name);
    for (const auto& [name, value] : ParameterValues(type.parameters, sent)) {
      (*plan.mutable_optimizer()->mutable_parameters())[name] = value;
    }
    ASSERT_OK_AND_ASSIGN(const auto received, ParseServerPlan(plan.SerializeAsString(), 2));
    EXPECT_EQ(received.optimizer.kind, kind);
    EXPECT_EQ(ParameterValues(type.parameters, received.optimizer),
              ParameterValues(type.parameters, sent));
  }
}

TEST(ServerPlanTest, EveryInitializerArrives) {
  for (const InitKind kind : AllKinds<InitKind>()) {
    wire::ServerPlan plan;
    wire::TablePlan* const table = plan.add_tables();
    table->set_name("t"), table->set_rows(3), table->set_dim(2);
    table->set_init_kind(TypeOf(kind).name);
    table->set_init_a(0.25), table->set_init_b(0.5), table->set_init_low(-3),
        table->set_init_high(7);
    plan.set_server_count(1);
    plan.add_worker_ranks(0);
    plan.mutable_optimizer()->set_kind("sgd");
    for (const auto& [name, value] :
         ParameterValues(TypeOf(SparseOptimizerKind::kSgd).parameters, SparseOptimizer())) {
      (*plan.mutable_optimizer()->mutable_parameters())[name] = value;
    }
    ASSERT_OK_AND_ASSIGN(const auto received, ParseServerPlan(plan.SerializeAsString(), 2));
    EXPECT_EQ(received.tables[0].initializer, (Initializer{kind, 0.25, 0.5, -3, 7}));
  }
}

TEST(ServerPlanTest, NumbersThatCannotBeAreRefusedByName) {
  wire::ServerPlan right;
  wire::TablePlan* const table = right.add_tables();
  table->set_name("t"), table->set_rows(3), table->set_dim(2);
  table->set_init_kind(TypeOf(InitKind::kDefault).name);
  right.set_server_count(1);
  right.add_worker_ranks(0);
  right.mutable_optimizer()->set_kind("sgd");
  for (const auto& [name, value] :
       ParameterValues(TypeOf(SparseOptimizerKind::kSgd).parameters, SparseOptimizer())) {
    (*right.mutable_optimizer()->mutable_parameters())[name] = value;
  }
  ASSERT_OK(ParseServerPlan(right.SerializeAsString(), 2));
  const auto refused = [&right](const char* field,
                                const std::function<void(wire::ServerPlan&)>& change) {
    wire::ServerPlan wrong = right;
    change(wrong);
    EXPECT_THAT(ParseServerPlan(wrong.SerializeAsString(), 2),
                IsError(::testing::HasSubstr(field)));
  };
  refused("width", [](wire::ServerPlan& plan) { plan.mutable_tables(0)->set_dim(INT_MAX); });
  refused("truncated_normal needs std > 0", [](wire::ServerPlan& plan) {
    plan.mutable_tables(0)->set_init_kind(TypeOf(InitKind::kTruncatedNormal).name);
  });
  refused("rows", [](wire::ServerPlan& plan) { plan.mutable_tables(0)->set_rows(-1); });
  refused("finished_steps", [](wire::ServerPlan& plan) { plan.set_finished_steps(INT64_MAX); });
  refused("timeout_s", [](wire::ServerPlan& plan) { plan.set_timeout_s(std::nan("")); });
  refused("phase_timeout_s", [](wire::ServerPlan& plan) { plan.set_phase_timeout_s(1e300); });
}

}  // namespace
}  // namespace pepnet
