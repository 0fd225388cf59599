#include "worker/report/event_file.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "common/file/file.h"
#include "proto/event.pb.h"
#include "tests/support/cluster.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

std::vector<std::string> EventFiles(const std::string& directory) {
  std::vector<std::string> paths;
  const auto names = ListDirectory(directory);
  for (const std::string& name : *names) {
    if (name.find("tfevents") != std::string::npos) paths.push_back(directory + "/" + name);
  }
  return paths;
}

// "v s11 12:loss/total=0.5": version, session start, scalars. The checksums are TensorBoard's to
// check (events_test.py).
std::string Read(const std::string& path) {
  const std::string bytes = *ReadFile(path);
  std::string text;
  for (size_t at = 0; at + 12 <= bytes.size();) {
    uint64_t length;
    std::memcpy(&length, bytes.data() + at, sizeof(length));
    events::Event event;
    EXPECT_TRUE(event.ParseFromArray(bytes.data() + at + 12, static_cast<int>(length)));
    EXPECT_GT(event.wall_time(), 1e9);
    if (!text.empty()) text += ' ';
    if (event.has_file_version()) text += "v";
    if (event.has_session_log()) absl::StrAppend(&text, "s", event.step());
    for (const auto& value : event.summary().value()) {
      absl::StrAppend(&text, event.step(), ":", value.tag(), value.has_simple_value() ? "=" : "");
      if (value.has_simple_value()) absl::StrAppend(&text, value.simple_value());
    }
    at += 12 + length + 4;
  }
  return text;
}

// Gives the last file the name of an older run.
void Age(const std::string& directory, const std::string& name) {
  ASSERT_OK(RenameAndSync(EventFiles(directory).back(),
                          directory + "/events.out.tfevents." + name + ".h.1.pepnet"));
}

TEST(EventFileTest, AFileAppearsWithTheFirstScalars) {
  TemporaryDirectory directory;
  ASSERT_OK_AND_ASSIGN(auto file, EventFile::Open(directory / "a/b", 0));
  EXPECT_TRUE(EventFiles(directory / "a/b").empty());
  ASSERT_OK(file.Append(3, {{"loss/total", 0.5}}));
  ASSERT_OK(file.Append(6, {{"loss/total", 0.25}}));
  ASSERT_EQ(EventFiles(directory / "a/b").size(), 1u);
  EXPECT_EQ(Read(EventFiles(directory / "a/b")[0]), "v s1 3:loss/total=0.5 6:loss/total=0.25");
}

TEST(EventFileTest, ANumberThatIsZeroIsWritten) {
  TemporaryDirectory directory;
  ASSERT_OK_AND_ASSIGN(auto file, EventFile::Open(directory.path(), 0));
  ASSERT_OK(file.Append(1, {{"auc", 0}}));
  EXPECT_EQ(Read(EventFiles(directory.path())[0]), "v s1 1:auc=0");
}

TEST(EventFileTest, WhatARunWasSetToStandsBeforeItsScalars) {
  TemporaryDirectory directory;
  {
    ASSERT_OK_AND_ASSIGN(auto file, EventFile::Open(directory.path(), 0));
    file.Describe({{"lr", 0.5}, {"optimizer", "adam"}});
    ASSERT_OK(file.End(0));
    EXPECT_TRUE(EventFiles(directory.path()).empty()) << "a run without a scalar leaves no file";
    ASSERT_OK(file.Append(3, {{"x", 1}}));
    ASSERT_OK(file.End(3));
  }
  EXPECT_EQ(Read(EventFiles(directory.path())[0]),
            "v s1 0:_hparams_/session_start_info 3:x=1 3:_hparams_/session_end_info");
  ASSERT_OK(EventFile::Open(directory.path(), 2));
  EXPECT_TRUE(EventFiles(directory.path()).empty()) << "no scalar is left";
}

TEST(EventFileTest, ResumingCutsEarlierFilesBackAndStartsANewOne) {
  TemporaryDirectory directory;
  for (const int64_t start : {0, 10}) {
    ASSERT_OK_AND_ASSIGN(auto file, EventFile::Open(directory.path(), start));
    for (int64_t step = start + 5; step <= start + 15; step += 5) {
      ASSERT_OK(file.Append(step, {{"x", 1}}));
    }
    Age(directory.path(), start == 0 ? "0000000001" : "0000000002");
  }
  // 5 10 | 15 20 25, and a crash in the middle of a record.
  const std::string second = EventFiles(directory.path())[1];
  ASSERT_OK(AppendToFile(second, "12345678901234567"));
  ASSERT_OK(WriteFileAtomically(directory / "events.out.tfevents.9999999999.other", "not ours"));
  auto file = EventFile::Open(directory.path(), 20);
  ASSERT_OK(file);
  EXPECT_EQ(Read(EventFiles(directory.path())[0]), "v s1 5:x=1 10:x=1");
  EXPECT_EQ(Read(second), "v s11 15:x=1 20:x=1");
  ASSERT_OK(EventFile::Open(directory.path(), 12));
  EXPECT_EQ(EventFiles(directory.path()).size(), 2u) << "a file in which no step is left goes";
  ASSERT_OK(EventFile::Open(directory.path(), 0));
  EXPECT_EQ(EventFiles(directory.path()),
            std::vector<std::string>{directory / "events.out.tfevents.9999999999.other"});
  EXPECT_EQ(*ReadFile(directory / "events.out.tfevents.9999999999.other"), "not ours");
}

// Readers take files in the order of their names.
TEST(EventFileTest, RunsWithinASecondStandInTheirOrder) {
  TemporaryDirectory directory;
  for (int64_t step = 1; step <= 4; ++step) {
    ASSERT_OK_AND_ASSIGN(auto file, EventFile::Open(directory.path(), step - 1));
    ASSERT_OK(file.Append(step, {{"x", 0.5}}));
  }
  std::vector<std::string> files = EventFiles(directory.path());
  std::sort(files.begin(), files.end());
  ASSERT_EQ(files.size(), 4u);
  for (int64_t step = 1; step <= 4; ++step) {
    EXPECT_EQ(Read(files[static_cast<size_t>(step - 1)]),
              absl::StrCat("v s", step, " ", step, ":x=0.5"));
  }
}

TEST(EventFileTest, ADamagedRecordEndsWhatIsKept) {
  TemporaryDirectory directory;
  ASSERT_OK_AND_ASSIGN(auto file, EventFile::Open(directory.path(), 0));
  for (int64_t step = 1; step <= 3; ++step) ASSERT_OK(file.Append(step, {{"x", 1}}));
  const std::string path = EventFiles(directory.path())[0];
  std::string bytes = *ReadFile(path);
  bytes[bytes.size() - 5] ^= 1;  // in the last record's scalar
  ASSERT_OK(WriteFileAtomically(path, bytes));
  ASSERT_OK(EventFile::Open(directory.path(), 3));
  EXPECT_EQ(Read(path), "v s1 1:x=1 2:x=1");
}

}  // namespace
}  // namespace pepnet
