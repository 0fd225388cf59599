#include "ps/step_update.h"

#include <cmath>
#include <deque>
#include <optional>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

constexpr double kLr = 0.5;

// Two tables (widths 2 and 1) under sgd with constant initial values, so that every number can be
// written down.
class StepUpdateTest : public testing::Test {
 protected:
  StepUpdateTest() {
    optimizer_.kind = SparseOptimizerKind::kSgd;
    for (int t = 0; t < 2; ++t) {
      Table table;
      table.name = std::string(1, static_cast<char>('a' + t));
      table.rows = 1000;
      table.dim = t == 0 ? 2 : 1;
      table.initializer = {InitKind::kConstant, 1.0, 0.0};
      tables_.emplace_back(table, optimizer_, 1);
    }
  }

  // A push of `worker`: ids and gradients of both tables.
  // `marks`: bit i: a row with a positive label names the i-th id.
  void Add(int worker, std::vector<int64_t> a_ids, std::vector<int64_t> b_ids,
           std::vector<float> gradients, std::optional<uint64_t> marks = std::nullopt) {
    FrameHeader header;
    header.type = MessageType::kPull;
    header.table_count = 2;
    header.flags = marks.has_value() ? FrameHeader::kMarked : 0;
    Bytes bytes =
        MakeFrame(header, PullBodyBytes(2, a_ids.size() + b_ids.size(), marks.has_value()));
    const uint32_t counts[] = {static_cast<uint32_t>(a_ids.size()),
                               static_cast<uint32_t>(b_ids.size())};
    int64_t* out = WritePullCounts(bytes, counts);
    out = std::copy(a_ids.begin(), a_ids.end(), out);
    out = std::copy(b_ids.begin(), b_ids.end(), out);
    if (marks.has_value()) *out = static_cast<int64_t>(*marks);
    auto frame = ParsedFrame::Parse(std::move(bytes));
    ASSERT_OK(frame);
    ASSERT_OK_AND_ASSIGN(const auto pull, ParsePull(*frame));
    Ticket ticket = {*std::move(frame), pull, {}};
    ticket.slots.Resize(a_ids.size() + b_ids.size());
    tables_[0].Find(a_ids, ticket.slots.span().first(a_ids.size()));
    tables_[1].Find(b_ids, ticket.slots.span().subspan(a_ids.size()));
    ASSERT_EQ(GradientFloats(tables_, ticket.pull.counts), gradients.size());
    tickets_.push_back(std::move(ticket));
    gradients_.push_back(std::move(gradients));
    pushes_.push_back({worker, &tickets_.back(), gradients_.back()});
  }
  Status Apply(int64_t step) {
    const Status status = update_.Apply(optimizer_, kLr, step, step, pushes_, &tables_);
    pushes_.clear();
    return status;
  }
  std::string Text(int t) const {
    std::string text;
    std::vector<TableShard::Row> rows = tables_[t].SortedRows();
    std::sort(rows.begin(), rows.end(), [](const auto& x, const auto& y) { return x.id < y.id; });
    for (const auto& [id, slot] : rows) {
      absl::StrAppend(&text, text.empty() ? "" : " ", id, ":[");
      for (int e = 0; e < tables_[t].dim(); ++e) {
        absl::StrAppend(&text, e == 0 ? "" : " ", tables_[t].value(slot)[e]);
      }
      absl::StrAppend(&text, "] f", tables_[t].frequency(slot), " s", tables_[t].last_step(slot));
    }
    return text;
  }

  SparseOptimizer optimizer_;
  std::vector<TableShard> tables_;
  std::deque<Ticket> tickets_;
  std::deque<std::vector<float>> gradients_;
  std::vector<PushedGradients> pushes_;
  StepUpdate update_;
};

TEST_F(StepUpdateTest, GradientsOfARowAreSummedAndAppliedOnce) {
  Add(0, {7, 9}, {3}, {1, 2, 3, 4, 5});
  Add(1, {9}, {}, {10, 20});
  Add(2, {9, 7}, {3}, {100, 200, 300, 400, 500});
  ASSERT_OK(Apply(1));
  EXPECT_EQ(Text(0), "7:[-149.5 -200] f1 s1 9:[-55.5 -111] f1 s1");
  EXPECT_EQ(Text(1), "3:[-251.5] f1 s1");
  Add(0, {7}, {}, {1, 1});
  Add(1, {}, {4}, {2});
  ASSERT_OK(Apply(2));
  EXPECT_EQ(Text(0), "7:[-150 -200.5] f2 s2 9:[-55.5 -111] f1 s1");
  EXPECT_EQ(Text(1), "3:[-251.5] f1 s1 4:[0] f1 s2");
}

