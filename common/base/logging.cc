#include "common/base/logging.h"

#include <cstdio>
#include <mutex>

#include "common/base/log_functions.h"
#include "common/base/screen.h"
#include "common/base/text.h"

namespace pepnet {
namespace {

// The only process-wide state of the logger: what stands in front of a line. Written at start-up,
// before threads.
std::string& Label() {
  static std::string label;
  return label;
}

// "W 13:40:41 [rank 1] ".
std::string Prefix(google::LogSeverity severity, const google::LogMessageTime& time) {
  char clock[16];
  snprintf(clock, sizeof(clock), "%02d:%02d:%02d", time.hour(), time.min(), time.sec());
  std::string text = {google::GetLogSeverityName(severity)[0], ' '};
  text += clock;
  if (!Label().empty()) text += " [" + Label() + "]";
  return text + " ";
}

// Log lines go to the screen, where they keep clear of the progress line.
class ScreenSink : public google::LogSink {
 public:
  void send(google::LogSeverity severity, const char* /*full_filename*/,
            const char* /*base_filename*/, int /*line*/, const google::LogMessageTime& time,
            const char* message, size_t message_len) override {
    WriteScreenLines(Prefix(severity, time) + std::string(message, message_len));
  }
};

}  // namespace

void InitLogging(const char* program, const std::string& rank_label) {
  SetLogLabel(rank_label);
  static std::once_flag once;
  std::call_once(once, [&] {
    google::InitGoogleLogging(program);
    // The sink is all: no log files, and nothing of glog's own on standard error.
    for (const google::LogSeverity severity :
         {google::GLOG_INFO, google::GLOG_WARNING, google::GLOG_ERROR, google::GLOG_FATAL}) {
      google::SetLogDestination(severity, "");
    }
    FLAGS_stderrthreshold = google::NUM_SEVERITIES;
    // Never destroyed: threads may log until the process ends.
    static ScreenSink* const sink = new ScreenSink;
    google::AddLogSink(sink);
  });
}

// A progress line is drawn at the usual detail alone: verbose lines would push it away all the
// time.
void SetLogDetail(LogDetail detail) {
  FLAGS_v = detail == LogDetail::kVerbose ? 1 : 0;
  FLAGS_minloglevel = detail == LogDetail::kQuiet ? google::GLOG_WARNING : google::GLOG_INFO;
  AllowProgress(detail == LogDetail::kNormal);
}

void SetLogLabel(const std::string& rank_label) { Label() = rank_label; }

// The functions below make texts printable: names and values of files may hold control characters,
// which would forge log lines.
void LogVerbose(const std::string& message) {
  VLOG(1) << PrintableMessage(message, /*keep_lines=*/false);
}
void LogLines(const std::string& message) {
  LOG(INFO) << PrintableMessage(message, /*keep_lines=*/true);
}
bool LogsVerbosely() { return VLOG_IS_ON(1); }
void LogInfo(const std::string& message) {
  LOG(INFO) << PrintableMessage(message, /*keep_lines=*/false);
}
void LogWarning(const std::string& message) {
  LOG(WARNING) << PrintableMessage(message, /*keep_lines=*/false);
}
void LogError(const std::string& message) {
  LOG(ERROR) << PrintableMessage(message, /*keep_lines=*/false);
}
void CheckOrDie(bool condition, const std::string& message) { CHECK(condition) << message; }

}  // namespace pepnet
