// Tables that grow with the ids that occur: dynamic_table, and zch and dynamicemb of another system
// in its terms.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/common/config/config_text.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using ::testing::HasSubstr;

// kSmallConfig whose feature `user` has `fields` in the place of its num_buckets.
std::string With(const std::string& fields) { return Changed("num_buckets: 10", fields); }

TEST(GrowingTablesTest, ATableOfZchTakesAnyTokenAndExpectsItsSize) {
  ASSERT_OK_AND_ASSIGN(const JobConfig job,
                       Parse(With("zch { zch_size: 400 eviction_interval: 2 lfu {} }")));
  EXPECT_EQ(job.features[0].bucketizer, Bucketizer::kHash);
  const Table& table = job.tables[0];
  EXPECT_EQ(table.rows, int64_t{1} << 62);
  EXPECT_TRUE(table.grows());
  EXPECT_EQ(table.RowsToPlanFor(), 400);
  EXPECT_EQ(table.initializer.kind, InitKind::kUniform);
  EXPECT_EQ(table.initializer.a, -0.05);
  EXPECT_EQ(table.initializer.b, 0.05);
  EXPECT_FALSE(job.tables[1].grows());
  EXPECT_THAT(AllNotes(job), HasSubstr("job.config:12: feature_configs[0].id_feature.zch: read as "
                                       "a dynamic_table: at most 1024 rows: rows "
                                       "named in the fewest steps leave first"));
  EXPECT_EQ(table.policy.max_rows, 1024);  // a row for each bucket
  EXPECT_EQ(table.policy.eviction, EvictionKind::kLfu);
}

TEST(GrowingTablesTest, ADynamicTableHasItsPolicy) {
  ASSERT_OK_AND_ASSIGN(
      const JobConfig job,
      Parse(With(
          "dynamic_table { max_rows: 5000 memory_budget_mb: 2 eviction: 'SCORE' half_life_steps: 7 "
          "admit_after_steps: 3 admit_probability: 0.5 ttl_steps: 90 }")));
  const Table& table = job.tables[0];
  EXPECT_EQ(table.policy, (RowPolicy{3, 0.5, 90, 5000, 2 << 20, EvictionKind::kScore, 7}));
  EXPECT_EQ(table.expected_rows, 5000);
  EXPECT_EQ(table.initializer.a, -0.01);
  EXPECT_EQ(
      RowPolicyText(table.policy),
      "an id gets its row in step 3 of those that name it, admitted with probability 0.5, rows "
      "expire when 90 steps "
      "have not named them, at most 5000 rows and 2 MiB: rows of the lowest score leave first");
  ASSERT_OK_AND_ASSIGN(const JobConfig plain,
                       Parse(With("dynamic_table { expected_rows: 70 max_rows: 5000 }")));
  EXPECT_EQ(plain.tables[0].expected_rows, 70);
  EXPECT_TRUE(plain.tables[0].policy.is_active());
  ASSERT_OK_AND_ASSIGN(const JobConfig grows, Parse(With("dynamic_table { expected_rows: 70 }")));
  EXPECT_FALSE(grows.tables[0].policy.is_active());
}

TEST(GrowingTablesTest, AScoreMayWeighShowsAndClicks) {
  ASSERT_OK_AND_ASSIGN(
      const JobConfig job,
      Parse(With(
          "dynamic_table { max_rows: 5000 eviction: 'SCORE' half_life_steps: 7 show_weight: 0.1 "
          "click_weight: 2 click_label: 'clk' }")));
  const Table& table = job.tables[0];
  EXPECT_EQ(table.policy.show_weight, 0.1);
  EXPECT_EQ(table.policy.click_weight, 2);
  EXPECT_EQ(table.policy.click_label, "clk");
  EXPECT_EQ(RowPolicyText(table.policy),
            "at most 5000 rows: rows of the lowest score leave first, a step counts 0.1, with a "
            "positive clk 2 more");
  const SparseOptimizerKind kind = job.train.sparse_optimizer.kind;
  EXPECT_EQ(RowStateDim(kind, table), SparseStateDim(kind, table.dim) + 1);
  const RowShape shape = ShapeOf(job.train.sparse_optimizer, table);
  RowShape without = shape;
  without.counts_clicks = false;
  EXPECT_EQ(shape.bytes(), without.bytes() + 4);
}