TEST_F(StepUpdateTest, SumsInTheOrderOfThePushes) {
  // (1e8 + 1) - 1e8 loses the 1 in float32; (1e8 - 1e8) + 1 keeps it.
  Add(0, {}, {1, 2}, {1e8f, 1e8f});
  Add(1, {}, {2, 1}, {-1e8f, 1.0f});
  Add(2, {}, {1, 2}, {-1e8f, 1.0f});
  ASSERT_OK(Apply(1));
  EXPECT_EQ(Text(1), "1:[1] f1 s1 2:[0.5] f1 s1");
}

TEST_F(StepUpdateTest, AStepCountsAClickOfARowOnceHoweverManyWorkersMarkIt) {
  Table table = tables_[1].table();
  table.policy = {.max_rows = 5000, .eviction = EvictionKind::kScore, .half_life_steps = 3};
  table.policy.click_weight = 1;
  tables_[1] = TableShard(table, optimizer_, 1);
  const auto clicks = [this](int64_t id) { return tables_[1].clicks(tables_[1].Find(id)); };
  // Table a counts none, though its id 7 is marked; b's ids 3, 4 and 5 are the bits 1, 2 and 3.
  Add(0, {7}, {3, 4, 5}, {1, 1, 1, 1, 1}, 0b0011);
  Add(1, {}, {5, 3}, {1, 1}, 0b11);
  Add(2, {}, {4}, {1}, 0b0);
  ASSERT_OK(Apply(1));
  EXPECT_EQ(Text(1), "3:[0] f1 s1 4:[0] f1 s1 5:[0] f1 s1");
  EXPECT_EQ(clicks(3), 1);
  EXPECT_EQ(clicks(4), 0);
  EXPECT_EQ(clicks(5), 1);
  Add(0, {}, {3, 4}, {1, 1}, 0b11);  // a single worker
  ASSERT_OK(Apply(2));
  EXPECT_EQ(clicks(3), 2);
  EXPECT_EQ(clicks(4), 1);
  EXPECT_EQ(clicks(5), 1);
}

TEST_F(StepUpdateTest, NothingPushedChangesNothing) {
  Add(0, {}, {}, {});
  Add(1, {}, {}, {});
  ASSERT_OK(Apply(1));
  EXPECT_EQ(Text(0), "");
}

TEST_F(StepUpdateTest, AnIdTwiceInOnePullIsAnError) {
  Add(0, {5, 5}, {}, {1, 1, 1, 1});
  const Status status = Apply(1);
  EXPECT_THAT(status, IsError(testing::HasSubstr("worker 0 names id 5 of table a twice")));
}

TEST_F(StepUpdateTest, AnIdTwiceInOnePullIsAnErrorOfTablesWithPoliciesToo) {
  for (const RowPolicy& policy : {RowPolicy{.max_rows = 5000}, RowPolicy{.admit_after_steps = 2},
                                  RowPolicy{.admit_after_steps = 2,
                                  .filter_bytes = kBucketCount * kFilterWordBytes,
                                  .filter_halve_steps = 10}}) {
    Table table = tables_[0].table();
    table.policy = policy;
    tables_[0] = TableShard(table, optimizer_, 1);
    Add(0, {5, 5}, {}, {1, 1, 1, 1});
    EXPECT_THAT(Apply(1), IsError(testing::HasSubstr("worker 0 names id 5 of table a twice")));
  }
}

