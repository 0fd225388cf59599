#include "cli/plan/prediction.h"

#include <gtest/gtest.h>

namespace pepnet {
namespace {

Workload SomeWorkload() {
  Workload load;
  load.batch_size = 1000;
  load.tables = {{"user_id_emb", 1e6, 32, 500}, {"ad_emb", 2e6, 32, 1500}};
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
  machine.reader_rows_per_second = 1e6;
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
  const double rows = 2 * (2.0 / 3) * 2 * 128000;    // 2 workers push, 2/3 of it leaves; as much goes out as answers
  const double dense = 2 * 2 * 1e6 * (6 - 2) / 6.0;  // two rounds of 2 workers with the 4 of other hosts
  EXPECT_DOUBLE_EQ(p.row_bytes_per_step, 2 * (2.0 / 3) * 16000 + rows);
  EXPECT_DOUBLE_EQ(p.link_bytes_per_step, p.row_bytes_per_step + dense);
  EXPECT_DOUBLE_EQ(p.link_s, (rows + dense) / 1e8);
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
  csv.csv = true;
  const Prediction many = Predict(csv, SomeMachine(), {256, 1, 1, 1e10, 1});
  EXPECT_EQ(many.decoded_per_row, 256);  // every worker scans everything
  EXPECT_EQ(many.bound_by, "reader");
  EXPECT_DOUBLE_EQ(many.step_s, 0.256);
}

TEST(Prediction, ParquetDecodesAtMostTheRowGroupsOfItsSlices) {
  EXPECT_EQ(Predict(SomeWorkload(), SomeMachine(), {8, 1, 1, 1e9, 1}).decoded_per_row, 8);
  EXPECT_DOUBLE_EQ(Predict(SomeWorkload(), SomeMachine(), {512, 1, 1, 1e9, 1}).decoded_per_row, 1 + 65.536);
}

TEST(Prediction, ServersAreAdvisedUntilTheyAreCheap) {
  Machine machine = SomeMachine();
  EXPECT_EQ(AdviseServersPerHost(SomeWorkload(), machine, {1, 1, 1, 1e9, 1}, 16), 1);
  machine.pull_rows_per_second = machine.push_rows_per_second = 100e3;  // 40 ms of a 100 ms step with one server
  const int advised = AdviseServersPerHost(SomeWorkload(), machine, {1, 1, 1, 1e9, 1}, 16);
  EXPECT_EQ(advised, 4);  // 10 ms of 110
  EXPECT_EQ(AdviseServersPerHost(SomeWorkload(), machine, {1, 1, 1, 1e9, 1}, 2), 2);
}

TEST(Prediction, MemoryIsSharedByTheServers) {
  EXPECT_DOUBLE_EQ(BytesPerRow(32), 128 + 24 + 17);
  EXPECT_DOUBLE_EQ(ServerBytes(SomeWorkload(), 3, 2), 2 * 3e6 * BytesPerRow(32) / 3);
}

}  // namespace
}  // namespace pepnet