TEST(GrowingTablesTest, RowsExpireByTheTimeOfAColumn) {
  const auto with_time = [](const std::string& fields) {
    return Changed("data_config {", "data_config { event_time { " + fields + " }",
                   With("dynamic_table { expected_rows: 70 ttl_seconds: 604800 }"));
  };
  ASSERT_OK_AND_ASSIGN(const JobConfig job, Parse(with_time("field: 'ts'")));
  EXPECT_EQ(job.tables[0].policy, RowPolicy{.ttl_seconds = 604800});
  EXPECT_TRUE(job.tables[0].policy.removes_rows());
  EXPECT_EQ(RowPolicyText(job.tables[0].policy),
            "rows expire 604800 s of event time after the last step that named them");
  ASSERT_TRUE(job.data.event_time.has_value());
  EXPECT_EQ(job.data.event_time->name, "ts");
  EXPECT_EQ(job.data.event_time->units_per_second, 1);
  EXPECT_EQ(job.data.event_time->max_jump_seconds, 86400);
  ASSERT_OK_AND_ASSIGN(const JobConfig fine,
                       Parse(with_time("field: 'ts' unit: 'MICROSECONDS' max_jump_seconds: 5")));
  EXPECT_EQ(fine.data.event_time->units_per_second, 1'000'000);
  EXPECT_EQ(fine.data.event_time->max_jump_seconds, 5);
  EXPECT_THAT(
      ErrorOf(With("dynamic_table { expected_rows: 70 ttl_seconds: 9 }")),
      HasSubstr(
          "dynamic_table of table \"user_emb\": ttl_seconds is 9, but no column says when events "
          "happened; set data_config.event_time { field }"));
}

TEST(GrowingTablesTest, IdsAreCountedInAFilter) {
  const std::string filter = "admission_filter { memory_mb: 2 halve_every_steps: 500 }";
  ASSERT_OK_AND_ASSIGN(
      const JobConfig job,
      Parse(With("dynamic_table { expected_rows: 70 admit_after_steps: 3 " + filter + " }")));
  const RowPolicy& policy = job.tables[0].policy;
  EXPECT_EQ(
      policy,
      (RowPolicy{.admit_after_steps = 3, .filter_bytes = 2 << 20, .filter_halve_steps = 500}));
  EXPECT_FALSE(policy.counts_candidates());
  EXPECT_TRUE(policy.is_active());
  EXPECT_EQ(RowPolicyText(policy),
            "an id gets its row in step 3 of those that name it, counted in a filter of 2 MiB, "
            "halved every 500 steps");
  EXPECT_EQ(MostBytesPerRow(32, policy), 80);  // no counter of a candidate
  // A budget holds the filter, too.
  EXPECT_EQ(RowLimit(32, {.admit_after_steps = 3,
                          .memory_budget_bytes = 5 << 20,
                          .filter_bytes = 2 << 20,
                          .filter_halve_steps = 500}),
            (3 << 20) / 80);
  EXPECT_THAT(
      ErrorOf(With("dynamic_table { memory_budget_mb: 2 expected_rows: 9 admit_after_steps: 3 " +
                   filter + " }")),
      HasSubstr("memory_budget_mb: 2097152 bytes hold 0 rows"));
}

TEST(GrowingTablesTest, ABudgetIsCheckedAgainstTheSizeOfARow) {
  // 4 floats, 4 of adagrad, 48 bytes of the row and 48 of a candidate.
  EXPECT_EQ(MostBytesPerRow(32, RowPolicy{.admit_after_steps = 2}), 128);
  EXPECT_EQ(RowLimit(32, {.memory_budget_bytes = 1 << 20}), (1 << 20) / 80);
  EXPECT_EQ(RowLimit(32, {.max_rows = 2000, .memory_budget_bytes = 1 << 20}), 2000);
  const std::string wide =
      Changed("num_buckets: 10", "dynamic_table { memory_budget_mb: 1 expected_rows: 9 }",
              Changed("embedding_dim: 4", "embedding_dim: 400"));
  EXPECT_THAT(ErrorOf(wide), HasSubstr("memory_budget_mb: 1048576 bytes hold "));
}

// kSmallConfig with a budget of 10 MiB for its tables `user`, 4 wide, and `item`, which have these
// policies.
std::string WithBudget(const std::string& user, const std::string& item) {
  std::string text = With("dynamic_table { " + user + " }");
  text = Changed("hash_bucket_size: 20", "dynamic_table { " + item + " }", text);
  return Changed("train_config {", "train_config { dynamic_table_budget_mb: 10", text);
}