TEST_F(StepUpdateTest, ManyRowsOverManySteps) {
  // Row i of table b is named by worker w in step s iff (i + s) % (w + 2) == 0; every gradient is
  // 1.
  std::vector<float> expected(600, 1.0f);
  std::vector<int64_t> frequency(600, 0);
  for (int step = 1; step <= 5; ++step) {
    std::vector<int> named(600, 0);
    for (int worker = 0; worker < 3; ++worker) {
      std::vector<int64_t> ids;
      for (int i = 0; i < 600; ++i) {
        if ((i + step) % (worker + 2) == 0) {
          ids.push_back(i);
          ++named[i];
        }
      }
      Add(worker, {}, ids, std::vector<float>(ids.size(), 1.0f));
    }
    ASSERT_OK(Apply(step));
    for (int i = 0; i < 600; ++i) {
      expected[i] -= static_cast<float>(kLr * named[i]);
      frequency[i] += named[i] > 0;
    }
  }
  for (int i = 0; i < 600; ++i) {
    const int64_t slot = tables_[1].Find(i);
    ASSERT_EQ(slot == TableShard::kNoSlot, frequency[i] == 0) << i;
    if (slot == TableShard::kNoSlot) continue;
    EXPECT_EQ(tables_[1].value(slot)[0], expected[i]) << i;
    EXPECT_EQ(tables_[1].frequency(slot), frequency[i]) << i;
  }
}

TEST(StepUpdateFrozenTest, FrozenTablesGetRowsButNoUpdate) {
  Table table;
  table.name = "frozen";
  table.rows = 10;
  table.dim = 1;
  table.initializer = {InitKind::kConstant, 1.0, 0.0};
  table.trainable = false;
  SparseOptimizer optimizer;
  optimizer.kind = SparseOptimizerKind::kAdam;
  optimizer.weight_decay = 0.1;
  std::vector<TableShard> tables;
  tables.emplace_back(table, optimizer, 1);
  const std::vector<int64_t> ids = {4};
  const std::vector<uint32_t> counts = {1};
  Ticket ticket = {ParsedFrame(FrameHeader(), 0), {counts, ids, {}}, AlignedBuffer<int64_t>(1)};
  ticket.slots[0] = TableShard::kNoSlot;
  const std::vector<float> gradients = {3.0f};
  const PushedGradients push{0, &ticket, gradients};
  ASSERT_OK(StepUpdate().Apply(optimizer, 0.1, 1, 1, {&push, 1}, &tables));
  const int64_t slot = tables[0].Find(4);
  ASSERT_NE(slot, TableShard::kNoSlot);
  EXPECT_EQ(tables[0].value(slot)[0], 1.0f);
  EXPECT_EQ(tables[0].state(slot)[0], 0.0f);
  EXPECT_EQ(tables[0].frequency(slot), 1);
}

// One table, under sgd or another optimizer, whose rows begin with 1, and pushes that name ids 0 to
// n - 1, each with this gradient.
class NarrowStep {
 public:
  NarrowStep(ValueKind kind, int64_t ids, bool is_trainable = true,
             const SparseOptimizer& optimizer = Sgd())
      : optimizer_(optimizer), ids_(static_cast<size_t>(ids)) {
    Table table;
    table.name = "a";
    table.rows = 1 << 20;
    table.dim = 3;
    table.initializer = {InitKind::kConstant, 1.0, 0.0};
    table.trainable = is_trainable;
    table.value_kind = kind;
    tables_.emplace_back(table, optimizer_, 1);
    for (size_t i = 0; i < ids_.size(); ++i) ids_[i] = static_cast<int64_t>(i);
  }
  void Apply(int64_t step, double lr, int workers, float gradient) {
    const std::vector<uint32_t> counts = {static_cast<uint32_t>(ids_.size())};
    const std::vector<float> gradients(ids_.size() * 3, gradient);
    std::vector<Ticket> tickets;
    std::vector<PushedGradients> pushes;
    tickets.reserve(static_cast<size_t>(workers));
    for (int worker = 0; worker < workers; ++worker) {
      tickets.push_back(
          {ParsedFrame(FrameHeader(), 0), {counts, ids_, {}}, AlignedBuffer<int64_t>(ids_.size())});
      tables_[0].Find(ids_, tickets.back().slots.span());
      pushes.push_back({worker, &tickets.back(), gradients});
    }
    ASSERT_OK(update_.Apply(optimizer_, lr, step, step, pushes, &tables_));
  }
  std::vector<float> Values() const {
    std::vector<int64_t> slots(ids_.size());
    std::vector<float> values(ids_.size() * 3);
    tables_[0].FindAndRead(ids_, slots, values.data());
    return values;
  }
  std::vector<float> States() const {
    std::vector<float> states(ids_.size() * 3);
    for (size_t i = 0; i < ids_.size(); ++i) {
      tables_[0].codec().ReadState(tables_[0].floats(tables_[0].Find(ids_[i])),
                                   states.data() + i * 3);
    }
    return states;
  }

