// SharedRows beside RowStream, and loaders that share beside loaders that read alone: members are
// threads, which meet over the same sockets and memory files as processes do.
#include "worker/data/rows/shared_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <functional>
#include <future>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/support/status_matchers.h"
#include "tests/worker/data/data_files.h"
#include "worker/data/files/column_view.h"
#include "worker/data/load/batch_loader.h"

namespace pepnet {
namespace {

using ::testing::HasSubstr;

ReaderGroup MemberOf(const std::string& name, int index, int count) {
  ReaderGroup group;
  group.name = name;
  for (int m = 0; m < count; ++m) group.members.push_back(absl::StrCat("worker ", m));
  group.index = index;
  group.timeout_s = 60;
  return group;
}

std::string NewGroupName() {
  static std::atomic<int> next = 0;
  return absl::StrCat("test-", getpid(), "-", next++);
}

// Runs member(index) on a thread each.
void RunMembers(int count, const std::function<void(int)>& member) {
  std::vector<std::thread> threads;
  for (int m = 0; m < count; ++m) threads.emplace_back([&member, m] { member(m); });
  for (std::thread& thread : threads) thread.join();
}

bool Eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 2000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

class SharedRowsTest : public ::testing::TestWithParam<DatasetType> {
 protected:
  // Column x numbers the rows through, y = x % 2, s is a text, empty in every third row; row groups
  // of 5.
  std::string WriteFile(const std::string& name, int first, int rows) {
    std::string csv = "y,x,s\n", x = "[", y = "[", s = "[";
    for (int i = first; i < first + rows; ++i) {
      const std::string text = i % 3 == 0 ? "" : absl::StrCat("s", i * 7 % 11);
      absl::StrAppend(&csv, i % 2, ",", i, ",", text, "\n");
      if (GetParam() == DatasetType::kCsv) continue;
      const char* comma = i == first ? "" : ",";
      absl::StrAppend(&x, comma, i);
      absl::StrAppend(&y, comma, i % 2);
      absl::StrAppend(&s, comma,
                      text.empty() ? std::string("null") : absl::StrCat("\"", text, "\""));
    }
    if (GetParam() == DatasetType::kCsv) return dir_.Write(name, csv);
    WriteParquet(dir_.Path(name),
                 {{"y", JsonArray(arrow::int8(), y + "]")},
                  {"x", JsonArray(arrow::int32(), x + "]")},
                  {"s", JsonArray(arrow::dictionary(arrow::int32(), arrow::utf8()), s + "]")}},
                 5);
    return dir_.Path(name);
  }
  void WriteFiles(const std::vector<int>& rows) {
    for (const std::string& path : paths_) std::remove(path.c_str());
    paths_.clear();
    int first = 0;
    for (size_t file = 0; file < rows.size(); ++file) {
      paths_.push_back(
          WriteFile(absl::StrCat("f", file / 10, file % 10, ".in"), first, rows[file]));
      first += rows[file];
    }
  }

  std::unique_ptr<RowStream> Stream() {
    FileFormat format;
    format.type = GetParam();
    format.with_header = true;
    auto stream = std::make_unique<RowStream>(InputFiles{paths_, GetParam()}, format,
                                              std::vector<std::string>{"x", "s"});
    EXPECT_OK(stream->LearnRows());
    return stream;
  }

  JobConfig Config(int num_workers) {
    JobConfig config;
    config.data.dataset_type = GetParam();
    config.data.with_header = true;
    config.data.num_workers = num_workers;
    config.data.labels = {"y"};
    Feature text = IdFeature("s", 50);
    text.bucketizer = Bucketizer::kHash;
    config.features = {IdFeature("x", 10'000'000), text};
    Tower tower;
    tower.name = "t";
    tower.label = 0;
    tower.losses.push_back({});
    config.model.towers = {tower};
    return config;
  }
  LoaderOptions Options(int worker, int workers) {
    LoaderOptions options;
    options.input_path = dir_.Path("*.in");
    options.batch_size = 3;
    options.worker_index = worker;
    options.worker_count = workers;
    options.shuffle_buffer_size = 2;
    options.seed = 7;
    return options;
  }