TEST(GrowingTablesTest, TablesShareTheBudgetOfTheJob) {
  ASSERT_OK_AND_ASSIGN(
      const JobConfig job,
      Parse(WithBudget("expected_rows: 30000", "expected_rows: 10000 eviction: 'LFU'")));
  const auto bytes = [&](const Table& table) {
    return MostBytesPerRow(ShapeOf(job.train.sparse_optimizer, table).bytes(), table.policy);
  };
  const Table &user = job.tables[0], &item = job.tables[1];
  const double sum = 30000.0 * bytes(user) + 10000.0 * bytes(item);
  EXPECT_NEAR(user.policy.memory_budget_bytes, (10 << 20) * (30000.0 * bytes(user) / sum), 1);
  EXPECT_NEAR(user.policy.memory_budget_bytes + item.policy.memory_budget_bytes, 10 << 20, 2);
  EXPECT_EQ(user.policy.eviction, EvictionKind::kLru);
  EXPECT_EQ(item.policy.eviction, EvictionKind::kLfu);
  EXPECT_THAT(AllNotes(job),
              HasSubstr("train_config.dynamic_table_budget_mb: table item_emb has "));
  // One with a limit of its own keeps it, and the other has what is left.
  ASSERT_OK_AND_ASSIGN(const JobConfig one,
                       Parse(WithBudget("max_rows: 2000", "expected_rows: 10")));
  EXPECT_EQ(one.tables[0].policy.memory_budget_bytes, 0);
  EXPECT_EQ(one.tables[1].policy.memory_budget_bytes, (10 << 20) - 2000 * bytes(one.tables[0]));
}

TEST(GrowingTablesTest, ABudgetThatNobodyCanShareIsRefused) {
  EXPECT_THAT(ErrorOf(WithBudget("max_rows: 2000", "max_rows: 2000")),
              HasSubstr("train_config.dynamic_table_budget_mb: 10, but no table grows without a "
                        "limit of its own"));
  EXPECT_THAT(ErrorOf(WithBudget("memory_budget_mb: 11 expected_rows: 9", "expected_rows: 10")),
              HasSubstr("of which nothing is left for table \"item_emb\""));
  EXPECT_THAT(ErrorOf(WithBudget("expected_rows: 1000000", "expected_rows: 1")),
              HasSubstr("dynamic_table of table \"item_emb\": memory_budget_mb: "));
  EXPECT_THAT(ErrorOf(With("dynamic_table { expected_rows: 9 eviction: 'LFU' }")),
              HasSubstr("but neither max_rows nor memory_budget_mb limits them"));
}

TEST(GrowingTablesTest, DynamicembAdmitsByItsThreshold) {
  ASSERT_OK_AND_ASSIGN(const JobConfig job,
                       Parse(With("dynamicemb { max_capacity: 3000 score_strategy: 'LFU' "
                                  "frequency_admission_strategy { threshold: 4 } }")));
  EXPECT_EQ(job.tables[0].policy, (RowPolicy{4, 1, 0, 3000, 0, EvictionKind::kLfu, 0}));
}

TEST(GrowingTablesTest, InFgNoneTheColumnHoldsTheIds) {
  ASSERT_OK_AND_ASSIGN(
      const JobConfig job,
      Parse(Changed("FG_DAG", "FG_NONE", With("dynamicemb { max_capacity: 100 }"))));
  EXPECT_EQ(job.features[0].bucketizer, Bucketizer::kIdentity);
  EXPECT_EQ(job.tables[0].rows, int64_t{1} << 62);
}

