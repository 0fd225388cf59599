// Trace: what each thread of this process did when, as a file for chrome://tracing or
// ui.perfetto.dev (--trace_path).
//
// Use:     TraceScope scope("forward") from there to the end of the block is one event. Scopes
//          nest. Names are literals.
// Cost:    without a recording one relaxed load and a branch; with one two clock readings and a
//          short lock.
// Memory:  the first kMaxTraceEvents events are kept (32 bytes each); later ones are counted, and
//          Finish() says so.
// Threads: any. Process-wide, like the file hook: a scope may stand anywhere without an argument
//          through every call.
// Format:  {"traceEvents": [...]}: one complete event ("ph": "X") per scope with "ts" and "dur" in
//          microseconds, "pid" = the rank, "tid" = the thread, and "M" events with the names of
//          both. "ts" counts from 1970, so that the files of the ranks of a job can be joined.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "common/base/status.h"

namespace pepnet {

inline constexpr size_t kMaxTraceEvents = 500000;

// "trace.json", rank 3 -> "trace-3.json": each rank of several writes a file of its own.
std::string TracePathOfRank(const std::string& path, int rank);

class TraceRecording {
 public:
  // Records from now on. Fails if `path` cannot be written. Precondition: no other recording is
  // under way. `max_events`: for tests.
  static StatusOr<std::unique_ptr<TraceRecording>> Start(const std::string& path, int rank,
                                                         size_t max_events = kMaxTraceEvents);
  // Stops recording without writing, unless Finish() has been called. No scope may be open on
  // another thread.
  ~TraceRecording();
  // Stops recording and writes the file. Returns how many events did not fit. No scope may be open
  // on another thread.
  StatusOr<int64_t> Finish();

  struct State;

 private:
  TraceRecording(std::string path, int rank, size_t max_events);
  void Stop();
  const std::string path_;
  std::unique_ptr<State> state_;
};

// The recording under way, or null. Only for TraceScope.
extern std::atomic<TraceRecording::State*> g_trace;

class TraceScope {
 public:
  // `name` lives as long as the program; null: no event.
  explicit TraceScope(const char* name) : state_(g_trace.load(std::memory_order_acquire)) {
    if (state_ != nullptr && name != nullptr) Begin(name);
  }
  ~TraceScope() {
    if (name_ != nullptr) End();
  }
  TraceScope(const TraceScope&) = delete;
  TraceScope& operator=(const TraceScope&) = delete;

 private:
  void Begin(const char* name);
  void End();
  TraceRecording::State* const state_;
  const char* name_ = nullptr;
  int64_t begin_ns_ = 0;
};

}  // namespace pepnet
