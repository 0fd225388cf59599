#include "cli/inspect/inspect.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "cli/inspect/inspect_diff.h"
#include "cli/inspect/neighbours.h"
#include "cli/inspect/what_if.h"
#include "common/base/partition.h"
#include "common/checkpoint/filter_part.h"
#include "common/checkpoint/safetensors.h"
#include "tests/common/checkpoint/test_files.h"
#include "tests/common/checkpoint/test_rows.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using testing::HasSubstr;

class InspectTest : public testing::Test {
 protected:
  // A checkpoint of the given tables with one dense tensor.
  std::string Write(const std::string& model,
                    const std::vector<std::pair<std::string, TestRows>>& tables, int part_count,
                    float weight = 1, ValueKind value_kind = ValueKind::kFp32,
                    const std::vector<EventPoint>& event_times = {},
                    ValueKind state_kind = ValueKind::kFp32) {
    auto writer = CheckpointWriter::Begin(directory_ / model, 3).value();
    Manifest manifest;
    manifest.step = 3;
    manifest.event_times = event_times;
    for (const auto& [name, rows] : tables) {
      auto parts = WriteParts(writer.temporary_directory(), name, rows, part_count).value();
      for (PartEntry& part : parts) {
        part.value_kind = value_kind;
        part.state_kind = state_kind;
      }
      manifest.parts.insert(manifest.parts.end(), parts.begin(), parts.end());
    }
    const auto sum = WriteTensor(writer.temporary_directory() + "/dense.safetensors", weight);
    manifest.files.push_back({"dense.safetensors", sum.bytes, sum.crc32c});
    return writer.Commit(manifest).value();
  }
  SafetensorsWriter::Result WriteTensor(const std::string& path, float weight) {
    auto writer =
        SafetensorsWriter::Create(path, {{"w", "F32", {3}}, {"step", "I64", {1}}}).value();
    const float w[3] = {weight, -4, std::numeric_limits<float>::quiet_NaN()};
    const int64_t step = 7;
    EXPECT_OK(writer->Append(w, sizeof(w)));
    EXPECT_OK(writer->Append(&step, sizeof(step)));
    return writer->Finish().value();
  }

  TemporaryDirectory directory_;
};

TEST_F(InspectTest, SummaryHoldsRowsNormsAndDigest) {
  TestRows rows = MakeRows("t", 3, 2, 0);
  rows.values = {3, 4, 0, 0, std::numeric_limits<float>::infinity(), 1};
  const std::string path = Write("m", {{"t", rows}, {"empty", MakeRows("empty", 0, 4, 4)}}, 2);
  ASSERT_OK_AND_ASSIGN(const auto summary, SummarizeCheckpoint(path));
  ASSERT_EQ(summary.tables.size(), 2u);
  EXPECT_EQ(summary.tables[0].table, "empty");
  EXPECT_EQ(summary.tables[0].statistics.norm_max, 0);
  const TableSummary& table = summary.tables[1];
  EXPECT_EQ(table.rows, 3);
  EXPECT_EQ(table.statistics.parts.size(), 2u);
  EXPECT_EQ(table.statistics.norm_min, 0);
  EXPECT_EQ(table.statistics.norm_max, 5);
  EXPECT_EQ(table.statistics.norm_mean(), 2.5);
  EXPECT_EQ(table.statistics.non_finite_rows, 1);
  EXPECT_THAT(SummaryToText(summary), HasSubstr(table.digest.ToString()));
  EXPECT_THAT(SummaryToText(summary), HasSubstr("1 rows with NaN or infinity"));
  const auto json = nlohmann::json::parse(SummaryToJson(summary));
  EXPECT_EQ(json["tables"][1]["digest"], table.digest.ToString());
  EXPECT_EQ(json["tables"][1]["norm_mean"], 2.5);
  EXPECT_EQ(json["step"], 3);

  EXPECT_EQ(SummarizeCheckpoint(path, "t")->tables.size(), 1u);
  EXPECT_EQ(SummarizeCheckpoint(path, "x").status().code(), absl::StatusCode::kNotFound);
  // The digest of a table does not depend on the number of parts.
  const std::string other = Write("other", {{"t", rows}}, 3);
  EXPECT_EQ(SummarizeCheckpoint(other, "t")->tables[0].digest, table.digest);
}

