#include "cli/plan/prediction.h"

#include <gtest/gtest.h>

#include "tests/support/random_job.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace pepnet {
namespace {

Workload SomeWorkload() {
  Workload load;
  load.batch_size = 1000;
  load.tables = {{"user_id_emb", 1e6, 128, 500}, {"ad_emb", 2e6, 128, 1500}};
  load.unique_rows = 2000;
  load.row_bytes = 2000 * 64;
  load.id_bytes = 2000 * 8;
  load.dense_bytes = 1e6;
  load.row_group_rows = 65536;
  load.sampled_batches = 1;
  return load;
}
Machine SomeMachine() {
  Machine machine;
  machine.worker_samples_per_second = 10000;  // 100 ms a step
  machine.pull_rows_per_second = 10e6;
  machine.push_rows_per_second = 5e6;
  machine.reader_rows_per_second = 1e6;  // 0.5 us to decode, 0.5 us to encode
  machine.decode_rows_per_second = 2e6;
  machine.pass_rows_per_second = 10e6;
  machine.sum_bytes_per_second = 1e9;
  return machine;
}

TEST(Prediction, OneHostUsesNoLink) {
  const Prediction p = Predict(SomeWorkload(), SomeMachine(), {1, 1, 1, 1.0, 1});
  EXPECT_EQ(p.link_bytes_per_step, 0);
  EXPECT_EQ(p.link_s, 0);
  EXPECT_DOUBLE_EQ(p.worker_s, 0.1);
  EXPECT_DOUBLE_EQ(p.server_s, 2000 * (1 / 10e6 + 1 / 5e6));
  EXPECT_DOUBLE_EQ(p.step_s, p.worker_s + p.server_s);
  EXPECT_EQ(p.decoded_per_row, 1);  // a single worker trains on all it decodes
  EXPECT_EQ(p.bound_by, "worker");
}

TEST(Prediction, LinkCarriesRowsToOtherHostsAndBothRoundsOfTheSum) {
  // 3 hosts of 2 workers and 1 server, 1e8 bytes/s.
  const Prediction p = Predict(SomeWorkload(), SomeMachine(), {3, 2, 1, 1e8, 4});
  // 2 workers push, 2/3 of it leaves; as much goes out as answers
  const double rows = 2 * (2.0 / 3) * 2 * 128000;
  // Two rounds of 2 workers with the 4 of other hosts.
  const double dense = 2 * 2 * 1e6 * (6 - 2) / 6.0;
  EXPECT_DOUBLE_EQ(p.row_bytes_per_step, 2 * (2.0 / 3) * 16000 + rows);
  EXPECT_DOUBLE_EQ(p.link_bytes_per_step, p.row_bytes_per_step + dense);
  // Full packets with their headers.
  EXPECT_DOUBLE_EQ(p.link_s, (rows + dense) * (1514.0 / 1448) / 1e8);
  EXPECT_DOUBLE_EQ(p.exchange_s, p.link_s);
  EXPECT_DOUBLE_EQ(p.samples_per_second, 6000 / p.step_s);
  EXPECT_DOUBLE_EQ(p.efficiency, 0.1 / p.step_s);
}

TEST(Prediction, NamesWhatBinds) {
  Machine slow_server = SomeMachine();
  slow_server.push_rows_per_second = 1e4;
  EXPECT_EQ(Predict(SomeWorkload(), slow_server, {2, 1, 1, 1e9, 1}).bound_by, "server");
  EXPECT_EQ(Predict(SomeWorkload(), SomeMachine(), {2, 1, 1, 1e6, 1}).bound_by, "link");
  Workload csv = SomeWorkload();
  csv.row_by_row = true;
  const Prediction many = Predict(csv, SomeMachine(), {256, 1, 1, 1e10, 1});
  EXPECT_EQ(many.decoded_per_row, 1);
  EXPECT_EQ(many.passed_per_row, 255);  // every worker scans everything
  EXPECT_DOUBLE_EQ(many.reader_cpu_per_row, 1e-6 + 255 * 0.1e-6);
  EXPECT_EQ(many.reader_s, 1000 * (0.5e-6 + 255 * 0.1e-6));
  csv.batch_size = 10;
  Machine fast = SomeMachine();
  fast.worker_samples_per_second = 1e9;
  fast.sum_bytes_per_second = 1e12;
  fast.pull_rows_per_second = fast.push_rows_per_second = 1e12;
  EXPECT_EQ(Predict(csv, fast, {256, 1, 1, 1e15, 1}).bound_by, "reader");
}

TEST(Prediction, ParquetDecodesAtMostTheRowGroupsOfItsSlices) {
  EXPECT_EQ(Predict(SomeWorkload(), SomeMachine(), {8, 1, 1, 1e9, 1}).decoded_per_row, 8);
  const Prediction many = Predict(SomeWorkload(), SomeMachine(), {512, 1, 1, 1e9, 1});
  EXPECT_DOUBLE_EQ(many.decoded_per_row, 1 + 65.536);
  EXPECT_DOUBLE_EQ(many.reader_s, 1000 * 0.5e-6 * (1 + 65.536));
  Workload shuffled = SomeWorkload();
  shuffled.shuffle = true;
  EXPECT_EQ(Predict(shuffled, SomeMachine(), {512, 1, 1, 1e9, 1}).decoded_per_row, 512);
}

TEST(Prediction, TheWorkersOfAHostShareParquetWhereItIsCheaper) {
  Workload shuffled = SomeWorkload();
  shuffled.shuffle = true;
  const Prediction p = Predict(shuffled, SomeMachine(), {2, 4, 1, 1e9, 4});
  EXPECT_TRUE(p.shared_reader);
  EXPECT_EQ(p.decoded_per_row, 2);
  EXPECT_EQ(p.passed_per_row, 0);
  EXPECT_DOUBLE_EQ(p.reader_cpu_per_row, 0.5e-6 * (1.3 * 2 + 0.25 * 6) + 0.5e-6);
  shuffled.shuffle = false;
  shuffled.row_group_rows = 100;  // a tenth of a slice
  EXPECT_FALSE(Predict(shuffled, SomeMachine(), {2, 4, 1, 1e9, 4}).shared_reader);
  shuffled.shuffle = shuffled.row_by_row = true;
  EXPECT_FALSE(Predict(shuffled, SomeMachine(), {2, 4, 1, 1e9, 4}).shared_reader);
}

TEST(Prediction, ServersAreAdvisedUntilTheyAreCheap) {
  Machine machine = SomeMachine();
  EXPECT_EQ(AdviseServersPerHost(SomeWorkload(), machine, {1, 1, 1, 1e9, 1}, 16), 1);
  // 40 ms of a 100 ms step with one server
  machine.pull_rows_per_second = machine.push_rows_per_second = 100e3;
  const int advised = AdviseServersPerHost(SomeWorkload(), machine, {1, 1, 1, 1e9, 1}, 16);
  EXPECT_EQ(advised, 4);  // 10 ms of 110
  EXPECT_EQ(AdviseServersPerHost(SomeWorkload(), machine, {1, 1, 1, 1e9, 1}, 2), 2);
}

TEST(Prediction, RowsOfFewerBitsTakeLessMemoryAndTravelAsFloat32) {
  TemporaryDirectory directory;
  JobConfig config = MakeRandomJob(directory.path(), {});  // tables of width 4 under sgd
  ASSERT_OK_AND_ASSIGN(const Workload wide, MeasureWorkload(config, 0));
  for (Table& table : config.tables) table.value_kind = ValueKind::kInt8;
  ASSERT_OK_AND_ASSIGN(const Workload narrow, MeasureWorkload(config, 0));
  for (size_t t = 0; t < config.tables.size(); ++t) {
    EXPECT_EQ(wide.tables[t].row_bytes, 16);
    EXPECT_EQ(narrow.tables[t].row_bytes, 8);
  }
  EXPECT_EQ(narrow.row_bytes, wide.row_bytes);
  EXPECT_LT(ServerBytes(narrow, 1, 1), ServerBytes(wide, 1, 1));
}

TEST(Prediction, MemoryIsSharedByTheServers) {
  EXPECT_DOUBLE_EQ(BytesPerRow(128), 128 + 24 + 17);
  EXPECT_DOUBLE_EQ(ServerBytes(SomeWorkload(), 3, 2), 2 * 3e6 * BytesPerRow(128) / 3);
}

}  // namespace
}  // namespace pepnet