 private:
  static SparseOptimizer Sgd() {
    SparseOptimizer sgd;
    sgd.kind = SparseOptimizerKind::kSgd;
    return sgd;
  }
  SparseOptimizer optimizer_;
  std::vector<TableShard> tables_;
  std::vector<int64_t> ids_;
  StepUpdate update_;
};

// A sixteenth of a quantum a step: rounding to nearest would never move.
TEST(StepUpdateNarrowTest, StepsBelowHalfAQuantumMoveByTheRightMean) {
  constexpr int kSteps = 64, kIds = 3000;
  for (const auto& [kind, quantum] : {std::pair(ValueKind::kFp16, 0x1p-10),
                                      {ValueKind::kBf16, 0x1p-7},
                                      {ValueKind::kInt8, 0x1p-6}}) {
    for (const int workers : {1, 2}) {  // one gradient a row, and sums
      NarrowStep steps(kind, kIds);
      // Upwards from 1, where the quantum is that of [1, 2).
      for (int step = 1; step <= kSteps; ++step) {
        steps.Apply(step, quantum / 16 / workers, workers, -1.0f);
      }
      double sum = 0;
      for (const float x : steps.Values()) {
        sum += x - 1;
        ASSERT_EQ(std::fmod(x, quantum), 0) << TypeOf(kind).name;
      }
      const double mean = sum / (kIds * 3);
      // Each step's draw has a deviation of at most half a quantum; INT8's scale is that of the
      // row's largest element.
      const double deviation = quantum / 2 * std::sqrt(kSteps / (kIds * 3.0));
      EXPECT_NEAR(mean, kSteps * quantum / 16, 4.5 * deviation)
          << TypeOf(kind).name << ", " << workers << " workers";
    }
  }
}

// Under adagrad each step adds a sixteenth of a quantum to s, which rounding to nearest would lose.
TEST(StepUpdateNarrowTest, StateBelowHalfAQuantumGrowsByTheRightMean) {
  constexpr int kSteps = 64, kIds = 3000;
  constexpr float kQuantum = 0x1p-7;
  for (const ValueKind values : {ValueKind::kFp32, ValueKind::kBf16}) {
    for (const int workers : {1, 2}) {
      SparseOptimizer adagrad;
      adagrad.kind = SparseOptimizerKind::kAdagrad;
      adagrad.initial_accumulator_value = 1;
      adagrad.state_kind = ValueKind::kBf16;
      NarrowStep steps(values, kIds, true, adagrad);
      const float gradient = std::sqrt(kQuantum / 16) / static_cast<float>(workers);
      for (int step = 1; step <= kSteps; ++step) steps.Apply(step, 0.1, workers, gradient);
      double sum = 0;
      for (const float s : steps.States()) {
        sum += s - 1;
        ASSERT_EQ(std::fmod(s, kQuantum), 0);
      }
      const double deviation = kQuantum / 2 * std::sqrt(kSteps / (kIds * 3.0));
      EXPECT_NEAR(sum / (kIds * 3), kSteps * kQuantum / 16, 4.5 * deviation)
          << TypeOf(values).name << ", " << workers << " workers";
    }
  }
}

TEST(StepUpdateNarrowTest, AStepThatMovesNothingAndATableThatIsNotTrainedKeepTheirBits) {
  for (const ValueKind kind : {ValueKind::kFp16, ValueKind::kBf16, ValueKind::kInt8}) {
    NarrowStep moved(kind, 200);
    moved.Apply(1, 0.013, 1, 0.77f);
    const std::vector<float> values = moved.Values();
    for (int step = 2; step < 6; ++step) moved.Apply(step, 0.1, 1, 0.0f);
    EXPECT_EQ(moved.Values(), values) << TypeOf(kind).name;
    NarrowStep frozen(kind, 200, /*is_trainable=*/false);
    for (int step = 1; step < 6; ++step) frozen.Apply(step, 0.1, 2, 0.3f);
    EXPECT_THAT(frozen.Values(), testing::Each(1.0f)) << TypeOf(kind).name;
  }
}

}  // namespace
}  // namespace pepnet