TEST_F(InspectTest, ATableOfFewerBitsSaysSoAndItsBytesCount) {
  const std::string path = Write("m", {{"t", MakeRows("t", 30, 6, 6)}}, 2, 1, ValueKind::kBf16);
  ASSERT_OK_AND_ASSIGN(const auto summary, SummarizeCheckpoint(path));
  EXPECT_EQ(summary.tables[0].value_kind, ValueKind::kBf16);
  EXPECT_THAT(SummaryToText(summary),
              HasSubstr("t: values kept in BF16, 36 bytes per row with state on a server"));
  EXPECT_THAT(SummaryToHtml(summary), HasSubstr("<td>6 BF16</td>"));
  const auto json = nlohmann::json::parse(SummaryToJson(summary));
  EXPECT_EQ(json["tables"][0]["data_type"], "BF16");
  EXPECT_EQ(json["tables"][0]["state_data_type"], "FP32");
  EXPECT_EQ(json["tables"][0]["row_bytes"], 36);
  ASSERT_OK_AND_ASSIGN(const auto what_if, WhatIf(path, {.max_rows = 1024}, "t"));
  EXPECT_EQ(what_if[0].bytes_per_row, MostBytesPerRow(36, {.max_rows = 1024}));
}

TEST_F(InspectTest, AStateOfFewerBitsSaysSoAndItsBytesCount) {
  const std::string path =
      Write("m", {{"t", MakeRows("t", 30, 6, 6)}}, 2, 1, ValueKind::kFp32, {}, ValueKind::kBf16);
  ASSERT_OK_AND_ASSIGN(const auto summary, SummarizeCheckpoint(path));
  EXPECT_THAT(
      SummaryToText(summary),
      HasSubstr("t: values kept in FP32, state in BF16, 36 bytes per row with state on a server"));
  EXPECT_THAT(SummaryToHtml(summary), HasSubstr("<td>6</td><td>6 BF16</td>"));
  const auto json = nlohmann::json::parse(SummaryToJson(summary));
  EXPECT_EQ(json["tables"][0]["state_data_type"], "BF16");
  EXPECT_EQ(json["tables"][0]["row_bytes"], 36);
  ASSERT_OK_AND_ASSIGN(const auto what_if, WhatIf(path, {.max_rows = 1024}, "t"));
  EXPECT_EQ(what_if[0].bytes_per_row, MostBytesPerRow(36, {.max_rows = 1024}));
}

TEST_F(InspectTest, StatisticsNameDeadZeroAndHotRowsAndEachServersLoad) {
  TestRows rows = MakeRows("t", 40, 2, 1);
  for (size_t i = 0; i < 40; ++i) rows.frequency[i] = static_cast<int64_t>(i < 3 ? 0 : i);
  std::fill(rows.values.begin(), rows.values.end(), 0.75f);  // norm 1.06
  std::fill(rows.values.begin(), rows.values.begin() + 4, 0.0f);
  const std::string path = Write("m", {{"t", rows}}, 3);
  ASSERT_OK_AND_ASSIGN(const auto summary, SummarizeCheckpoint(path));
  const TableStatistics& s = summary.tables[0].statistics;
  EXPECT_EQ(s.dead_rows, 3);
  EXPECT_EQ(s.zero_rows, 2);
  EXPECT_EQ(s.norm_histogram, (std::map<int, int64_t>{{0, 38}}));
  ASSERT_EQ(s.hottest.size(), TableStatistics::kHottest);
  EXPECT_EQ(s.hottest[0].id, rows.ids[39]);
  EXPECT_EQ(s.hottest[9].frequency, 30);
  ASSERT_EQ(s.parts.size(), 3u);
  EXPECT_EQ(s.parts[0].rows + s.parts[1].rows + s.parts[2].rows, 40);
  EXPECT_EQ(s.parts[0].updates + s.parts[1].updates + s.parts[2].updates, (3 + 39) * 37 / 2);
  const std::string text = SummaryToText(summary);
  EXPECT_THAT(text,
              HasSubstr("t: 3 rows never updated, 2 rows all zero, 0 rows with NaN or infinity"));
  EXPECT_THAT(text, HasSubstr("norms (rows): 1 to 2: 38"));
  EXPECT_THAT(text, HasSubstr(absl::StrCat("hottest ids (updates): ", rows.ids[39], " (39), ")));
  EXPECT_THAT(text, HasSubstr(absl::StrCat("server 2: ", s.parts[2].rows, " rows")));
  const auto json = nlohmann::json::parse(SummaryToJson(summary));
  EXPECT_EQ(json["tables"][0]["servers"][1]["updates"], s.parts[1].updates);
  EXPECT_EQ(json["tables"][0]["hottest"][0]["updates"], 39);
  const std::string html = SummaryToHtml(summary);
  EXPECT_THAT(html, HasSubstr("<h2>t</h2>"));
  EXPECT_THAT(html, HasSubstr("hottest ids, updates"));
  EXPECT_THAT(html, HasSubstr("</body></html>"));
}

