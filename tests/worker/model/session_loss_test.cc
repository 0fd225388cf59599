#include "worker/model/session_loss.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "common/base/random.h"
#include "common/net/in_process.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

// g of every row by its definition: -log of its share in a softmax over itself and the session's
// rows of the other label.
std::vector<double> Terms(const SessionRows& rows) {
  std::vector<double> terms;
  for (size_t i = 0; i < rows.session.size(); ++i) {
    const int c = rows.positive[i];
    double sum = std::exp(static_cast<double>(rows.z[2 * i + c]));
    for (size_t j = 0; j < rows.session.size(); ++j) {
      const bool is_rival = rows.session[j] == rows.session[i] && rows.positive[j] != c;
      if (is_rival) sum += std::exp(static_cast<double>(rows.z[2 * j + c]));
    }
    terms.push_back(std::log(sum) - rows.z[2 * i + c]);
  }
  return terms;
}

double Total(const SessionRows& rows) {
  const std::vector<double> terms = Terms(rows);
  double sum = 0;
  for (size_t i = 0; i < terms.size(); ++i) sum += terms[i] * static_cast<double>(rows.scale[i]);
  return sum;
}

SessionRows RandomRows(size_t count, uint64_t seed) {
  const auto draw = [seed](uint64_t what, size_t i) {
    return UnitFloat(Philox4x32(RandomKey(seed, RandomPurpose::kTest, what), 0, i)[0]);
  };
  SessionRows rows;
  for (size_t i = 0; i < count; ++i) {
    rows.session.push_back(static_cast<int64_t>(draw(0, i) * 4));
    rows.positive.push_back(draw(1, i) < 0.4f);
    rows.scale.push_back(i % 5 == 0 ? 0 : draw(2, i));
    rows.z.insert(rows.z.end(), {4 * draw(3, i) - 2, 4 * draw(4, i) - 2});
  }
  return rows;
}

template <typename T>
std::vector<T> Part(const std::vector<T>& values, size_t begin, size_t end) {
  return {values.begin() + static_cast<std::ptrdiff_t>(begin),
          values.begin() + static_cast<std::ptrdiff_t>(end)};
}

TEST(RankInSessionsTest, APairIsTheCrossEntropyOfItsDifference) {
  // Row 0 clicked, row 1 not, of one session; row 2 alone in its own.
  const SessionRows rows = {{7, 7, 8}, {1, 0, 1}, {1, 1, 1}, {0.5f, 1, -0.25f, 2, 3, 4}};
  const SessionPart part = RankInSessions(rows, 0.25, 0, 3);
  const double a = 2 - 1, b = 0.5 - -0.25;  // z_1[1] - z_0[1], z_0[0] - z_1[0]
  EXPECT_NEAR(part.losses[0], 0.25 * std::log1p(std::exp(a)), 1e-12);
  EXPECT_NEAR(part.losses[1], 0.25 * std::log1p(std::exp(b)), 1e-12);
  EXPECT_EQ(part.losses[2], 0);
  const double sa = 1 / (1 + std::exp(-a)), sb = 1 / (1 + std::exp(-b));
  const double expected[] = {0.25 * sb, -0.25 * sa, -0.25 * sb, 0.25 * sa, 0, 0};
  for (int i = 0; i < 6; ++i) EXPECT_NEAR(part.gradient[i], expected[i], 1e-7) << i;
}

TEST(RankInSessionsTest, LossesAndGradientsAreThoseOfTheDefinition) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    SessionRows rows = RandomRows(23, seed);
    const SessionPart part = RankInSessions(rows, 0.7, 0, 23);
    const std::vector<double> terms = Terms(rows);
    for (size_t i = 0; i < terms.size(); ++i) EXPECT_NEAR(part.losses[i], 0.7 * terms[i], 1e-9);
    for (size_t i = 0; i < rows.z.size(); ++i) {
      constexpr float h = 0.0078125f;  // 2^-7, of which little is lost when it is added
      const float middle = rows.z[i];
      rows.z[i] = middle + h;
      const double above = Total(rows), up = rows.z[i];
      rows.z[i] = middle - h;
      const double below = Total(rows), down = rows.z[i];
      rows.z[i] = middle;
      EXPECT_NEAR(part.gradient[i], 0.7 * (above - below) / (up - down), 5e-5)
          << "seed " << seed << ", z " << i;
    }
  }
}

TEST(RankInSessionsTest, APartOfTheRowsIsThatPartOfAll) {
  const SessionRows rows = RandomRows(12, 3);
  const SessionPart all = RankInSessions(rows, 0.5, 0, 12), part = RankInSessions(rows, 0.5, 5, 9);
  EXPECT_EQ(part.losses, Part(all.losses, 5, 9));
  EXPECT_EQ(part.gradient, Part(all.gradient, 10, 18));
}