TEST(GrowingTablesTest, InitialValuesAreThoseOfDynamicemb) {
  const auto initializer = [](const std::string& args) {
    const auto job = Parse(With("dynamicemb { max_capacity: 100 " + args + " }"));
    EXPECT_TRUE(job.ok()) << job.status().message();
    return job.ok() ? job->tables[0].initializer : Initializer();
  };
  EXPECT_EQ(initializer("").a, -0.1);
  EXPECT_EQ(initializer("").b, 0.1);
  EXPECT_EQ(initializer("initializer_args { lower: -0.3 }").a, -0.3);
  EXPECT_EQ(initializer("initializer_args { lower: -0.3 }").b, 0.1);
  EXPECT_EQ(initializer("initializer_args { mode: 'NORMAL' mean: 2 }").kind, InitKind::kNormal);
  EXPECT_EQ(initializer("initializer_args { mode: 'NORMAL' mean: 2 }").b, 0.5);  // 4 wide
  EXPECT_EQ(initializer("initializer_args { mode: 'CONSTANT' value: 3 }").a, 3);
  ASSERT_OK_AND_ASSIGN(
      const JobConfig job,
      Parse(With("dynamicemb { max_capacity: 100 } init_fn: 'nn.init.constant_,val=2'")));
  EXPECT_EQ(job.tables[0].initializer.kind, InitKind::kConstant);  // init_fn goes before
  // Its range of ids says nothing of its size: fan_out is what is expected.
  ASSERT_OK_AND_ASSIGN(const JobConfig scaled,
                       Parse(With("dynamic_table { expected_rows: 50 } init_fn: "
                                  "'nn.init.kaiming_normal_,mode=\"fan_out\"'")));
  EXPECT_NEAR(scaled.tables[0].initializer.b, 0.2, 1e-15);
}

TEST(GrowingTablesTest, WrongOnesAreRefusedByTheirPlace) {
  const struct {
    std::string fields, error;
  } cases[] = {
      {"zch {}", "job.config:12: feature_configs[0].id_feature.zch.zch_size: 0; expected 1 to"},
      {"dynamicemb {}", "dynamicemb.max_capacity: 0; expected 1 to"},
      {"zch { zch_size: 4 } num_buckets: 3",
       "zch: num_buckets is set as well; expected exactly one of them"},
      {"dynamicemb { max_capacity: 4 initializer_args { mode: 'XAVIER' } }",
       "dynamicemb.initializer_args.mode: \"XAVIER\"; expected UNIFORM, NORMAL or CONSTANT"},
      {"dynamicemb { max_capacity: 4 initializer_args { lower: 2 upper: 1 } }",
       "initializer_args: needs a <= b"},
      {"dynamicemb { max_capacity: 4 init_table: 'x' }",
       "dynamicemb.init_table: \"x\" is not supported"},
  };
  for (const auto& one : cases) EXPECT_THAT(ErrorOf(With(one.fields)), HasSubstr(one.error));
}

TEST(GrowingTablesTest, FeaturesOfOneTableExpectTheSameRows) {
  std::string text = With("zch { zch_size: 400 } embedding_name: 'shared'");
  text = Changed("hash_bucket_size: 20", "zch { zch_size: 401 } embedding_name: 'shared'", text);
  EXPECT_THAT(
      ErrorOf(text),
      HasSubstr(
          "table \"shared\" is shared with feature user, but the two differ in expected rows"));
}

TEST(LowPrecisionTest, RowsOfFewerBitsTakeFewerBytes) {
  const auto bytes = [](ValueKind kind, int dim, int state_dim) {
    return RowShape{dim, state_dim, kind}.bytes();
  };
  EXPECT_EQ(bytes(ValueKind::kFp32, 16, 16), 128);
  EXPECT_EQ(bytes(ValueKind::kFp16, 16, 1), 36);
  EXPECT_EQ(bytes(ValueKind::kBf16, 16, 16), 96);
  EXPECT_EQ(bytes(ValueKind::kBf16, 3, 0), 8);
  EXPECT_EQ(bytes(ValueKind::kInt8, 16, 16), 84);
  EXPECT_EQ(bytes(ValueKind::kInt8, 3, 0), 4);
  EXPECT_EQ(bytes(ValueKind::kInt8, 4, 0), 8);
  // Values, state and clicks begin at whole words.
  EXPECT_EQ((RowShape{3, 3, ValueKind::kBf16, ValueKind::kBf16, true}.bytes()), 8 + 8 + 4);
  // 2 words of values and 4 of adagrad.
  EXPECT_EQ(RowLimit(bytes(ValueKind::kBf16, 4, 4), {.memory_budget_bytes = 1 << 20}),
            (1 << 20) / 72);
}

TEST(LowPrecisionTest, FeaturesOfOneTableAgreeOnTheType) {
  std::string text = With("num_buckets: 20 data_type: 'BF16' embedding_name: 'shared'");
  text = Changed("hash_bucket_size: 20",
                 "hash_bucket_size: 20 data_type: 'FP16' embedding_name: 'shared'", text);
  EXPECT_THAT(
      ErrorOf(text),
      HasSubstr("table \"shared\" is shared with feature user, but the two differ in data_type"));
}

