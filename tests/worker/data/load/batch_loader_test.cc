#include "worker/data/load/batch_loader.h"

#include <dirent.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/support/status_matchers.h"
#include "tests/support/with_mutant.h"
#include "tests/worker/data/data_files.h"
#include "worker/data/files/column_view.h"

namespace pepnet {
namespace {

using ::testing::HasSubstr;

// Column x holds the number of the row in the whole input, y = x % 2.
JobConfig RowNumberConfig(DatasetType type) {
  JobConfig config;
  config.data.dataset_type = type;
  config.data.with_header = true;
  config.data.num_workers = 2;
  config.data.labels = {"y"};
  config.features = {IdFeature("x", 1'000'000)};
  Tower tower;
  tower.name = "t";
  tower.label = 0;
  tower.losses.push_back({});
  config.model.towers = {tower};
  return config;
}

// Everything a batch says, as text: "rows 0 1 2 of [0,3)/8 at 0:8".
std::string ShowBatch(const Batch& batch) {
  std::string text = "rows";
  for (const int64_t id : batch.ids[0].ids) absl::StrAppend(&text, " ", id);
  absl::StrAppend(&text, " of [", batch.first_row, ",", batch.first_row + batch.rows, ")/",
                  batch.global_rows, " at ", batch.position_after.epoch, ":",
                  batch.position_after.rows_in_epoch, batch.last_in_epoch ? " last" : "");
  EXPECT_EQ(static_cast<int64_t>(batch.ids[0].ids.size()), batch.rows);
  if (!batch.labels.empty()) {
    EXPECT_EQ(static_cast<int64_t>(batch.labels[0].values.size()), batch.rows);
    for (int64_t i = 0; i < batch.rows; ++i) {
      EXPECT_EQ(batch.labels[0].values[i], batch.ids[0].ids[i] % 2);
    }
  }
  return text;
}

std::vector<Batch> ReadAll(BatchLoader* loader, size_t limit = 10'000) {
  std::vector<Batch> batches;
  while (batches.size() < limit) {
    auto batch = loader->Next();
    EXPECT_OK(batch);
    if (!batch.ok() || !batch->has_value()) break;
    batches.push_back(std::move(**batch));
  }
  return batches;
}

std::vector<std::string> ShowAll(const JobConfig& config, const LoaderOptions& options,
                                 size_t limit = 10'000) {
  auto loader = BatchLoader::Open(config, options);
  EXPECT_OK(loader);
  std::vector<std::string> shown;
  if (!loader.ok()) return shown;
  for (const Batch& batch : ReadAll(loader->get(), limit)) shown.push_back(ShowBatch(batch));
  return shown;
}

std::string OpenError(const JobConfig& config, const LoaderOptions& options) {
  return std::string(BatchLoader::Open(config, options).status().message());
}

int ReaderThreads() {
  int count = 0;
  DIR* tasks = opendir("/proc/self/task");
  while (const dirent* entry = readdir(tasks)) {
    std::ifstream comm(absl::StrCat("/proc/self/task/", entry->d_name, "/comm"));
    std::string name;
    if (std::getline(comm, name) && name.rfind("read-", 0) == 0) ++count;
  }
  closedir(tasks);
  return count;
}

// Those that stay. The kernel wakes who joins a thread before it takes the thread out of /proc, so
// a moment passes.
int ReaderThreadsLeft() {
  const absl::Time end = absl::Now() + absl::Seconds(5);
  while (ReaderThreads() > 0 && absl::Now() < end) absl::SleepFor(absl::Milliseconds(1));
  return ReaderThreads();
}

class BatchLoaderTest : public ::testing::TestWithParam<DatasetType> {
 protected:
  BatchLoaderTest() : config_(RowNumberConfig(GetParam())) {
    options_.input_path = dir_.Path("*.in");
    options_.batch_size = 4;
  }

  // Files with the given numbers of rows, numbered through.
  void WriteFiles(const std::vector<int>& rows) {
    int next = 0;
    for (size_t file = 0; file < rows.size(); ++file) {
      const std::string name = absl::StrCat("f", file / 10, file % 10, ".in");
      std::string csv = "y,x\n", x = "[", y = "[";
      for (int i = 0; i < rows[file]; ++i, ++next) {
        absl::StrAppend(&csv, next % 2, ",", next, "\n");
        absl::StrAppend(&x, i == 0 ? "" : ",", next);
        absl::StrAppend(&y, i == 0 ? "" : ",", next % 2);
      }
      if (GetParam() == DatasetType::kCsv) {
        dir_.Write(name, csv);
      } else {
        WriteParquet(
            dir_.Path(name),
            {{"y", JsonArray(arrow::int8(), y + "]")}, {"x", JsonArray(arrow::int32(), x + "]")}},
            5);
      }
    }
  }

