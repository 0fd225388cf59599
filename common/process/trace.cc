#include "common/process/trace.h"

#include <pthread.h>

#include <chrono>
#include <map>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_format.h"
#include "common/base/logging.h"
#include "common/base/mutex.h"
#include "common/file/file.h"

namespace pepnet {

std::atomic<TraceRecording::State*> g_trace = nullptr;

// Outlives every scope that has seen it: Finish() and the destructor want none to be open.
struct TraceRecording::State {
  struct Event {
    const char* name;
    int64_t begin_ns, duration_ns;  // begin: since the recording began
    size_t thread;                  // index into thread_names
  };
  State(int rank, size_t max_events) : rank(rank), max_events(max_events) {}

  int64_t NowNs() const {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() -
                                                                start)
        .count();
  }
  void Add(const char* name, int64_t begin_ns);
  size_t ThisThread() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);

  const int rank;
  const size_t max_events;
  const std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
  const int64_t start_us =  // since 1970
      std::chrono::duration_cast<std::chrono::microseconds>(
          std::chrono::system_clock::now().time_since_epoch())
          .count();
  Mutex mutex;
  std::vector<Event> events ABSL_GUARDED_BY(mutex);
  int64_t left_out ABSL_GUARDED_BY(mutex) = 0;
  std::map<std::thread::id, size_t> threads ABSL_GUARDED_BY(mutex);
  std::vector<std::string> thread_names ABSL_GUARDED_BY(mutex);
};

// Threads are numbered as they come, because the ids of the system are of no use to a reader.
size_t TraceRecording::State::ThisThread() {
  const auto [it, is_new] = threads.emplace(std::this_thread::get_id(), thread_names.size());
  if (is_new) {
    char name[16] = "";  // as long as a thread's name can be
    pthread_getname_np(pthread_self(), name, sizeof(name));
    thread_names.push_back(name);
  }
  return it->second;
}

void TraceRecording::State::Add(const char* name, int64_t begin_ns) {
  // The clock is read before the lock, so that waiting for it is no part of the event.
  const int64_t end_ns = NowNs();
  MutexLock lock(&mutex);
  if (events.size() >= max_events) {
    ++left_out;
    return;
  }
  events.push_back({name, begin_ns, end_ns - begin_ns, ThisThread()});
}

void TraceScope::Begin(const char* name) {
  name_ = name;
  begin_ns_ = state_->NowNs();
}

void TraceScope::End() { state_->Add(name_, begin_ns_); }

// A dot in a directory's name, or at the beginning of the file's, begins no ending.
std::string TracePathOfRank(const std::string& path, int rank) {
  const size_t slash = path.rfind('/'), dot = path.rfind('.');
  const bool has_ending =
      dot != std::string::npos && (slash == std::string::npos || dot > slash + 1) && dot > 0;
  const size_t end = has_ending ? dot : path.size();
  return absl::StrCat(path.substr(0, end), "-", rank, path.substr(end));
}

TraceRecording::TraceRecording(std::string path, int rank, size_t max_events)
    : path_(std::move(path)), state_(std::make_unique<State>(rank, max_events)) {}

StatusOr<std::unique_ptr<TraceRecording>> TraceRecording::Start(const std::string& path, int rank,
                                                                size_t max_events) {
  // Said before hours of work, not behind them.
  PEPNET_RETURN_IF_ERROR(
      CheckReplaceable("--trace_path", path, {"{\"traceEvents\":", "{\"displayTimeUnit\":"}));
  PEPNET_RETURN_IF_ERROR(
      Annotate(WriteFileAtomically(path, "{\"traceEvents\": []}\n"), "--trace_path"));
  std::unique_ptr<TraceRecording> recording(new TraceRecording(path, rank, max_events));
  State* nobody = nullptr;
  // Pairs with the load of TraceScope: a scope that sees the state sees it whole.
  CHECK(g_trace.compare_exchange_strong(nobody, recording->state_.get(), std::memory_order_release))
      << "two traces at once";
  return recording;
}

// This recording alone is taken off: a later one may be under way.
void TraceRecording::Stop() {
  State* mine = state_.get();
  g_trace.compare_exchange_strong(mine, nullptr);
}

TraceRecording::~TraceRecording() { Stop(); }

StatusOr<int64_t> TraceRecording::Finish() {
  Stop();
  State& state = *state_;
  MutexLock lock(&state.mutex);
  std::string text = "{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n";
  absl::StrAppendFormat(
      &text,
      R"({"ph": "M", "name": "process_name", "pid": %d, "tid": 0, "args": {"name": "rank %d"}})",
      state.rank, state.rank);
  for (size_t t = 0; t < state.thread_names.size(); ++t) {
    absl::StrAppendFormat(
        &text,
        ",\n"
        R"({"ph": "M", "name": "thread_name", "pid": %d, "tid": %d, "args": {"name": "%s"}})",
        state.rank, t, state.thread_names[t]);
  }
  for (const State::Event& event : state.events) {
    absl::StrAppendFormat(
        &text,
        ",\n"
        R"({"ph": "X", "name": "%s", "pid": %d, "tid": %d, "ts": %d.%03d, "dur": %d.%03d})",
        event.name, state.rank, event.thread, state.start_us + event.begin_ns / 1000,
        event.begin_ns % 1000, event.duration_ns / 1000, event.duration_ns % 1000);
  }
  // The whole file is built in memory and written at once: half a million events are some 50 MB,
  // and a trace that is cut short could not be opened.
  text += "\n]}\n";
  PEPNET_RETURN_IF_ERROR(WriteFileAtomically(path_, text));
  return state.left_out;
}

}  // namespace pepnet