TEST(LowPrecisionTest, ATypeOfAFeatureWithoutTableIsNoted) {
  const std::string price = "expression: \"item:price\"";
  ASSERT_OK_AND_ASSIGN(const JobConfig job, Parse(Changed(price, price + " data_type: 'BF16'")));
  EXPECT_THAT(AllNotes(job),
              HasSubstr("raw_feature.data_type: BF16 has no effect: the feature has no table"));
}

TEST(LowPrecisionTest, ATablesTypeIsTheFeatures) {
  for (const ValueKind kind : AllKinds<ValueKind>()) {
    ASSERT_OK_AND_ASSIGN(
        const JobConfig job,
        Parse(With(absl::StrCat("num_buckets: 10 data_type: '", TypeOf(kind).name, "'"))));
    EXPECT_EQ(job.tables.front().value_kind, kind) << TypeOf(kind).name;
  }
  EXPECT_THAT(ErrorOf(With("num_buckets: 10 data_type: 'INT4'")),
              HasSubstr("data_type: \"INT4\" is not supported; expected FP32, FP16, BF16 or INT8"));
}

TEST(LowPrecisionTest, TheStateOfRowsMayTakeSixteenBits) {
  const auto with = [](const std::string& optimizer, const std::string& kind) {
    return Changed("adagrad_optimizer { lr: 0.001 }",
                   absl::StrCat(optimizer, " state_data_type: '", kind, "'"));
  };
  ASSERT_OK_AND_ASSIGN(const JobConfig job, Parse(with("adam_optimizer { lr: 0.001 }", "BF16")));
  EXPECT_EQ(job.train.sparse_optimizer.state_kind, ValueKind::kBf16);
  const Table& table = job.tables[0];
  EXPECT_EQ(ShapeOf(job.train.sparse_optimizer, table).bytes(), 4 * table.dim + 2 * 2 * table.dim);
  EXPECT_THAT(AllNotes(job), testing::Not(HasSubstr("state_data_type")));
  for (const std::string kind : {"FP16", "INT8", "bf16", ""}) {
    EXPECT_THAT(ErrorOf(with("adam_optimizer {}", kind)),
                HasSubstr(absl::StrCat("sparse_optimizer.state_data_type: \"", kind,
                                       "\" is not supported; expected FP32 or BF16")));
  }
  EXPECT_THAT(ErrorOf(with("adagrad_decay_optimizer {}", "BF16")),
              HasSubstr("state_data_type: \"BF16\" cannot hold the counts in the state of "
                        "adagrad_decay; expected FP32"));
  EXPECT_OK(Parse(with("adagrad_decay_optimizer {}", "FP32")));
  EXPECT_THAT(AllNotes(*Parse(with("sgd_optimizer {}", "BF16"))),
              HasSubstr("state_data_type: BF16 saves nothing: sgd_optimizer keeps no state"));
  EXPECT_THAT(AllNotes(*Parse(with("rowwise_adagrad_optimizer {}", "BF16"))),
              HasSubstr("state_data_type: BF16 saves nothing: rowwise_adagrad_optimizer keeps one "
                        "number of state a row, in 4 bytes"));
}

TEST(DenseEmbeddingTest, TrainableIsOfTables) {
  ASSERT_OK_AND_ASSIGN(
      const JobConfig job,
      Parse(Changed("item:price\"", "item:price\" embedding_dim: 3 mlp {} trainable: false")));
  EXPECT_THAT(
      AllNotes(job),
      HasSubstr("raw_feature.trainable: without effect: it is of tables, and mlp has none"));
}

TEST(LowPrecisionTest, Fp16IsComputedAsBf16) {
  ASSERT_OK_AND_ASSIGN(
      const JobConfig job,
      Parse(Changed("num_steps: 5",
                    "num_steps: 5 mixed_precision: 'FP16' grad_scaler { init_scale: 8 }")));
  EXPECT_EQ(job.train.mixed_precision, "BF16");
  EXPECT_THAT(AllNotes(job), HasSubstr("mixed_precision: FP16, read as BF16"));
  EXPECT_THAT(AllNotes(job), HasSubstr("grad_scaler: accepted without effect"));
  EXPECT_THAT(ErrorOf(Changed("num_steps: 5", "num_steps: 5 mixed_precision: 'FP8'")),
              HasSubstr("mixed_precision: \"FP8\"; expected BF16 or FP16, or remove it"));
}

}  // namespace
}  // namespace pepnet