  TestDirectory dir_;
  std::vector<std::string> paths_;
};

// Walks two epochs with steps drawn from `seed`, and says what it met.
std::string Walk(RowSequence* rows, uint32_t seed, const std::vector<int64_t>& first_rows) {
  std::mt19937 random(seed);
  std::string text;
  const auto show = [&](const RowChunk& chunk, int64_t row) {
    const ColumnView x = *ColumnView::Make(chunk.rows->column(0)),
                     s = *ColumnView::Make(chunk.rows->column(1));
    const std::string name = chunk.path->substr(chunk.path->size() - 6, 3);
    absl::StrAppend(&text, " ", name, ":", chunk.Number(row), "=", x.ToText(row),
                    s.IsEmpty(row) ? "-" : s.ToText(row));
  };
  for (const int64_t first : first_rows) {
    const auto found = rows->Begin(first);
    EXPECT_OK(found);
    absl::StrAppend(&text, "\nbegin ", found.value_or(-1), ":");
    for (bool more = true; more;) {
      const auto step = static_cast<int64_t>(1 + random() % 9);
      const auto kind = random() % 3;
      int64_t got = 0;
      if (kind == 0) {
        RowSelection selection;
        EXPECT_OK(rows->Read(step, &selection));
        got = selection.rows;
        EXPECT_OK(ForEachRow(selection, *ViewColumn(selection, 0), [&](int chunk, int64_t row) {
          show(selection.chunks[chunk], row);
          return absl::OkStatus();
        }));
      } else if (kind == 1) {
        BufferedRowsList buffered;
        EXPECT_OK(rows->Buffer(step, &buffered));
        for (const auto& part : buffered) {
          got += part->size();
          const std::vector<int64_t> wanted = {part->size() - 1, 0};
          const BufferedRows::Picked picked = *part->Pick(wanted);
          for (const int64_t at : picked.at) show(picked.chunk, at);
        }
      } else {
        const auto skipped = rows->Skip(step);
        EXPECT_OK(skipped);
        got = skipped.value_or(0);
        absl::StrAppend(&text, " skip ", got);
      }
      more = got == step;
    }
  }
  return text;
}

TEST_P(SharedRowsTest, EveryMemberWalksTheRowsOfTheFiles) {
  for (const auto& files :
       {std::vector<int>{31, 0, 4}, {0, 0, 1}, {5, 5, 10, 0, 3, 1, 1, 24, 0}, {1}}) {
    WriteFiles(files);
    for (const int count : {1, 2, 3, 4}) {
      const std::string name = NewGroupName();
      RunMembers(count, [&](int m) {
        ASSERT_OK_AND_ASSIGN(auto shared, SharedRows::Join(Stream(), MemberOf(name, m, count)));
        const auto seed = static_cast<uint32_t>(10 * count + m);
        const std::vector<int64_t> first_rows = {0, 7, 1, 1000, 0};
        const auto stream = Stream();
        EXPECT_EQ(Walk(shared.get(), seed, first_rows), Walk(stream.get(), seed, first_rows));
      });
    }
  }
}

// All of a batch: rows, labels, where it comes from, where it leads.
std::vector<std::string> ShowBatches(BatchLoader* loader) {
  std::vector<std::string> shown;
  while (true) {
    const auto next = loader->Next();
    if (!next.ok()) {
      shown.push_back(std::string(next.status().message()));
      return shown;
    }
    if (!next->has_value()) return shown;
    const Batch& batch = **next;
    std::string text =
        absl::StrCat(batch.origin, " of ", batch.first_row, "/", batch.global_rows, " at ",
                     batch.position_after.epoch, ":", batch.position_after.rows_in_epoch, ":");
    for (const IdColumn& column : batch.ids) {
      for (const int64_t id : column.ids) absl::StrAppend(&text, " ", id);
      for (const int32_t offset : column.offsets) absl::StrAppend(&text, " ", offset);
    }
    for (const float value : batch.labels[0].values) absl::StrAppend(&text, " ", value);
    shown.push_back(text);
  }
}

// Laws L3 and L4, the data's part: the same batches with and without sharing.
TEST_P(SharedRowsTest, LoadersThatShareGiveTheSameBatches) {
  std::mt19937 random(3);
  for (int round = 0; round < 8; ++round) {
    std::vector<int> files;
    int rows = 0;
    for (int file = 0; file < 5; ++file) {
      files.push_back(static_cast<int>(random() % 3 == 0 ? 0 : random() % 40));
      rows += files.back();
    }
    if (rows == 0) continue;
    WriteFiles(files);
    for (const int count : {2, 3, 4}) {
      const int workers = count + (round % 2);  // the last one is on another host
      const bool shuffle = round % 4 < 2;
      const std::string name = NewGroupName();
      const DataPosition start = {round % 3 == 0 ? 0 : 1,
                                  round % 3 == 2 && rows >= 3 * workers ? 3 * workers : 0};
      RunMembers(count, [&](int m) {
        LoaderOptions options = Options(m, workers);
        options.shuffle = shuffle;
        options.drop_remainder = round % 3 == 1 && rows >= 3 * workers;
        options.max_epochs = 3;
        options.start = start;
        ASSERT_OK_AND_ASSIGN(const auto alone, BatchLoader::Open(Config(1), options));
        options.group = MemberOf(name, m, count);
        options.share = ShareReader::kOn;
        ASSERT_OK_AND_ASSIGN(const auto shared, BatchLoader::Open(Config(1 + m), options));
        EXPECT_THAT(shared->sharing(), HasSubstr("workers of this host share the decoding"));
        EXPECT_EQ(ShowBatches(shared.get()), ShowBatches(alone.get()))
            << "member " << m << " of " << count << ", " << workers << " workers, round " << round;
      });
    }
  }
}

TEST_P(SharedRowsTest, EachRowIsDecodedOnceAHost) {
  // Turns of CSV files hold 65,536 rows: two files end where a turn ends.
  const std::vector<int> files = GetParam() == DatasetType::kCsv
                                     ? std::vector<int>{131072, 0, 65536, 3}
                                     : std::vector<int>{200, 0, 300};
  WriteFiles(files);
  int rows = 0;
  for (const int file : files) rows += file;
  const std::string name = NewGroupName();
  std::atomic<int64_t> decoded = 0;
  RunMembers(3, [&](int m) {
    const auto shared = *SharedRows::Join(Stream(), MemberOf(name, m, 3));
    ASSERT_EQ(*shared->Begin(0), 0);
    RowSelection all;
    ASSERT_OK(shared->Read(1 << 30, &all));
    EXPECT_EQ(all.rows, rows);
    int64_t row = 0, next = 0;
    for (const RowChunk& chunk : all.chunks) {
      const ColumnView x = *ColumnView::Make(chunk.rows->column(0));
      for (row = 0; row < chunk.rows->num_rows(); row += 97) {
        ASSERT_EQ(x.ToText(row), absl::StrCat(next + row));
      }
      next += chunk.rows->num_rows();
    }
    EXPECT_TRUE(Eventually(
        [&] { return shared->counts().decoded_rows + shared->counts().passed_rows == rows; }));
    EXPECT_GT(shared->counts().decoded_rows, 0);
    decoded += shared->counts().decoded_rows;
  });
  EXPECT_EQ(decoded, rows);
}

TEST_P(SharedRowsTest, AMemberThatDoesNotTakeBoundsWhatTheOthersDecode) {
  if (GetParam() == DatasetType::kCsv) {
    WriteFiles(std::vector<int>(40, 5));  // a turn each
  } else {
    WriteFiles({200});
  }
  const std::string name = NewGroupName();
  std::promise<SharedRows*> idle;
  std::promise<void> go_on;
  RunMembers(2, [&](int m) {
    const auto shared = *SharedRows::Join(Stream(), MemberOf(name, m, 2));
    ASSERT_OK(shared->Begin(0));
    if (m == 1) {
      idle.set_value(shared.get());
      go_on.get_future().wait();
      EXPECT_EQ(*shared->Skip(1000), 200);
      return;
    }
    SharedRows* const other = idle.get_future().get();
    auto reading = std::async(std::launch::async, [&] { return *shared->Skip(1000); });
    // Of a CSV file the end is a chunk of its own.
    const int64_t bound = 5 * (GetParam() == DatasetType::kCsv ? 2 : ChunkExchange::kUnclaimed + 1);
    EXPECT_TRUE(Eventually(
        [&] { return shared->counts().decoded_rows >= bound && shared->WaitingFor() != ""; }));
    EXPECT_EQ(shared->counts().decoded_rows, bound) << "member 1 has claimed none of these";
    EXPECT_LE(other->counts().decoded_rows, bound);
    go_on.set_value();
    EXPECT_EQ(reading.get(), 200);
  });
}

TEST_P(SharedRowsTest, AMemberThatHasHadAllItsRowsMayGo) {
  WriteFiles({5, 5, 5, 5});
  const std::string name = NewGroupName();
  std::promise<void> gone;
  RunMembers(2, [&](int m) {
    auto shared = *SharedRows::Join(Stream(), MemberOf(name, m, 2));
    ASSERT_OK(shared->Begin(0));
    if (m == 0) {
      EXPECT_EQ(*shared->Skip(1000), 20);
      shared.reset();
      gone.set_value();
      return;
    }
    // Turns 0 and 2 are of member 0, which may go with two chunks unclaimed; of a CSV file the end
    // is one, too.
    const int taken = GetParam() == DatasetType::kCsv ? 15 : 10;
    EXPECT_EQ(*shared->Skip(taken), taken);
    gone.get_future().wait();
    EXPECT_EQ(*shared->Skip(1000), 20 - taken);
  });
}

TEST_P(SharedRowsTest, AMemberThatHasGoneIsNamed) {
  WriteFiles({5, 5, 5, 5});
  const std::string name = NewGroupName();
  RunMembers(2, [&](int m) {
    const auto shared = *SharedRows::Join(Stream(), MemberOf(name, m, 2));
    if (m == 1) return;  // destroyed at once, as if it were killed
    ASSERT_OK(shared->Begin(0));
    EXPECT_EQ(*shared->Skip(5), 5);
    const auto lost = shared->Skip(5);
    EXPECT_TRUE(absl::IsAborted(lost.status())) << lost.status();  // Prefetcher asks for that
    EXPECT_THAT(
        lost, IsError(::testing::MatchesRegex(
                  "waiting for the rows behind '.*f00.in' row 5 from worker 1, which decodes them "
                  "for this host \\(turn 1\\): worker 1, on this host, has gone")));
  });
}

TEST_P(SharedRowsTest, WaitsForAMissingMemberEndAtTheDeadline) {
  WriteFiles({5});
  ReaderGroup group = MemberOf(NewGroupName(), 0, 2);
  group.timeout_s = 0.2;
  EXPECT_THAT(SharedRows::Join(Stream(), group),
              IsError(HasSubstr("s for worker 1, on this host, to share the reading of the input "
                                "files; --share_reader=off")));
  group.timeout_s = 60;
  group.lost = [] { return absl::UnavailableError("rank 1 is dead"); };
  EXPECT_EQ(SharedRows::Join(Stream(), group).status().message(), "rank 1 is dead");
}

TEST_P(SharedRowsTest, ALoaderThatWaitsInVainNamesRowsAndPeer) {
  WriteFiles({5, 5, 5, 5});
  for (const bool lost : {false, true}) {
    const std::string name = NewGroupName();
    std::promise<void> done;
    std::atomic<bool> joined = false;
    RunMembers(2, [&](int m) {
      LoaderOptions options = Options(m, 2);
      options.group = MemberOf(name, m, 2);
      options.share = ShareReader::kOn;
      if (m == 1) {  // joins, and never begins
        const auto shared = *SharedRows::Join(Stream(), options.group);
        done.get_future().wait();
        return;
      }
      if (lost) {
        options.group.lost = [&] {
          return joined ? absl::UnavailableError("rank 1 is hung") : absl::OkStatus();
        };
      } else {
        options.group.timeout_s = 2;
      }
      std::string error;
      {
        const auto loader = BatchLoader::Open(Config(1), options);
        joined = true;
        error = std::string((loader.ok() ? (*loader)->Next().status() : loader.status()).message());
      }
      done.set_value();
      if (lost) {
        EXPECT_THAT(error, HasSubstr("rank 1 is hung"));
      } else {
        EXPECT_THAT(error, ::testing::MatchesRegex(
                               "waited .* s for the rows behind '.*f00.in' row 5 from worker 1, "
                               "which decodes them for "
                               "this host \\(turn 1\\), nothing came; raise --timeout_s .*"));
      }
    });
  }
}

TEST_P(SharedRowsTest, WhatOneMemberCannotReadAllOfThemReport) {
  WriteFiles({5, 5, 5});
  if (GetParam() == DatasetType::kCsv) {
    paths_[1] = dir_.Write("f01.in", "y,x,s\n1,5,a\n1,6\n");
  } else {
    // The pages of the file's first columns are overwritten; its footer stands.
    std::string bytes;
    {
      std::FILE* file = std::fopen(paths_[1].c_str(), "r+b");
      ASSERT_NE(file, nullptr);
      std::fseek(file, 4, SEEK_SET);
      const std::string junk(60, '\xff');
      std::fwrite(junk.data(), 1, junk.size(), file);
      std::fclose(file);
    }
  }
  const std::string name = NewGroupName();
  std::vector<std::string> errors(3);
  RunMembers(3, [&](int m) {
    LoaderOptions options = Options(m, 3);
    options.group = MemberOf(name, m, 3);
    options.share = ShareReader::kOn;
    ASSERT_OK_AND_ASSIGN(const auto loader, BatchLoader::Open(Config(1), options));
    errors[m] = ShowBatches(loader.get()).back();
  });
  EXPECT_THAT(errors[0], HasSubstr("f01.in'"));
  EXPECT_EQ(errors[1], errors[0]);
  EXPECT_EQ(errors[2], errors[0]);
}

TEST_P(SharedRowsTest, FullMemoryIsOneSentenceOnAllMembers) {
  WriteFiles({5, 5, 5});
  // Memory files are files: a limit of their size is as good as a host without memory.
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {100, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string name = NewGroupName();
  RunMembers(2, [&](int m) {
    const auto shared = *SharedRows::Join(Stream(), MemberOf(name, m, 2));
    ASSERT_OK(shared->Begin(0));
    const auto full = shared->Skip(100);
    ASSERT_FALSE(full.ok());
    EXPECT_THAT(
        full,
        IsError(::testing::AllOf(
            HasSubstr("cannot put 5 rows into memory shared with the other workers of this host"),
            HasSubstr("--share_reader=off"))));
  });
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
}

TEST_P(SharedRowsTest, StoppingEndsEveryWait) {
  WriteFiles({5, 5, 5, 5, 5, 5, 5, 5});
  const std::string name = NewGroupName();
  std::promise<void> done;
  RunMembers(2, [&](int m) {
    LoaderOptions options = Options(m, 2);
    options.group = MemberOf(name, m, 2);
    options.share = ShareReader::kOn;
    options.max_epochs = 0;
    if (m == 1) {
      const auto shared = *SharedRows::Join(Stream(), options.group);
      done.get_future().wait();
      return;
    }
    // Destroyed while its reader waits for member 1 and its own chunks wait for claims.
    (*BatchLoader::Open(Config(2), options)).reset();
    done.set_value();
  });
}

TEST_P(SharedRowsTest, SharingIsChosenWhereItIsCheaper) {
  WriteFiles({40});
  const bool csv = GetParam() == DatasetType::kCsv;
  const auto sharing = [&](const LoaderOptions& options) {
    const auto loader = BatchLoader::Open(Config(1), options);
    return loader.ok() ? (*loader)->sharing() : std::string(loader.status().message());
  };
  LoaderOptions options = Options(0, 4);
  options.shuffle = true;
  EXPECT_EQ(sharing(options),
            "each worker decodes alone: there is no other worker to share with on this host");
  options.group = MemberOf(NewGroupName(), 0, 4);
  options.group.timeout_s = 0.1;
  EXPECT_THAT(sharing(options), csv ? HasSubstr("of CSV files only its own rows are decoded")
                                    : HasSubstr("s for worker 1, on this host, to share"));
  options.share = ShareReader::kOff;
  EXPECT_EQ(sharing(options), absl::StrCat("each worker decodes alone: ", csv ? "1.0" : "4.0",
                                           " rows decoded for each row used (--share_reader=off)"));
  options.share = ShareReader::kAuto;
  options.shuffle = false;
  options.batch_size = 100;  // row groups of 5
  EXPECT_THAT(sharing(options),
              csv ? HasSubstr("of CSV files only") : HasSubstr("sharing would save too little"));
}

INSTANTIATE_TEST_SUITE_P(Files, SharedRowsTest,
                         ::testing::Values(DatasetType::kCsv, DatasetType::kParquet),
                         [](const auto& info) {
                           return info.param == DatasetType::kCsv ? "Csv" : "Parquet";
                         });

TEST(ReaderGroupTest, HoldsTheWorkersOfOneSpace) {
  const std::vector<std::string> spaces = {"a", "b", "a", "", "", "a"};
  const ReaderGroup group = GroupOfWorker(spaces, 2, "job");
  EXPECT_EQ(group.members, (std::vector<std::string>{"worker 0", "worker 2", "worker 5"}));
  EXPECT_EQ(group.index, 1);
  EXPECT_TRUE(group.secrets.empty());
  const std::vector<std::string> secrets = {"a", "b", "c", "d", "e", "f"};
  const ReaderGroup hidden = GroupOfWorker(spaces, 2, "job", secrets);
  ASSERT_EQ(hidden.secrets.size(), hidden.members.size());
  for (int i = 0; i < hidden.count(); ++i) {
    EXPECT_EQ(hidden.members[i], absl::StrCat("worker ", hidden.secrets[i][0] - 'a'));
  }
  EXPECT_EQ(GroupOfWorker(spaces, 5, "job").name, group.name);
  EXPECT_NE(GroupOfWorker(spaces, 1, "job").name, group.name);
  EXPECT_NE(GroupOfWorker(spaces, 2, "other job").name, group.name);
  EXPECT_EQ(GroupOfWorker(spaces, 3, "job").count(), 1) << "an unknown space is shared with nobody";
  EXPECT_NE(SocketSpace(), "");
}

TEST(ReaderGroupTest, DecodedRowsFollowTheFormat) {
  EXPECT_EQ(DecodedPerRowAlone({.row_by_row = true, .shuffle = true, .workers = 32}), 1);
  EXPECT_EQ(DecodedPerRowAlone(
                {.shuffle = true, .row_group_rows = 10, .batch_size = 1000, .workers = 32}),
            32);
  EXPECT_EQ(DecodedPerRowAlone({.row_group_rows = 3000, .batch_size = 1000, .workers = 32}), 4);
  EXPECT_EQ(DecodedPerRowAlone({.row_group_rows = 3000, .batch_size = 1000, .workers = 2}), 2);
  EXPECT_EQ(DecodedPerRowShared({.workers = 32}, 8), 4);
  EXPECT_DOUBLE_EQ(SharedCostPerRow({.workers = 8}, 8), 1.3 + 0.25 * 7);
  EXPECT_FALSE(ShareByDefault({.shuffle = true, .workers = 2}, 2)) << "1.55 instead of 2";
  EXPECT_TRUE(ShareByDefault({.shuffle = true, .workers = 3}, 3)) << "1.8 instead of 3";
  EXPECT_FALSE(ShareByDefault({.shuffle = true, .workers = 8}, 1));
  EXPECT_FALSE(ShareByDefault({.row_by_row = true, .shuffle = true, .workers = 8}, 8));
}

}  // namespace
}  // namespace pepnet