TEST(RankInSessionsTest, ABatchOfOneLabelHasNoTermAndLargeOutputsStayFinite) {
  SessionRows rows = {{1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {1, 2, 3, 4, 5, 6}};
  SessionPart part = RankInSessions(rows, 0.5, 0, 3);
  EXPECT_THAT(part.losses, testing::Each(0.0));
  EXPECT_THAT(part.gradient, testing::Each(0.0f));
  rows = {{1, 1, 1}, {1, 0, 0}, {1, 1, 1}, {1e30f, -1e30f, -1e30f, 1e30f, 3e4f, 1e30f}};
  part = RankInSessions(rows, 0.5, 0, 3);
  EXPECT_NEAR(part.losses[0], 1e30, 1e24);
  for (const float g : part.gradient) EXPECT_TRUE(std::isfinite(g));
}

// ---- the workers of a batch ---------------------------------------------------------------------

JobConfig Config() {
  JobConfig config;
  for (const double alpha : {0.25, 0.5}) {
    Tower& tower = config.model.towers.emplace_back();
    tower.label = 0;
    tower.num_class = 2;
    Loss& loss = tower.losses.emplace_back();
    loss.kind = LossKind::kJrc;
    loss.name = "jrc";
    loss.jrc_alpha = alpha;
    loss.session_feature = 0;
  }
  return config;
}

// The rows [begin, end) as a batch; a session 0 is a row without id.
Batch BatchOf(const SessionRows& rows, size_t begin, size_t end) {
  Batch batch;
  batch.rows = static_cast<int64_t>(end - begin);
  IdColumn& ids = batch.ids.emplace_back();
  ids.offsets.push_back(0);
  LabelColumn& label = batch.labels.emplace_back();
  for (size_t i = begin; i < end; ++i) {
    if (rows.session[i] != 0) ids.ids.push_back(rows.session[i]);
    ids.offsets.push_back(static_cast<int32_t>(ids.ids.size()));
    label.integers.push_back(rows.positive[i]);
    label.values.push_back(rows.positive[i]);
  }
  return batch;
}

TEST(SessionPartsTest, WorkersGetTheirPartOfTheGlobalBatch) {
  const JobConfig config = Config();
  const std::vector<LossSlot> slots = LossSlots(config);
  const SessionRows rows = RandomRows(17, 5), others = RandomRows(17, 6);
  SessionRows second = rows;  // of the second tower: other outputs, the same rows
  second.z = others.z;
  const SessionPart whole[] = {RankInSessions(rows, 0.75, 0, 17),
                               RankInSessions(second, 0.5, 0, 17)};
  const std::vector<size_t> cuts = {0, 6, 6, 17};
  EXPECT_OK(RunRanks(3, {}, [&](int rank, Transport* transport) -> Status {
    const auto workers = MakeCollective(transport, Channel::kDense, {0, 1, 2}, 30);
    const size_t begin = cuts[rank], end = cuts[rank + 1];
    const Batch batch = BatchOf(rows, begin, end);
    const std::vector<std::vector<float>> scales(2, Part(rows.scale, begin, end));
    ModelInput input;
    input.batch = &batch;
    input.row_scales = &scales;
    PEPNET_ASSIGN_OR_RETURN(
        const std::vector<SessionPart> parts,
        SessionParts(config, slots, input, {rows.z.data() + 2 * begin, second.z.data() + 2 * begin},
                     workers.get()));
    for (int i : {0, 1}) {
      EXPECT_EQ(parts[i].losses, Part(whole[i].losses, begin, end));
      EXPECT_EQ(parts[i].gradient, Part(whole[i].gradient, 2 * begin, 2 * end));
    }
    return absl::OkStatus();
  }));
}

TEST(SessionPartsTest, AWorkerOfAnotherConfigIsAnError) {
  const SessionRows rows = RandomRows(4, 5);
  const Status status = RunRanks(2, {}, [&](int rank, Transport* transport) -> Status {
    JobConfig config = Config();
    if (rank == 1) config.model.towers.pop_back();
    const auto workers = MakeCollective(transport, Channel::kDense, {0, 1}, 30);
    const Batch batch = BatchOf(rows, 0, 4);
    const std::vector<std::vector<float>> scales(2, rows.scale);
    ModelInput input;
    input.batch = &batch;
    input.row_scales = &scales;
    return SessionParts(config, LossSlots(config), input, {rows.z.data(), rows.z.data()},
                        workers.get())
        .status();
  });
  EXPECT_THAT(status, IsError(testing::HasSubstr("are not the arrays of")));
}

}  // namespace
}  // namespace pepnet
