// glog 0.6 exports the prefix callback always, but its header declares it only on request.
#define GLOG_CUSTOM_PREFIX_SUPPORT
#include "common/base/logging.h"

#include <cstdio>
#include <mutex>

#include "common/base/log_functions.h"
#include "common/base/text.h"

namespace pepnet {
namespace {

// The only process-wide state of the logger: what glog's prefix callback prints. Written at start-up, before threads.
std::string& Label() {
  static std::string label;
  return label;
}

void Prefix(std::ostream& out, const google::LogMessageInfo& info, void*) {
  out << info.severity[0] << ' ';
  char clock[16];
  snprintf(clock, sizeof(clock), "%02d:%02d:%02d", info.time.hour(), info.time.min(), info.time.sec());
  out << clock;
  if (!Label().empty()) out << " [" << Label() << "]";
}

}  // namespace

void InitLogging(const char* program, const std::string& rank_label) {
  FLAGS_logtostderr = true;
  SetLogLabel(rank_label);
  static std::once_flag once;
  std::call_once(once, [&] { google::InitGoogleLogging(program, &Prefix); });
}

void SetLogLabel(const std::string& rank_label) { Label() = rank_label; }

void LogInfo(const std::string& message) { LOG(INFO) << PrintableMessage(message, /*keep_lines=*/false); }
void LogWarning(const std::string& message) { LOG(WARNING) << PrintableMessage(message, /*keep_lines=*/false); }
void LogError(const std::string& message) { LOG(ERROR) << PrintableMessage(message, /*keep_lines=*/false); }
void CheckOrDie(bool condition, const std::string& message) { CHECK(condition) << message; }

}  // namespace pepnet
