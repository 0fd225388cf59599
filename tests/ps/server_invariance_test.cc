// Laws L2 to L4 as far as they are the servers': the rows do not depend on the number of servers,
// on the order in which messages arrive, on who reads, or on a restart. Whole jobs of worker
// threads and servers; each law also with the mutant that breaks it.
#include <initializer_list>
#include <map>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "common/base/partition.h"
#include "common/base/random.h"
#include "common/checkpoint/checkpoint.h"
#include "common/job_config/row_policy.h"
#include "common/job_config/sparse_optimizer.h"
#include "common/net/in_process.h"
#include "ps/server.h"
#include "tests/common/checkpoint/test_files.h"
#include "tests/ps/test_worker.h"
#include "tests/support/with_mutant.h"

namespace pepnet {
namespace {

struct JobShape {
  int workers = 3;
  int servers = 1;
  SparseOptimizerKind kind = SparseOptimizerKind::kAdagrad;
  uint64_t delay_seed = 0;  // 0: no delays
  int64_t first_step = 1, last_step = 6;
  bool evaluate = false;  // worker 0 reads all rows after each step
  // Gradients are small multiples of 1/8: their sums do not depend on order or grouping.
  bool exact_sums = false;
  // Cut the data of this many workers among `workers` (0: `workers` itself).
  int workers_of_data = 0;
  std::string load_directory;               // resume from here at first_step - 1
  RowPolicy policy;                         // of the first table
  ValueKind value_kind = ValueKind::kFp32;  // of both tables
  ValueKind state_kind = ValueKind::kFp32;
  // Few, so that workers meet in most rows; those beyond 40 are named rarely.
  int64_t user_ids = 40;
};

// A slice of the global batch of a step: which ids it names.
TableIds IdsOf(int slice, int64_t step, int64_t user_ids) {
  TableIds ids(2);
  for (uint64_t t = 0; t < 2; ++t) {
    const int64_t rows = t == 0 ? 1000 : 50, range = t == 0 ? user_ids : 50;
    for (int64_t i = 0; i < range; ++i) {
      const auto words = Philox4x32(RandomKey(3, RandomPurpose::kTest, t), slice * 1000 + step, i);
      if (words[0] % 100 < (t == 1 || i < 40 ? 70 : 15)) ids[t].push_back((i * 7) % rows);
    }
  }
  if (slice == 1 && step % 3 == 0) ids = {{}, {}};  // a worker without rows
  return ids;
}

float GradientIn(int slice, int64_t step, size_t table, int64_t id, int e, bool exact) {
  const auto words =
      Philox4x32(RandomKey(4, RandomPurpose::kTest, table * 8 + e), slice * 1000 + step, id);
  if (exact) return static_cast<float>(static_cast<int>(words[0] % 33) - 16) / 8;
  return (UnitFloat(words[0]) - 0.5f) *
         (words[1] % 2 == 0 ? 1.0f : 1000.0f);  // different magnitudes: order shows in the sum
}

// A thousand seconds a step, give or take: now this slice is ahead and now that one, also of later
// steps.
int64_t EventTimeOf(int slice, int64_t step) {
  const auto words = Philox4x32(RandomKey(5, RandomPurpose::kTest, 0), static_cast<uint64_t>(slice),
                                static_cast<uint64_t>(step));
  return 1'600'000'000 + 1000 * step + words[0] % 3000;
}

// Whether the slice has a row with a positive label that names the id.
bool ClickedIn(int slice, int64_t step, size_t table, int64_t id) {
  const auto words =
      Philox4x32(RandomKey(6, RandomPurpose::kTest, table),
                 static_cast<uint64_t>(slice * 1000 + step), static_cast<uint64_t>(id));
  return words[0] % 4 == 0;
}

// The work of worker `worker` of the job in a step: the slices worker, worker + W, ... of the data.
struct Work {
  TableIds ids;
  std::vector<std::map<int64_t, std::vector<float>>> gradients;
  std::vector<std::set<int64_t>> clicked;
  int64_t event_time = 0;
};
Work WorkOf(const JobShape& shape, int worker, int64_t step) {
  Work work{TableIds(2), {{}, {}}, {{}, {}}};
  const int slices = shape.workers_of_data > 0 ? shape.workers_of_data : shape.workers;
  for (int slice = worker; slice < slices; slice += shape.workers) {
    const TableIds ids = IdsOf(slice, step, shape.user_ids);
    if (!ids[0].empty()) work.event_time = std::max(work.event_time, EventTimeOf(slice, step));
    for (size_t t = 0; t < 2; ++t) {
      for (int64_t id : ids[t]) {
        auto [row, fresh] = work.gradients[t].try_emplace(id, t == 0 ? 3 : 2, 0.0f);
        if (fresh) work.ids[t].push_back(id);
        if (ClickedIn(slice, step, t, id)) work.clicked[t].insert(id);
        for (size_t e = 0; e < row->second.size(); ++e) {
          row->second[e] += GradientIn(slice, step, t, id, static_cast<int>(e), shape.exact_sums);
        }
      }
    }
  }
  return work;
}

// Steps with the pull of the next one always under way, as in training.
Status RunWorker(const JobShape& shape, int index, TestWorker* worker) {
  TableIds all(2);
  for (int64_t id = 0; id < 50; ++id) all[0].push_back(id * 20), all[1].push_back(id);
  const auto pull = [&](int64_t step) {
    const Work work = WorkOf(shape, index, step);
    if (shape.policy.counts_clicks()) {
      worker->set_clicked(
          [&work](size_t table, int64_t id) { return work.clicked[table].contains(id); });
    }
    return worker->SendPull(step, work.ids);
  };
  PEPNET_RETURN_IF_ERROR(pull(shape.first_step));
  for (int64_t step = shape.first_step; step <= shape.last_step; ++step) {
    const Work work = WorkOf(shape, index, step);
    PEPNET_RETURN_IF_ERROR(worker->ReceiveRows(work.ids).status());
    if (index == 0 && shape.evaluate) {
      PEPNET_RETURN_IF_ERROR(worker->SendPull(step - 1, all, true));
      PEPNET_RETURN_IF_ERROR(worker->ReceiveRows(all).status());
    }
    if (step < shape.last_step) PEPNET_RETURN_IF_ERROR(pull(step + 1));
    worker->set_event_time(work.event_time);
    PEPNET_RETURN_IF_ERROR(worker->SendPush(
        step, work.ids, [&](size_t t, int64_t id, int e) { return work.gradients[t].at(id)[e]; },
        0.05));
  }
  return absl::OkStatus();
}

// Saves through the servers and commits a checkpoint.
Status SaveJob(const JobShape& shape, const std::string& model_dir, TestWorker* worker) {
  PEPNET_ASSIGN_OR_RETURN(CheckpointWriter writer,
                          CheckpointWriter::Begin(model_dir, shape.last_step));
  wire::SaveRequest save;
  save.set_directory(writer.temporary_directory());
  save.set_step(shape.last_step);
  PEPNET_ASSIGN_OR_RETURN(const auto replies,
                          worker->Call(MessageType::kSave, save.SerializeAsString()));
  Manifest manifest;
  manifest.step = shape.last_step;
  manifest.server_count = shape.servers;
  manifest.worker_count = shape.workers;
  for (const std::string& body : replies) {
    wire::SaveReply reply;
    if (!reply.ParseFromString(body)) return absl::DataLossError("not a SaveReply");
    PEPNET_ASSIGN_OR_RETURN(const std::vector<PartEntry> parts,
                            PartEntriesFromJson(reply.parts_json()));
    manifest.parts.insert(manifest.parts.end(), parts.begin(), parts.end());
    if (!reply.event_times_json().empty()) {
      PEPNET_ASSIGN_OR_RETURN(manifest.event_times, EventPointsFromJson(reply.event_times_json()));
    }
    if (!reply.filters_json().empty()) {
      PEPNET_ASSIGN_OR_RETURN(const std::vector<FilterEntry> filters,
                              FilterEntriesFromJson(reply.filters_json()));
      manifest.filters.insert(manifest.filters.end(), filters.begin(), filters.end());
    }
    if (reply.candidates_json().empty()) continue;
    PEPNET_ASSIGN_OR_RETURN(const std::vector<PartEntry> counted,
                            PartEntriesFromJson(reply.candidates_json()));
    manifest.candidates.insert(manifest.candidates.end(), counted.begin(), counted.end());
  }
  return writer.Commit(manifest).status();
}

// All rows of a checkpoint in one text; floats as their bits. `values_only`: without state,
// frequency and last step.
std::string TextOf(const std::string& directory, bool values_only) {
  const StatusOr<Manifest> manifest = ReadManifest(directory);
  if (!manifest.ok()) return manifest.status().ToString();
  std::map<std::pair<std::string, int64_t>, std::string> lines;
  std::vector<PartEntry> parts = manifest->parts;
  if (!values_only) {
    parts.insert(parts.end(), manifest->candidates.begin(), manifest->candidates.end());
  }
  for (const PartEntry& part : parts) {
    const auto reader = TablePartReader::Open(directory, part);
    if (!reader.ok()) return reader.status().ToString();
    const Status status = (*reader)->Read(0, part.rows, [&](const RowColumns& rows) {
      for (size_t i = 0; i < rows.ids.size(); ++i) {
        std::string& line = lines[{part.table, rows.ids[i]}];
        if (part.dim == 0) absl::StrAppend(&line, " candidate");
        for (int e = 0; e < part.dim; ++e) {
          absl::StrAppend(&line, " ",
                          absl::Hex(std::bit_cast<uint32_t>(rows.values[i * part.dim + e])));
        }
        if (values_only) continue;
        absl::StrAppend(&line, " |");
        for (int e = 0; e < part.state_dim; ++e) {
          absl::StrAppend(&line, " ",
                          absl::Hex(std::bit_cast<uint32_t>(rows.states[i * part.state_dim + e])));
        }
        absl::StrAppend(&line, " | ", rows.frequency[i], " ", rows.last_step[i]);
      }
      return absl::OkStatus();
    });
    if (!status.ok()) return status.ToString();
  }
  std::string text;
  for (const auto& [key, line] : lines) {
    absl::StrAppend(&text, key.first, " ", key.second, ":", line, "\n");
  }
  if (values_only) return text;
  std::map<int, std::string> filters;  // by bucket
  for (const FilterEntry& filter : manifest->filters) {
    const Status status =
        ReadFilter(directory, filter, [&](int bucket, std::span<const uint64_t> words) {
          for (const uint64_t word : words) absl::StrAppend(&filters[bucket], " ", absl::Hex(word));
        });
    if (!status.ok()) return status.ToString();
  }
  for (const auto& [bucket, words] : filters) {
    absl::StrAppend(&text, "filter ", bucket, ":", words, "\n");
  }
  return text;
}

// Runs a whole job and returns the text of its rows; with `directory` the checkpoint stays there.
std::string RunJob(const JobShape& shape, bool values_only = false,
                   const std::string& directory = "") {
  TemporaryDirectory temporary;
  const std::string model_dir = directory.empty() ? temporary.path() : directory;
  std::vector<int> server_ranks;
  for (int s = 0; s < shape.servers; ++s) server_ranks.push_back(shape.workers + s);
  wire::ServerPlan plan = TwoTablePlan(shape.kind, shape.workers);
  if (shape.policy.is_active()) {
    wire::RowPolicyPlan* const policy = plan.mutable_tables(0)->mutable_policy();
    policy->set_admit_after_steps(shape.policy.admit_after_steps);
    policy->set_admit_probability(shape.policy.admit_probability);
    policy->set_ttl_steps(shape.policy.ttl_steps);
    policy->set_max_rows(shape.policy.max_rows);
    policy->set_eviction(TypeOf(shape.policy.eviction).name);
    policy->set_half_life_steps(shape.policy.half_life_steps);
    policy->set_ttl_seconds(shape.policy.ttl_seconds);
    policy->set_filter_bytes(shape.policy.filter_bytes);
    policy->set_filter_halve_steps(shape.policy.filter_halve_steps);
    policy->set_show_weight(shape.policy.show_weight);
    policy->set_click_weight(shape.policy.click_weight);
    if (shape.policy.ttl_seconds > 0) plan.set_max_event_time_jump(86400);
  }
  for (wire::TablePlan& table : *plan.mutable_tables()) {
    table.set_data_type(TypeOf(shape.value_kind).name);
  }
  plan.mutable_optimizer()->set_state_data_type(TypeOf(shape.state_kind).name);
  InProcessOptions options;
  options.delay_seed = shape.delay_seed;
  options.max_delay_us = shape.delay_seed == 0 ? 0 : 2000;
  const Status status = RunRanks(
      shape.workers + shape.servers, options, [&](int rank, Transport* transport) -> Status {
        if (rank >= shape.workers) return Server(transport).Run();
        TestWorker worker(transport, rank, server_ranks, plan);
        // Worker 0 hears from all others, then tells them.
        auto barrier = [&](const char* what) -> Status {
          for (int pass = 0; pass < 2; ++pass) {
            for (int other = 1; other < shape.workers; ++other) {
              if (rank == (pass == 0 ? other : 0)) {
                PEPNET_RETURN_IF_ERROR(
                    transport->Send(Channel::kControl, pass == 0 ? 0 : other, Bytes(1)));
              } else if (rank == (pass == 0 ? 0 : other)) {
                PEPNET_RETURN_IF_ERROR(transport
                                           ->Receive(Channel::kControl, pass == 0 ? other : 0,
                                                     After(std::chrono::seconds(30)), what)
                                           .status());
              }
            }
          }
          return absl::OkStatus();
        };
        if (rank == 0) {
          PEPNET_RETURN_IF_ERROR(worker.Configure());
          if (!shape.load_directory.empty()) {
            wire::LoadRequest load;
            load.set_directory(shape.load_directory);
            load.set_finished_steps(shape.first_step - 1);
            load.set_with_state(true);
            PEPNET_RETURN_IF_ERROR(
                worker.Call(MessageType::kLoad, load.SerializeAsString()).status());
          }
        }
        PEPNET_RETURN_IF_ERROR(barrier("the start"));
        PEPNET_RETURN_IF_ERROR(RunWorker(shape, rank, &worker));
        if (rank == 0) PEPNET_RETURN_IF_ERROR(SaveJob(shape, model_dir, &worker));
        PEPNET_RETURN_IF_ERROR(barrier("the end"));
        return rank == 0 ? worker.Call(MessageType::kShutdown, "").status() : absl::OkStatus();
      });
  if (!status.ok()) return status.ToString();
  return TextOf(absl::StrCat(model_dir, "/", CheckpointName(shape.last_step)), values_only);
}

constexpr uint64_t kDelaySeeds[] = {1, 2, 3, 4, 5};

// One or two workers with the data of three make the rows of one: the sums of gradients are exact.
void ExpectTheRowsOfOneWorker(JobShape shape) {
  shape.exact_sums = true;
  const std::string expected = RunJob(shape);
  shape.workers_of_data = 3;
  for (int workers : {1, 2}) {
    shape.workers = workers;
    EXPECT_EQ(RunJob(shape), expected) << workers << " workers";
  }
}

// A job that is stopped and saved after `saved_step` goes on, on these numbers of servers, to the
// rows of one that is not.
void ExpectExactResume(JobShape shape, int64_t saved_step,
                       std::initializer_list<int> server_counts) {
  const std::string expected = RunJob(shape);
  const int64_t last_step = shape.last_step;
  TemporaryDirectory directory;
  shape.last_step = saved_step;
  ASSERT_THAT(RunJob(shape, false, directory.path()), testing::StartsWith("item "));
  shape.first_step = saved_step + 1;
  shape.last_step = last_step;
  shape.load_directory = directory / CheckpointName(saved_step);
  for (int servers : server_counts) {
    shape.servers = servers;
    EXPECT_EQ(RunJob(shape), expected) << servers << " servers";
  }
}

void ExpectReadingChangesNothing(JobShape shape) {
  const std::string expected = RunJob(shape);
  shape.evaluate = true;
  EXPECT_EQ(RunJob(shape), expected);
}

TEST(ServerInvarianceTest, ShardInvarianceUnderAnyArrivalOrder) {
  for (int workers : {2, 3}) {
    JobShape shape;
    shape.workers = workers;
    const std::string expected = RunJob(shape);
    ASSERT_THAT(expected, testing::StartsWith("item 0: ")) << expected;
    for (uint64_t seed : kDelaySeeds) {
      shape.delay_seed = seed;
      EXPECT_EQ(RunJob(shape), expected) << workers << " workers, delay seed " << seed;
    }
  }
}

TEST(ServerInvarianceTest, ArrivalOrderMutantIsSeenByThreeWorkers) {
  PEPNET_NEEDS_MUTANTS();
  JobShape shape;
  const std::string expected = RunJob(shape);
  const WithMutant mutant(Mutant::kSumInArrivalOrder);
  int different = 0;
  for (uint64_t seed : kDelaySeeds) {
    shape.delay_seed = seed;
    different += RunJob(shape) != expected;
  }
  EXPECT_GT(different, 0);
}

TEST(ServerInvarianceTest, ShardInvarianceForAnyNumberOfServers) {
  for (SparseOptimizerKind kind : AllKinds<SparseOptimizerKind>()) {
    JobShape shape;
    shape.kind = kind;
    const std::string expected = RunJob(shape);
    ASSERT_THAT(expected, testing::StartsWith("item 0: ")) << expected;
    for (int servers : {2, 3, 7}) {
      shape.servers = servers;
      EXPECT_EQ(RunJob(shape), expected) << servers << " servers, optimizer " << TypeOf(kind).name;
    }
  }
}

TEST(ServerInvarianceTest, InitialValueByServerIsSeen) {
  PEPNET_NEEDS_MUTANTS();
  JobShape shape;
  const std::string expected = RunJob(shape);
  const WithMutant mutant(Mutant::kInitByServer);
  shape.servers = 2;
  EXPECT_NE(RunJob(shape), expected);
}

TEST(ServerInvarianceTest, ReadingChangesNothing) {
  JobShape shape;
  shape.servers = 2;
  const std::string expected = RunJob(shape);
  shape.evaluate = true;
  EXPECT_EQ(RunJob(shape), expected);
  if (!kMutantsCompiledIn) return;
  const WithMutant mutant(Mutant::kPullCreatesRow);
  EXPECT_NE(RunJob(shape), expected);
}

TEST(ServerInvarianceTest, WorldSizeInvarianceOfTheValues) {
  JobShape shape;
  shape.exact_sums = true;
  const std::string expected = RunJob(shape, true);
  shape.workers_of_data = 3;
  for (int workers : {1, 2}) {
    shape.workers = workers;
    EXPECT_EQ(RunJob(shape, true), expected) << workers << " workers";
  }
  if (!kMutantsCompiledIn) return;
  const WithMutant mutant(Mutant::kDivideByWorkers);
  EXPECT_NE(RunJob(shape, true), expected);
}

TEST(ServerInvarianceTest, ResumeOnAnotherNumberOfServersIsExact) {
  for (SparseOptimizerKind kind : {SparseOptimizerKind::kSgd, SparseOptimizerKind::kAdam}) {
    JobShape shape;
    shape.kind = kind;
    shape.servers = 1;
    ExpectExactResume(shape, 3, {1, 2, 3});
  }
}

struct RowKinds {
  ValueKind value, state;
};
class NarrowInvariance : public testing::TestWithParam<RowKinds> {
 protected:
  NarrowInvariance() {
    shape_.value_kind = GetParam().value;
    shape_.state_kind = GetParam().state;
  }
  JobShape shape_;
};

INSTANTIATE_TEST_SUITE_P(All, NarrowInvariance,
                         testing::Values(RowKinds{ValueKind::kFp16, ValueKind::kFp32},
                                         RowKinds{ValueKind::kBf16, ValueKind::kFp32},
                                         RowKinds{ValueKind::kInt8, ValueKind::kFp32},
                                         RowKinds{ValueKind::kFp32, ValueKind::kBf16},
                                         RowKinds{ValueKind::kInt8, ValueKind::kBf16}),
                         [](const auto& info) {
                           return absl::StrCat(TypeOf(info.param.value).name, "With",
                                               TypeOf(info.param.state).name);
                         });

TEST_P(NarrowInvariance, TheRowsAreThoseOfOneServerWhateverTheOrderOfMessages) {
  for (SparseOptimizerKind kind : {SparseOptimizerKind::kAdagrad, SparseOptimizerKind::kAdam}) {
    shape_.kind = kind;
    shape_.servers = 1;
    shape_.delay_seed = 0;
    const std::string expected = RunJob(shape_);
    ASSERT_THAT(expected, testing::StartsWith("item 0: ")) << expected;
    JobShape wide = shape_;
    wide.value_kind = wide.state_kind = ValueKind::kFp32;
    ASSERT_NE(RunJob(wide), expected) << "the type did nothing";
    for (int servers : {1, 2, 3, 5}) {
      shape_.servers = servers;
      shape_.delay_seed = static_cast<uint64_t>(servers);
      EXPECT_EQ(RunJob(shape_), expected) << servers << " servers, optimizer " << TypeOf(kind).name;
    }
  }
}

TEST_P(NarrowInvariance, TheRowsAreThoseOfOneWorker) { ExpectTheRowsOfOneWorker(shape_); }

TEST_P(NarrowInvariance, ResumeOnAnotherNumberOfServersIsExact) {
  ExpectExactResume(shape_, 3, {1, 2, 3});
}

TEST_P(NarrowInvariance, ReadingChangesNothing) { ExpectReadingChangesNothing(shape_); }

TEST_P(NarrowInvariance, RoundingByTheSlotOfARowIsSeen) {
  PEPNET_NEEDS_MUTANTS();
  const WithMutant mutant(Mutant::kRoundingBySlot);
  const std::string one = RunJob(shape_);
  shape_.servers = 3;
  EXPECT_NE(RunJob(shape_), one);
}

// A filter of one word a bucket, whose counters many ids share.
constexpr int64_t kSmallFilter = kBucketCount * kFilterWordBytes;

// Rows leave by a score of shows and clicks.
RowPolicy ByClicks() {
  RowPolicy policy{
      .max_rows = kBucketCount, .eviction = EvictionKind::kScore, .half_life_steps = 2};
  policy.show_weight = 0.125;
  policy.click_weight = 1;
  return policy;
}

// One policy of each kind, and all together.
std::vector<RowPolicy> Policies() {
  return {
      {.admit_after_steps = 2},
      {.admit_after_steps = 3, .ttl_steps = 2},
      {.admit_probability = 0.5},
      {.ttl_steps = 2},
      {.admit_after_steps = 3, .filter_bytes = kSmallFilter, .filter_halve_steps = 3},
      {.admit_after_steps = 20, .filter_bytes = kSmallFilter, .filter_halve_steps = 100},
      {.admit_after_steps = 2,
       .admit_probability = 0.8,
       .max_rows = kBucketCount,
       .filter_bytes = 4 * kSmallFilter,
       .filter_halve_steps = 2},
      {.ttl_seconds = 2500},
      {.admit_after_steps = 2, .max_rows = kBucketCount, .ttl_seconds = 4000},
      {.max_rows = kBucketCount},
      {.max_rows = kBucketCount, .eviction = EvictionKind::kLfu},
      {.max_rows = kBucketCount, .eviction = EvictionKind::kScore, .half_life_steps = 2},
      {.admit_after_steps = 2, .admit_probability = 0.8, .ttl_steps = 3, .max_rows = kBucketCount},
      ByClicks(),
  };
}

class PolicyInvariance : public testing::TestWithParam<size_t> {
 protected:
  PolicyInvariance() {
    shape_.policy = Policies()[GetParam()];
    shape_.last_step = 9;
    shape_.user_ids = 300;
  }
  JobShape shape_;
};

INSTANTIATE_TEST_SUITE_P(All, PolicyInvariance, testing::Range<size_t>(0, Policies().size()));

TEST_P(PolicyInvariance, TheRowsAreThoseOfOneServerWhateverTheOrderOfMessages) {
  const std::string expected = RunJob(shape_);
  JobShape all = shape_;
  all.policy = {};
  ASSERT_NE(RunJob(all), expected) << "the policy did nothing";
  for (int servers : {1, 2, 3, 5}) {
    shape_.servers = servers;
    shape_.delay_seed = static_cast<uint64_t>(servers);
    EXPECT_EQ(RunJob(shape_), expected) << servers << " servers";
  }
}

TEST_P(PolicyInvariance, TheRowsAreThoseOfOneWorker) { ExpectTheRowsOfOneWorker(shape_); }

TEST_P(PolicyInvariance, ResumeOnAnotherNumberOfServersIsExact) {
  ExpectExactResume(shape_, 4, {1, 3});
}

TEST_P(PolicyInvariance, ReadingCountsNothing) { ExpectReadingChangesNothing(shape_); }

TEST(PolicyMutantsTest, EachIsSeen) {
  PEPNET_NEEDS_MUTANTS();
  JobShape shape;
  shape.last_step = 9;
  shape.user_ids = 300;
  {
    shape.policy = {.max_rows = kBucketCount};
    const WithMutant mutant(Mutant::kBudgetByServer);
    const std::string one = RunJob(shape);
    shape.servers = 3;
    EXPECT_NE(RunJob(shape), one);
    shape.servers = 1;
  }
  const auto expect_workers_to_matter = [&shape](Mutant mutant) {
    const WithMutant active(mutant);
    shape.workers = 3;
    shape.workers_of_data = 0;
    const std::string three = RunJob(shape);
    shape.workers_of_data = 3;
    shape.workers = 1;
    EXPECT_NE(RunJob(shape), three);
  };
  shape.exact_sums = true;
  for (const int64_t filter_bytes : {int64_t{0}, 4 * kSmallFilter}) {
    shape.policy = {.admit_after_steps = 3,
                    .filter_bytes = filter_bytes,
                    .filter_halve_steps = filter_bytes > 0 ? 100 : 0};
    expect_workers_to_matter(Mutant::kCountByWorker);
  }
  shape.policy = {.ttl_seconds = 2500};
  expect_workers_to_matter(Mutant::kEventTimeByWorker);
  shape.policy = ByClicks();
  expect_workers_to_matter(Mutant::kClicksByWorker);
}

TEST(PolicyMutantsTest, WhatAResumedRunForgetsIsSeen) {
  PEPNET_NEEDS_MUTANTS();
  const RowPolicy filters{
      .admit_after_steps = 3, .filter_bytes = kSmallFilter, .filter_halve_steps = 100};
  for (const auto& [policy, forgets] :
       {std::pair(RowPolicy{.admit_after_steps = 3}, Mutant::kResumeForgetsCandidates),
        {filters, Mutant::kResumeForgetsCandidates},
        {RowPolicy{.ttl_seconds = 2500}, Mutant::kResumeForgetsEventTimes}}) {
    JobShape shape;
    shape.user_ids = 300;
    shape.policy = policy;
    shape.last_step = 9;
    const std::string expected = RunJob(shape);
    TemporaryDirectory directory;
    shape.last_step = 4;
    ASSERT_THAT(RunJob(shape, false, directory.path()), testing::StartsWith("item "));
    shape.first_step = 5;
    shape.last_step = 9;
    shape.load_directory = directory / CheckpointName(4);
    const WithMutant mutant(forgets);
    EXPECT_NE(RunJob(shape), expected);
  }
}

}  // namespace
}  // namespace pepnet