TEST_F(InspectTest, NamesAreEscapedInTheReport) {
  ASSERT_OK_AND_ASSIGN(const auto summary,
                       SummarizeCheckpoint(Write("m", {{"<b>&t", MakeRows("<b>&t", 2, 1, 0)}}, 1)));
  EXPECT_THAT(SummaryToHtml(summary), HasSubstr("<h2>&lt;b&gt;&amp;t</h2>"));
}

TEST_F(InspectTest, ARowIsFoundInItsPart) {
  const TestRows rows = MakeRows("t", 50, 2, 1);
  const std::string path = Write("m", {{"t", rows}}, 3);
  ASSERT_OK_AND_ASSIGN(const auto text, DescribeRow(path, "t", rows.ids[20], false));
  EXPECT_THAT(text, HasSubstr(absl::StrCat("table t, id ", rows.ids[20], ", in tables/t/part-")));
  EXPECT_THAT(text, HasSubstr(absl::StrCat("updates ", rows.frequency[20], ", the last at step ",
                                           rows.last_step[20])));
  const auto json = nlohmann::json::parse(*DescribeRow(path, "t", rows.ids[20], true));
  EXPECT_EQ(json["value"][1].get<float>(), rows.values[41]);
  EXPECT_EQ(json["state"][0].get<float>(), rows.states[20]);
  const auto absent = DescribeRow(path, "t", int64_t{1} << 60, false);
  EXPECT_EQ(absent.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(absent, IsError(HasSubstr("reads its initial value")));
  EXPECT_THAT(DescribeRow(path, "x", 1, false), IsError(HasSubstr("has no table x")));
}

TEST_F(InspectTest, EqualRowsInOtherPartsAreEqual) {
  const TestRows rows = MakeRows("t", 5000, 2, 1);
  ASSERT_OK_AND_ASSIGN(const auto diff,
                       DiffCheckpoints(Write("a", {{"t", rows}}, 1), Write("b", {{"t", rows}}, 3)));
  EXPECT_TRUE(diff.equal());
  EXPECT_THAT(DiffToText(diff, {}),
              HasSubstr("t: equal, 5000 rows\ndense layers: 2 of 2 equal\nequal\n"));
  EXPECT_EQ(nlohmann::json::parse(DiffToJson(diff, {}))["equal"], true);
}

TEST_F(InspectTest, DifferencesAreCountedByTableAndBucket) {
  const TestRows rows = MakeRows("t", 70000, 2, 1);
  TestRows changed;
  changed.dim = 2;
  changed.state_dim = 1;
  changed.Append(rows.Cut(0, 69990));  // ten rows less
  changed.values[10] = rows.values[10] + 2;
  changed.states[69000] = rows.states[69000] - 8;
  changed.last_step[65536] += 1;
  const std::string left = Write(
      "a", {{"t", rows}, {"gone", MakeRows("gone", 7, 1, 0)}, {"w", MakeRows("w", 1, 1, 0)}}, 1);
  const std::string right = Write("b", {{"t", changed}, {"w", MakeRows("w", 1, 2, 0)}}, 3, 1.5f);
  ASSERT_OK_AND_ASSIGN(const auto diff, DiffCheckpoints(left, right));
  EXPECT_FALSE(diff.equal());
  const std::string text = DiffToText(diff, {});
  EXPECT_THAT(
      text,
      HasSubstr(
          "t: 10 rows only left, 0 only right, 69990 in both: 1 with other values, 2 with other "
          "optimizer state or counters alone\n"));
  EXPECT_THAT(text, HasSubstr("largest difference 2\n  optimizer state: largest difference 8\n"));
  EXPECT_THAT(text, HasSubstr(absl::StrCat("  moved most, by distance:\n    ", rows.ids[5],
                                           " by 2 (norm ")));
  EXPECT_THAT(text, HasSubstr("gone: only left, 7 rows"));
  EXPECT_THAT(text, HasSubstr("w: dim 1 and state 0 left, dim 2 and state 0 right"));
  EXPECT_THAT(text, HasSubstr("dense layers: 1 of 2 equal\n  w: moved by 12.1 % of their norm; "
                              "largest difference 0.5\n"));
  EXPECT_THAT(text, testing::EndsWith("different\n"));
  EXPECT_EQ(DiffInBrief(diff), "3 of 3 tables and 1 of 2 dense layers differ");
  const auto json = nlohmann::json::parse(DiffToJson(diff, {}));
  EXPECT_EQ(json["tables"][1]["other_values"], 1);
  EXPECT_EQ(json["tables"][1]["moved"][0]["id"], rows.ids[5]);
  EXPECT_EQ(json["dense"]["changed"][0]["largest"], 0.5);
  ASSERT_OK_AND_ASSIGN(const auto reverse, DiffCheckpoints(right, left, "t"));
  EXPECT_THAT(DiffToText(reverse, {}), HasSubstr("0 rows only left, 10 only right"));
  EXPECT_THAT(DiffToText(reverse, {}), testing::Not(HasSubstr("gone")));
  EXPECT_EQ(DiffCheckpoints(left, right, "x").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(InspectTest, TheTenRowsThatMovedMostAreNamedWithTheirWords) {
  const TestRows rows = MakeRows("t", 100, 2, 0);
  TestRows moved = rows;
  double squared = 0, norm = 0;
  for (size_t row = 0; row < 30; ++row) {  // row r moves by r + 1
    moved.values[2 * row] += static_cast<float>(row + 1);
    const double by = static_cast<double>(moved.values[2 * row]) - rows.values[2 * row];
    squared += by * by;
    for (size_t i : {2 * row, 2 * row + 1}) {
      norm += static_cast<double>(rows.values[i]) * rows.values[i];
    }
  }
  ASSERT_OK_AND_ASSIGN(const auto diff, DiffCheckpoints(Write("a", {{"t", rows}}, 2),
                                                        Write("b", {{"t", moved}}, 1)));
  const TableDiff& table = diff.tables[0];
  EXPECT_EQ(table.other_values, 30);
  EXPECT_NEAR(table.relative_change, std::sqrt(squared / norm), 1e-12 * std::sqrt(squared / norm));
  ASSERT_EQ(table.moved.size(), 10u);
  for (size_t i = 0; i < 10; ++i) {
    EXPECT_EQ(table.moved[i].id, rows.ids[29 - i]);
    EXPECT_NEAR(table.moved[i].distance, 30.0 - static_cast<double>(i), 1e-5);
  }
  const TableWords words = {{"t", {{rows.ids[29], "home"}, {rows.ids[20], "a\nb"}}},
                            {"u", {{rows.ids[28], "no"}}}};
  const std::string text = DiffToText(diff, words);
  EXPECT_THAT(text, HasSubstr(absl::StrCat("\n    ", rows.ids[29], " \"home\" by 30 (norm ")));
  EXPECT_THAT(text, HasSubstr("\"a\\nb\" by 21 (norm "));
  EXPECT_THAT(text, testing::Not(HasSubstr("\"no\"")));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2 + 8 + 2)
      << "paths, at most ten lines a table, the rest";
  EXPECT_EQ(nlohmann::json::parse(DiffToJson(diff, words))["tables"][0]["moved"][0]["word"],
            "home");
  EXPECT_THAT(*DescribeRow(diff.left, "t", rows.ids[29], false, words),
              HasSubstr(absl::StrCat("id ", rows.ids[29], " \"home\", in ")));
}

TEST_F(InspectTest, NeighboursPointTheSameWay) {
  TestRows rows = MakeRows("t", 3000, 2, 0);
  // row r at r / 3000 of a turn, at other distances from 0
  for (size_t row = 0; row < rows.size(); ++row) {
    const double turn = 2 * 3.14159265358979 * static_cast<double>(row) / 3000;
    rows.values[2 * row] = static_cast<float>((1 + static_cast<double>(row % 7)) * std::cos(turn));
    rows.values[2 * row + 1] =
        static_cast<float>((1 + static_cast<double>(row % 7)) * std::sin(turn));
  }
  rows.values[2 * 1003] = rows.values[2 * 1003 + 1] = 0;  // has no direction
  const std::string path = Write("a", {{"t", rows}}, 3);
  ASSERT_OK_AND_ASSIGN(const Neighbours found, FindNeighbours(path, "t", rows.ids[1000], 5));
  EXPECT_EQ(found.rows, 2998);
  EXPECT_NEAR(found.mean_cosine, 0, 1e-3);
  EXPECT_NEAR(found.norm, 1 + 1000 % 7, 1e-5);
  std::vector<int64_t> ids;
  for (const Neighbour& one : found.nearest) ids.push_back(one.id);
  EXPECT_THAT(ids, testing::UnorderedElementsAre(rows.ids[999], rows.ids[1001], rows.ids[998],
                                                 rows.ids[1002], rows.ids[997]));
  EXPECT_NEAR(found.nearest[4].cosine, std::cos(3 * 2 * 3.14159265358979 / 3000), 1e-6);
  const TableWords words = {{"t", {{found.nearest[0].id, "home"}}}};
  EXPECT_THAT(NeighboursToText("t", found, words),
              HasSubstr("nearest of 2998 rows by cosine (on average "));
  EXPECT_THAT(NeighboursToText("t", found, words),
              HasSubstr(absl::StrCat("\n    ", found.nearest[0].id, " \"home\" ")));
  const auto json = nlohmann::json::parse(NeighboursToJson("t", rows.ids[1000], found, words));
  EXPECT_EQ(json["neighbours"][0]["word"], "home");
  EXPECT_EQ(json["neighbours"].size(), 5u);
  EXPECT_THAT(FindNeighbours(path, "t", rows.ids[1003], 5), IsError(HasSubstr("has the norm 0")));
  EXPECT_THAT(FindNeighbours(path, "t", int64_t{1} << 60, 5), IsError(HasSubstr("has no row")));
  EXPECT_THAT(FindNeighbours(path, "u", 1, 5), IsError(HasSubstr("has no table u")));
}

TEST_F(InspectTest, OptimizerStateIsCountedAndNotListed) {
  const TestRows rows = MakeRows("t", 5, 1, 0);
  const auto write = [&](const std::string& model, float weight, float momentum) {
    auto writer = CheckpointWriter::Begin(directory_ / model, 3).value();
    Manifest manifest;
    manifest.step = 3;
    manifest.parts = WriteParts(writer.temporary_directory(), "t", rows, 1).value();
    const std::string path = writer.temporary_directory() + "/dense.safetensors";
    auto tensors = SafetensorsWriter::Create(
                       path, {{"w", "F32", {1}}, {"w/exp_avg", "F32", {1}}, {"a/b", "F32", {1}}})
                       .value();
    for (const float value : {weight, momentum, 1.0f}) {
      EXPECT_OK(tensors->Append(&value, sizeof(value)));
    }
    const auto sum = tensors->Finish().value();
    manifest.files.push_back({"dense.safetensors", sum.bytes, sum.crc32c});
    return writer.Commit(manifest).value();
  };
  const std::string left = write("a", 1, 2);
  ASSERT_OK_AND_ASSIGN(const auto state, DiffCheckpoints(left, write("b", 1, 3)));
  EXPECT_FALSE(state.equal());
  EXPECT_THAT(DiffToText(state, {}),
              HasSubstr("dense layers: 2 of 2 equal; optimizer state: 0 of 1 equal\ndifferent"));
  EXPECT_EQ(DiffInBrief(state), "the state of the dense optimizer differs");
  ASSERT_OK_AND_ASSIGN(const auto both, DiffCheckpoints(left, write("c", 1.5, 3)));
  EXPECT_THAT(DiffToText(both, {}),
              HasSubstr("dense layers: 1 of 2 equal; optimizer state: 0 of 1 equal\n"
                        "  w: moved by 50 % of their norm; largest difference 0.5\n"));
}

// Two checkpoints are not equal that differ in what a job goes on with beside its rows.
TEST_F(InspectTest, FiltersAndEventTimesAreCompared) {
  const TestRows rows = MakeRows("t", 5, 1, 0);
  // Every counter of a word of 16 is `counter`; the filter of table t stands in `parts` files.
  const auto write = [&](const std::string& model, uint64_t counter, int parts, int64_t time,
                         bool filters = true, int64_t words = 2, int64_t grows = 0) {
    auto writer = CheckpointWriter::Begin(directory_ / model, 3).value();
    Manifest manifest;
    manifest.step = 3;
    manifest.parts = WriteParts(writer.temporary_directory(), "t", rows, 1).value();
    if (time > 0) manifest.event_times = {{1, 5}, {3, time}};
    for (int part = 0; filters && part < parts; ++part) {
      FilterEntry entry;
      entry.table = "t";
      entry.first_bucket = FirstBucket(part, parts);
      entry.end_bucket = FirstBucket(part + 1, parts);
      entry.counter_bits = 4;
      entry.bucket_words = words + part * grows;
      const std::vector<uint64_t> zero(static_cast<size_t>(entry.bucket_words), 0);
      std::vector<uint64_t> counted = zero;
      counted[0] = counter;
      manifest.filters.push_back(
          WriteFilter(writer.temporary_directory(), entry, part, parts, [&](int bucket) {
            return std::span<const uint64_t>(bucket == 700 ? counted : zero);
          }).value());
    }
    return writer.Commit(manifest).value();
  };
  const std::string left = write("a", 0x21, 1, 9);
  ASSERT_OK_AND_ASSIGN(const auto equal, DiffCheckpoints(left, write("b", 0x21, 3, 9)));
  EXPECT_TRUE(equal.equal());
  EXPECT_THAT(DiffToText(equal, {}),
              HasSubstr("t: equal, 5 rows\nt, admission filter: equal, 32768 counters\n"
                        "event times: equal\nequal\n"));

  ASSERT_OK_AND_ASSIGN(const auto counts, DiffCheckpoints(left, write("c", 0x7017, 2, 9)));
  EXPECT_FALSE(counts.equal());
  EXPECT_THAT(DiffToText(counts, {}),
              HasSubstr("t, admission filter: 3 of 32768 counters differ\n"));
  EXPECT_EQ(DiffInBrief(counts), "1 of 1 admission filters differ");
  EXPECT_EQ(nlohmann::json::parse(DiffToJson(counts, {}))["filters"][0]["other_counters"], 3);
  // One side has no counter in the bucket.
  ASSERT_OK_AND_ASSIGN(const auto none, DiffCheckpoints(write("d", 0, 1, 9), left, "t"));
  EXPECT_EQ(none.filters[0].other_counters, 2);
  EXPECT_FALSE(none.has_event_times);

  ASSERT_OK_AND_ASSIGN(const auto times, DiffCheckpoints(left, write("e", 0x21, 1, 8)));
  EXPECT_FALSE(times.equal());
  EXPECT_EQ(DiffInBrief(times), "the event times differ");
  EXPECT_EQ(nlohmann::json::parse(DiffToJson(times, {}))["equal_event_times"], false);

  const std::string without = write("f", 0, 0, 0);
  ASSERT_OK_AND_ASSIGN(const auto one, DiffCheckpoints(without, left));
  EXPECT_THAT(DiffToText(one, {}),
              HasSubstr("t, admission filter: only right, 32768 counters\nevent times: differ\n"));
  EXPECT_EQ(DiffInBrief(one), "1 of 1 admission filters and the event times differ");
  ASSERT_OK_AND_ASSIGN(const auto larger,
                       DiffCheckpoints(left, write("g", 0x21, 1, 9, /*filters=*/true, 4)));
  EXPECT_THAT(DiffToText(larger, {}),
              HasSubstr("t, admission filter: another size or other bits a counter\n"));
  EXPECT_FALSE(larger.equal());
  // Files of one filter that do not fit together.
  const std::string torn = write("h", 0x21, 2, 9, /*filters=*/true, 2, /*grows=*/1);
  EXPECT_THAT(DiffCheckpoints(left, torn),
              IsError(HasSubstr("has 3 words of 4-bit counters a bucket, expected those of ")));
  ASSERT_OK_AND_ASSIGN(const auto bare, DiffCheckpoints(without, without));
  EXPECT_THAT(DiffToText(bare, {}), testing::Not(HasSubstr("event times")));
}

TEST_F(InspectTest, SafetensorsFileIsSummarized) {
  WriteTensor(directory_ / "x.safetensors", 3);
  ASSERT_OK_AND_ASSIGN(const auto text, SummarizeSafetensors(directory_ / "x.safetensors"));
  EXPECT_THAT(text, HasSubstr("2 tensors, 20 bytes of data"));
  EXPECT_THAT(text, HasSubstr("min -4  max 3  norm 5  1 elements NaN or infinite"));
  EXPECT_THAT(text, HasSubstr("I64  [1]"));
  const auto json =
      nlohmann::json::parse(*SummarizeSafetensors(directory_ / "x.safetensors", /*json=*/true));
  EXPECT_EQ(json["tensors"][1]["name"], "w");
  EXPECT_EQ(json["tensors"][1]["max"], 3);
  EXPECT_EQ(json["tensors"][1]["non_finite"], 1);
}

TEST_F(InspectTest, WhatIfCountsTheRowsThatAPolicyWouldTakeOut) {
  // 1,500 rows over 1,024 buckets; row r was named r % 100 times, last in step r % 4, and the
  // checkpoint is of step 3.
  TestRows rows = MakeRows("t", 1500, 2, 1);
  std::map<int, int64_t> by_bucket;
  int64_t named = 0, old_rows = 0, old_named = 0;
  for (size_t row = 0; row < rows.size(); ++row) {
    rows.last_step[row] = static_cast<int64_t>(row % 4);
    ++by_bucket[BucketOfId("t", rows.ids[row])];
    named += rows.frequency[row];
    if (row % 4 > 1) continue;
    ++old_rows;
    old_named += rows.frequency[row];
  }
  const std::string path = Write("m", {{"t", rows}}, 2);
  {
    ASSERT_OK_AND_ASSIGN(const RowPolicy policy, ParseWhatIf("ttl_steps=2"));
    ASSERT_OK_AND_ASSIGN(const auto tables, WhatIf(path, policy, ""));
    ASSERT_EQ(tables.size(), 1u);
    EXPECT_EQ(tables[0].all.rows, 1500);
    EXPECT_EQ(tables[0].all.named, named);
    EXPECT_EQ(tables[0].expired.rows, old_rows);
    EXPECT_EQ(tables[0].expired.named, old_named);
    EXPECT_EQ(tables[0].evicted.rows, 0);
    EXPECT_EQ(tables[0].by_age.at(0).rows, 375);  // of step 3
    EXPECT_EQ(tables[0].by_age.at(2).rows, 750);  // of steps 0 and 1
    EXPECT_EQ(tables[0].by_frequency.at(0).rows, 15);
    EXPECT_EQ(tables[0].by_frequency.at(7).rows, 15 * 36);  // 64 to 99
    EXPECT_THAT(
        WhatIfToText(policy, tables),
        HasSubstr("t: 1500 rows, 0.1 MiB; 750 would leave (50.00 %): 750 expired, 0 evicted"));
    EXPECT_EQ(nlohmann::json::parse(WhatIfToJson(tables))[0]["expired"]["rows"], old_rows);
  }
  int64_t beyond = 0;
  for (const auto& [bucket, count] : by_bucket) beyond += std::max<int64_t>(0, count - 2);
  ASSERT_GT(beyond, 0);
  ASSERT_OK_AND_ASSIGN(const RowPolicy policy, ParseWhatIf("max_rows=2048,eviction=LFU"));
  ASSERT_OK_AND_ASSIGN(const auto tables, WhatIf(path, policy, "t"));
  EXPECT_EQ(tables[0].evicted.rows, beyond);
  EXPECT_LT(tables[0].evicted.named * 1500, named * beyond);  // the least frequent
  EXPECT_EQ(WhatIf(path, policy, "x").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(InspectTest, WhatIfFindsRowsByTheirEventTime) {
  TestRows rows = MakeRows("t", 8, 2, 1);
  for (size_t row = 0; row < rows.size(); ++row) {
    rows.last_step[row] = static_cast<int64_t>(row % 4);
  }
  const std::string path = Write("m", {{"t", rows}}, 1, 1, ValueKind::kFp32,
                                 {{1, 1'600'000'000}, {2, 1'600'000'300}, {3, 1'600'000'400}});
  for (const auto& [seconds, expired] : {std::pair(401, 0), {400, 4}, {101, 4}, {100, 6}}) {
    ASSERT_OK_AND_ASSIGN(const RowPolicy policy,
                         ParseWhatIf(absl::StrCat("ttl_seconds=", seconds)));
    ASSERT_OK_AND_ASSIGN(const auto tables, WhatIf(path, policy, ""));
    EXPECT_EQ(tables[0].expired.rows, expired) << seconds;
  }
  ASSERT_OK_AND_ASSIGN(const auto summary, SummarizeCheckpoint(path));
  EXPECT_THAT(SummaryToText(summary),
              HasSubstr("event time 1600000400 s since 1970; 3 times known, from 1600000000 at "
                        "the end of step 1\n"));
  EXPECT_EQ(nlohmann::json::parse(SummaryToJson(summary))["event_time"], 1'600'000'400);
  const std::string timeless = Write("n", {{"t", rows}}, 1);
  EXPECT_THAT(
      WhatIf(timeless, *ParseWhatIf("ttl_seconds=5"), ""),
      IsError(HasSubstr("ttl_seconds needs event times, which " + timeless + " does not hold")));
}

TEST_F(InspectTest, WhatIfSaysWhatItExpects) {
  for (const auto& [text, error] : std::map<std::string, std::string>{
           {"", "expected name=value, the name max_rows"},
           {"rows=5", "\"rows=5\"; expected name=value"},
           {"max_rows=x", "max_rows is \"x\"; expected a number from 1"},
           {"ttl_steps=0", "ttl_steps is \"0\"; expected a number from 1"},
           {"eviction=FIFO", "eviction is \"FIFO\"; expected LRU, LFU or SCORE"},
           {"eviction=LFU", "takes no rows out; expected max_rows"},
           {"max_rows=5000,click_weight=x", "click_weight is \"x\"; expected a number from 0"},
           {"max_rows=5000,show_weight=-1", "show_weight is \"-1\"; expected a number from 0"},
       }) {
    EXPECT_THAT(ParseWhatIf(text), IsError(HasSubstr(error))) << text;
  }
  const std::string path = Write("m", {{"t", MakeRows("t", 5, 2, 1)}}, 1);
  EXPECT_THAT(WhatIf(path, *ParseWhatIf("max_rows=5"), ""),
              IsError(HasSubstr("--what_if, table t: max_rows: 5; expected at least 1024")));
  EXPECT_THAT(WhatIf(path, *ParseWhatIf("max_rows=5000,eviction=SCORE"), ""),
              IsError(HasSubstr("half_life_steps")));
  EXPECT_THAT(
      WhatIf(path, *ParseWhatIf("max_rows=5000,eviction=SCORE,half_life_steps=3,click_weight=1"),
             ""),
      IsError(HasSubstr("click_weight needs the clicks of rows, which table t of")));
}

}  // namespace
}  // namespace pepnet