  TestDirectory dir_;
  JobConfig config_;
  LoaderOptions options_;
};

TEST_P(BatchLoaderTest, BatchesFollowTheFilesAndTheLastOneIsShort) {
  WriteFiles({3, 0, 7});
  EXPECT_THAT(
      ShowAll(config_, options_),
      ::testing::ElementsAre("rows 0 1 2 3 of [0,4)/4 at 0:4", "rows 4 5 6 7 of [0,4)/4 at 0:8",
                             "rows 8 9 of [0,2)/2 at 1:0 last"));
  options_.drop_remainder = true;
  EXPECT_THAT(ShowAll(config_, options_),
              ::testing::ElementsAre("rows 0 1 2 3 of [0,4)/4 at 0:4",
                                     "rows 4 5 6 7 of [0,4)/4 at 1:0 last"));
}

TEST_P(BatchLoaderTest, OriginNamesFilesAndRows) {
  WriteFiles({3, 0, 7});
  const auto batches = ReadAll(BatchLoader::Open(config_, options_)->get());
  EXPECT_EQ(batches[0].origin,
            absl::StrCat("'", dir_.Path("f00.in"), "' row 1 to '", dir_.Path("f02.in"), "' row 1"));
  EXPECT_EQ(batches[1].origin, absl::StrCat("'", dir_.Path("f02.in"), "' rows 2-5"));
}

TEST_P(BatchLoaderTest, EpochsFollowOneAnother) {
  WriteFiles({5});
  options_.max_epochs = 2;
  EXPECT_THAT(
      ShowAll(config_, options_),
      ::testing::ElementsAre("rows 0 1 2 3 of [0,4)/4 at 0:4", "rows 4 of [0,1)/1 at 1:0 last",
                             "rows 0 1 2 3 of [0,4)/4 at 1:4", "rows 4 of [0,1)/1 at 2:0 last"));
  options_.max_epochs = 0;
  EXPECT_EQ(ShowAll(config_, options_, 7).size(), 7);
  options_.max_epochs = 2;
  options_.start = {2, 0};
  EXPECT_TRUE(ShowAll(config_, options_).empty()) << "a finished run has nothing left";
}

TEST_P(BatchLoaderTest, TheLatestEventTimeOfABatchIsReadWhereItIsAskedFor) {
  WriteFiles({3, 0, 7});
  config_.data.event_time = {.name = "x", .units_per_second = 1, .max_jump_seconds = 100};
  options_.event_times = true;
  std::vector<int64_t> times;
  for (const Batch& batch : ReadAll(BatchLoader::Open(config_, options_)->get())) {
    times.push_back(batch.event_time);
  }
  EXPECT_THAT(times, ::testing::ElementsAre(3, 7, 9));
  config_.data.event_time->name = "when";
  EXPECT_THAT(OpenError(config_, options_), HasSubstr("when"));
  options_.event_times = false;  // as in evaluations, whose files need no such column
  for (const Batch& batch : ReadAll(BatchLoader::Open(config_, options_)->get())) {
    EXPECT_EQ(batch.event_time, 0);
  }
}

// Law L2: worker w of W takes the w-th slice of what one worker with batch W*b reads, shuffled or
// not.
TEST_P(BatchLoaderTest, LawL2SlicesOfAllWorkersAreTheBatchesOfOne) {
  for (const auto& files :
       {std::vector<int>{31}, {24}, {1}, {5, 0, 1, 1, 13}, {2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2}}) {
    WriteFiles(files);
    for (const bool shuffle : {false, true}) {
      for (const bool drop : {false, true}) {
        for (const int workers : {1, 2, 3}) {
          LoaderOptions one = options_;
          one.batch_size = 4 * workers;
          one.shuffle = shuffle;
          one.shuffle_buffer_size = 2;
          one.max_epochs = 2;
          one.seed = 5;
          one.drop_remainder =
              drop && std::accumulate(files.begin(), files.end(), 0) >= one.batch_size;
          const auto expected = ReadAll(BatchLoader::Open(config_, one)->get());
          std::vector<std::vector<Batch>> slices;
          for (int w = 0; w < workers; ++w) {
            LoaderOptions options = one;
            options.batch_size = 4;
            options.worker_index = w;
            options.worker_count = workers;
            slices.push_back(ReadAll(BatchLoader::Open(config_, options)->get()));
            ASSERT_EQ(slices.back().size(), expected.size());
          }
          for (size_t t = 0; t < expected.size(); ++t) {
            std::vector<int64_t> joined;
            for (const auto& slice : slices) {
              const Batch& batch = slice[t];
              EXPECT_EQ(batch.first_row, static_cast<int64_t>(joined.size()));
              EXPECT_EQ(batch.global_rows, expected[t].global_rows);
              EXPECT_EQ(batch.last_in_epoch, expected[t].last_in_epoch);
              EXPECT_EQ(batch.position_after.epoch, expected[t].position_after.epoch);
              EXPECT_EQ(batch.position_after.rows_in_epoch,
                        expected[t].position_after.rows_in_epoch);
              joined.insert(joined.end(), batch.ids[0].ids.begin(), batch.ids[0].ids.end());
            }
            EXPECT_EQ(joined, expected[t].ids[0].ids)
                << "batch " << t << " of " << workers << " workers";
          }
        }
      }
    }
    for (size_t file = 0; file < files.size(); ++file) {
      std::remove(dir_.Path(absl::StrCat("f", file / 10, file % 10, ".in")).c_str());
    }
  }
}

TEST_P(BatchLoaderTest, ShuffleIsAPermutationWithinWindowsAndNewInEveryEpoch) {
  WriteFiles({17, 20});
  options_.shuffle = true;
  options_.shuffle_buffer_size = 3;
  options_.max_epochs = 2;
  options_.seed = 1;
  std::vector<int64_t> rows;
  for (const Batch& batch : ReadAll(BatchLoader::Open(config_, options_)->get())) {
    rows.insert(rows.end(), batch.ids[0].ids.begin(), batch.ids[0].ids.end());
  }
  ASSERT_EQ(rows.size(), 74);
  const std::vector<int64_t> first(rows.begin(), rows.begin() + 37),
      second(rows.begin() + 37, rows.end());
  EXPECT_NE(first, second);
  EXPECT_FALSE(std::is_sorted(first.begin(), first.end()));
  for (const auto& epoch : {first, second}) {
    for (int begin = 0; begin < 37; begin += 12) {
      std::vector<int64_t> window(epoch.begin() + begin, epoch.begin() + std::min(37, begin + 12));
      std::sort(window.begin(), window.end());
      for (size_t i = 0; i < window.size(); ++i) {
        EXPECT_EQ(window[i], begin + static_cast<int64_t>(i));
      }
    }
  }
  options_.seed = 2;
  EXPECT_NE(ReadAll(BatchLoader::Open(config_, options_)->get())[0].ids[0].ids,
            std::vector<int64_t>(rows.begin(), rows.begin() + 4));
}

// Law L4, the data's part; the mutant resume_forgets_position must turn this red.
TEST_P(BatchLoaderTest, LawL4ResumeAtEveryBatchIsTheTailOfTheStream) {
  WriteFiles({11, 0, 6, 9});
  for (const bool shuffle : {false, true}) {
    for (const bool drop : {false, true}) {
      LoaderOptions options = options_;
      options.worker_count = 2;
      options.worker_index = 1;
      options.shuffle = shuffle;
      options.shuffle_buffer_size = 2;
      options.drop_remainder = drop;
      options.max_epochs = 3;
      const std::vector<Batch> whole = ReadAll(BatchLoader::Open(config_, options)->get());
      ASSERT_GE(whole.size(), 9u);
      for (size_t t = 0; t < whole.size(); ++t) {
        options.start = whole[t].position_after;
        const auto tail = ShowAll(config_, options);
        ASSERT_EQ(tail.size(), whole.size() - t - 1)
            << "after batch " << t << (shuffle ? " shuffled" : "");
        for (size_t i = 0; i < tail.size(); ++i) EXPECT_EQ(tail[i], ShowBatch(whole[t + 1 + i]));
      }
    }
  }
}

TEST_P(BatchLoaderTest, MutantForgetsThePosition) {
  PEPNET_NEEDS_MUTANTS();
  WriteFiles({12});
  options_.start = {0, 4};
  const WithMutant mutant(Mutant::kResumeForgetsPosition);
  const auto shown = ShowAll(config_, options_);
  EXPECT_EQ(shown[0], "rows 0 1 2 3 of [0,4)/4 at 0:4");
}

TEST_P(BatchLoaderTest, ResumeWithAnotherBatchSizeReadsEveryRowOnce) {
  WriteFiles({25});
  for (const bool shuffle : {false, true}) {
    options_.shuffle = shuffle;
    options_.shuffle_buffer_size = 2;
    options_.batch_size = 3;
    options_.start = {0, 8};
    int64_t rows = 0;
    for (const Batch& batch : ReadAll(BatchLoader::Open(config_, options_)->get())) {
      rows += batch.rows;
    }
    EXPECT_EQ(rows, 17);
  }
}

TEST_P(BatchLoaderTest, ResumeBeyondTheEndSaysThatTheInputChanged) {
  WriteFiles({10});
  for (const bool shuffle : {false, true}) {
    for (const int64_t position : {12, 400}) {
      options_.shuffle = shuffle;
      options_.shuffle_buffer_size = 4;
      options_.start = {3, position};
      options_.max_epochs = 5;
      const auto batch = (*BatchLoader::Open(config_, options_))->Next();
      ASSERT_FALSE(batch.ok());
      EXPECT_THAT(batch, IsError(HasSubstr(absl::StrCat(
                             "row ", position, " of epoch 3, but the input has only 10 rows"))));
    }
  }
}

TEST_P(BatchLoaderTest, NumWorkersDoNotChangeTheStream) {
  WriteFiles({100, 1, 57});
  for (const bool shuffle : {false, true}) {
    options_.shuffle = shuffle;
    options_.max_epochs = 2;
    config_.data.num_workers = 1;
    const auto expected = ShowAll(config_, options_);
    for (const int workers : {0, 2, 4, 64}) {
      config_.data.num_workers = workers;
      EXPECT_EQ(ShowAll(config_, options_), expected) << workers;
    }
  }
}

TEST_P(BatchLoaderTest, ContiguousRangesCoverTheInputInOrder) {
  WriteFiles({4, 0, 9});
  options_.contiguous = true;
  options_.labels = LabelSet::kNone;
  options_.reserved_columns = {"ALL_COLUMNS"};
  for (const int workers : {1, 2, 3, 20}) {
    std::string rows;
    for (int w = 0; w < workers; ++w) {
      options_.worker_index = w;
      options_.worker_count = workers;
      const auto loader = *BatchLoader::Open(config_, options_);
      EXPECT_THAT(loader->description(), HasSubstr(", 13 rows"));
      EXPECT_EQ(loader->reserved_schema()->num_fields(), 2);
      int64_t own = 0;
      for (const Batch& batch : ReadAll(loader.get())) {
        EXPECT_TRUE(batch.labels.empty());
        EXPECT_EQ(batch.global_rows, batch.rows);
        EXPECT_LE(batch.rows, 4);
        own += batch.rows;
        EXPECT_EQ(batch.reserved->num_rows(), batch.rows);
        const ColumnView x = *ColumnView::Make(batch.reserved->GetColumnByName("x"));
        for (int64_t i = 0; i < batch.rows; ++i) {
          EXPECT_EQ(x.ToText(i), absl::StrCat(batch.ids[0].ids[i]));
        }
        for (const int64_t id : batch.ids[0].ids) absl::StrAppend(&rows, id, " ");
      }
      EXPECT_EQ(own, loader->rows_per_epoch());
    }
    EXPECT_EQ(rows, "0 1 2 3 4 5 6 7 8 9 10 11 12 ") << workers;
  }
}

TEST_P(BatchLoaderTest, ReservedColumnsKeepTheirTypes) {
  WriteFiles({3});
  options_.reserved_columns = {"y"};
  const auto loader = *BatchLoader::Open(config_, options_);
  const auto type = loader->reserved_schema()->field(0)->type();
  EXPECT_TRUE(type->Equals(GetParam() == DatasetType::kCsv ? arrow::utf8() : arrow::int8()))
      << type->ToString();
  EXPECT_TRUE((**loader->Next()).reserved->schema()->Equals(*loader->reserved_schema()));
  options_.reserved_columns = {"z"};
  EXPECT_THAT(OpenError(config_, options_), HasSubstr("has no column 'z'; its columns are y, x"));
  options_.reserved_columns = {"x", "ALL_COLUMNS"};
  EXPECT_THAT(OpenError(config_, options_),
              HasSubstr("the reserved column 'x' is asked for more than once"));
}

TEST_P(BatchLoaderTest, InputWithoutRowsIsAnError) {
  WriteFiles({0, 0});
  options_.max_epochs = 0;
  EXPECT_EQ(OpenError(config_, options_),
            absl::StrCat("the input '", options_.input_path, "' has no rows"));
}

TEST_P(BatchLoaderTest, EndlessStreamOfDroppedBatchesIsAnError) {
  WriteFiles({3});
  options_.max_epochs = 0;
  options_.drop_remainder = true;
  const auto batch = (*BatchLoader::Open(config_, options_))->Next();
  ASSERT_FALSE(batch.ok());
  EXPECT_THAT(batch, IsError(HasSubstr("fewer than one global batch of 4 rows")));
}

TEST_P(BatchLoaderTest, MissingLabelColumnIsNoErrorInPredict) {
  WriteFiles({3});
  config_.data.labels = {"absent"};
  EXPECT_NE(OpenError(config_, options_), "");
  options_.labels = LabelSet::kNone;
  EXPECT_EQ(ShowAll(config_, options_).size(), 1);
}

TEST_P(BatchLoaderTest, ErrorComesAfterTheGoodBatchesAndEndsTheStream) {
  WriteFiles({20});
  config_.features[0].rows = 9;
  const auto loader = *BatchLoader::Open(config_, options_);
  EXPECT_OK(loader->Next());
  EXPECT_OK(loader->Next());
  for (int i = 0; i < 2; ++i) {
    const auto bad = loader->Next();
    ASSERT_FALSE(bad.ok());
    EXPECT_THAT(bad, IsError(HasSubstr(absl::StrCat(
                         "'", dir_.Path("f00.in"), "' row 10, column 'x': id 9 is out of range"))));
  }
}

TEST_P(BatchLoaderTest, ClampedIdsAreCountedAsTheirBatchesAreReturned) {
  WriteFiles({12});
  config_.features[0].rows = 6;
  config_.data.labels.clear();
  config_.model.towers.clear();
  options_.clamp_out_of_range = true;
  const auto loader = *BatchLoader::Open(config_, options_);
  for (const int64_t expected : {0, 2, 6}) {
    EXPECT_OK(loader->Next());
    EXPECT_EQ(loader->clamped_ids(), expected);
  }
}

TEST_P(BatchLoaderTest, NoThreadIsLeftBehind) {
  WriteFiles({500});
  options_.max_epochs = 0;
  for (const size_t batches : {0, 1, 5, 200}) {
    {
      const auto loader = *BatchLoader::Open(config_, options_);
      ReadAll(loader.get(), batches);
      EXPECT_GE(ReaderThreads(), 2);
    }
    EXPECT_EQ(ReaderThreadsLeft(), 0) << "destroyed after " << batches << " batches";
  }
  config_.features[0].rows = 2;
  {
    const auto loader = *BatchLoader::Open(config_, options_);
    EXPECT_FALSE(loader->Next().ok());
  }
  EXPECT_EQ(ReaderThreadsLeft(), 0) << "destroyed after an error";
}

TEST_P(BatchLoaderTest, DescriptionAndRowsAreWhatIsKnown) {
  WriteFiles({4, 9});
  const auto loader = *BatchLoader::Open(config_, options_);
  const bool csv = GetParam() == DatasetType::kCsv;
  EXPECT_EQ(loader->description(), csv ? "2 CSV files" : "2 Parquet files, 13 rows");
  EXPECT_EQ(loader->rows_per_epoch(), csv ? -1 : 13);
  EXPECT_EQ(loader->reserved_schema(), nullptr);
}

INSTANTIATE_TEST_SUITE_P(Files, BatchLoaderTest,
                         ::testing::Values(DatasetType::kCsv, DatasetType::kParquet),
                         [](const auto& info) {
                           return info.param == DatasetType::kCsv ? "Csv" : "Parquet";
                         });

}  // namespace
}  // namespace pepnet
