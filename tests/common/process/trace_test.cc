#include "common/process/trace.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <unistd.h>

#include <thread>

#include "common/file/file.h"
#include "nlohmann/json.hpp"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace pepnet {
namespace {

nlohmann::json Events(const std::string& path, const std::string& kind) {
  nlohmann::json found = nlohmann::json::array();
  const nlohmann::json trace = nlohmann::json::parse(*ReadFile(path));
  for (const auto& event : trace["traceEvents"]) {
    if (event["ph"] == kind) found.push_back(event);
  }
  return found;
}

class TraceTest : public testing::Test {
 protected:
  const TemporaryDirectory directory_;
  const std::string path_ = directory_ / "trace.json";
};

TEST_F(TraceTest, NestedScopesOfTwoThreadsBecomeCompleteEvents) {
  ASSERT_OK_AND_ASSIGN(auto recording, TraceRecording::Start(path_, 3));
  {
    TraceScope outer("outer");
    TraceScope inner("inner");
    TraceScope nothing(nullptr);
  }
  std::thread([] {
    pthread_setname_np(pthread_self(), "other");
    TraceScope scope("elsewhere");
  }).join();
  EXPECT_EQ(recording->Finish().value(), 0);
  TraceScope late("late");

  const auto events = Events(path_, "X");
  ASSERT_EQ(events.size(), 3u);  // as they end: inner, outer, elsewhere
  EXPECT_EQ(events[0]["name"], "inner");
  EXPECT_EQ(events[1]["name"], "outer");
  EXPECT_EQ(events[2]["name"], "elsewhere");
  EXPECT_LE(events[1]["ts"].get<double>(), events[0]["ts"].get<double>());
  EXPECT_GE(events[1]["dur"].get<double>() + 1, events[0]["dur"].get<double>());
  EXPECT_EQ(events[0]["tid"], events[1]["tid"]);
  EXPECT_NE(events[0]["tid"], events[2]["tid"]);
  for (const auto& event : events) EXPECT_EQ(event["pid"], 3);
  const auto names = Events(path_, "M");
  ASSERT_EQ(names.size(), 3u);  // the process and two threads
  EXPECT_EQ(names[0]["args"]["name"], "rank 3");
  EXPECT_EQ(names[2]["args"]["name"], "other");
}

TEST_F(TraceTest, WhatDoesNotFitIsCounted) {
  ASSERT_OK_AND_ASSIGN(auto recording, TraceRecording::Start(path_, 0, /*max_events=*/4));
  for (int i = 0; i < 11; ++i) TraceScope scope("event");
  EXPECT_EQ(recording->Finish().value(), 7);
  EXPECT_EQ(Events(path_, "X").size(), 4u);
}

TEST_F(TraceTest, APathThatCannotBeWrittenIsSaidAtOnce) {
  const auto recording = TraceRecording::Start("/nowhere/trace.json", 0);
  ASSERT_FALSE(recording.ok());
  EXPECT_THAT(recording, IsError(testing::HasSubstr("--trace_path")));
  EXPECT_THAT(recording, IsError(testing::HasSubstr("/nowhere/trace.json")));
}

TEST_F(TraceTest, AScopeWithoutARecordingDoesNothing) {
  EXPECT_EQ(g_trace.load(), nullptr);
  TraceScope scope("unseen");
}

TEST_F(TraceTest, EachRankHasAPathOfItsOwn) {
  EXPECT_EQ(TracePathOfRank("trace.json", 2), "trace-2.json");
  EXPECT_EQ(TracePathOfRank("a.b/trace", 0), "a.b/trace-0");
  EXPECT_EQ(TracePathOfRank("runs/.trace", 1), "runs/.trace-1");
}

}  // namespace
}  // namespace pepnet
