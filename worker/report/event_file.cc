#include "worker/report/event_file.h"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdio>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "common/file/crc32c.h"
#include "common/file/file.h"
#include "proto/event.pb.h"

namespace pepnet {
namespace {

static_assert(std::endian::native == std::endian::little,
              "records are written as they lie in memory");

// TensorBoard finds the files by this beginning, and orders them by the digits behind it.
constexpr char kPrefix[] = "events.out.tfevents.";
constexpr char kSuffix[] = ".pepnet";
constexpr int kSecondsDigits = 10;
constexpr int64_t kMostAhead = 3600;  // seconds: files further ahead are of a clock that was wrong
constexpr size_t kHeaderBytes = sizeof(uint64_t) + sizeof(uint32_t),
                 kFooterBytes = sizeof(uint32_t);

double Now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// TFRecord's mask: a crc of data that hold crcs would be weak.
uint32_t MaskedCrc(const void* data, size_t bytes) {
  return std::rotr(ExtendCrc32c(0, data, bytes), 15) + 0xa282ead8u;
}

template <typename Value>
void AppendValue(const Value& value, std::string* out) {
  out->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

// One TFRecord: | length u64 | masked crc of the length u32 | event | masked crc of the event u32
// |, little-endian.
std::string Frame(const events::Event& event) {
  const std::string body = event.SerializeAsString();
  std::string record;
  AppendValue(static_cast<uint64_t>(body.size()), &record);
  AppendValue(MaskedCrc(record.data(), record.size()), &record);
  record += body;
  AppendValue(MaskedCrc(body.data(), body.size()), &record);
  return record;
}

// A record for the HParams plugin.
std::string HParamsRecord(int64_t step, const char* tag, const events::HParamsPluginData& data) {
  events::Event event;
  event.set_wall_time(Now());
  event.set_step(step);
  events::Summary::Value* const value = event.mutable_summary()->add_value();
  value->set_tag(tag);
  events::SummaryMetadata::PluginData* const plugin =
      value->mutable_metadata()->mutable_plugin_data();
  plugin->set_plugin_name("hparams");
  plugin->set_content(data.SerializeAsString());
  return Frame(event);
}

// The hyperparameters of the run, which TensorBoard's HParams page shows as columns.
std::string SessionStartRecord(int64_t step, const std::vector<Hyperparameter>& hyperparameters) {
  events::HParamsPluginData data;
  events::HParamsSessionStart* const start = data.mutable_session_start_info();
  start->set_start_time_secs(Now());
  for (const Hyperparameter& one : hyperparameters) {
    auto& value = (*start->mutable_hparams())[one.name];
    if (const auto* const text = std::get_if<std::string>(&one.value); text != nullptr) {
      value.set_string_value(*text);
    } else {
      value.set_number_value(std::get<double>(one.value));
    }
  }
  return HParamsRecord(step, "_hparams_/session_start_info", data);
}

// Values with metadata are those of the HParams plugin, which are no curve.
bool HasScalars(const events::Event& event) {
  const auto& values = event.summary().value();
  return std::any_of(values.begin(), values.end(),
                     [](const auto& value) { return !value.has_metadata(); });
}

// The event at `offset` and the offset behind it; false at the end and where the bytes are no whole
// record.
bool ReadEvent(const std::string& bytes, size_t* offset, events::Event* event) {
  if (bytes.size() - *offset < kHeaderBytes) return false;
  uint64_t length;
  uint32_t crc;
  std::memcpy(&length, bytes.data() + *offset, sizeof(length));
  std::memcpy(&crc, bytes.data() + *offset + sizeof(length), sizeof(crc));
  // The length is believed only with its crc: a damaged one could be any number.
  if (crc != MaskedCrc(&length, sizeof(length))) return false;
  const size_t body = *offset + kHeaderBytes;
  // Differences and not sums, which a huge length would make overflow.
  if (length > bytes.size() - body || bytes.size() - body - length < kFooterBytes) return false;
  std::memcpy(&crc, bytes.data() + body + length, sizeof(crc));
  if (crc != MaskedCrc(bytes.data() + body, length)) return false;
  if (!event->ParseFromArray(bytes.data() + body, static_cast<int>(length))) return false;
  *offset = body + length + kFooterBytes;
  return true;
}

// Keeps the leading records of at most `step`: a crash may also have cut the last one short.
Status CutBack(const std::string& path, int64_t step) {
  PEPNET_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  size_t end = 0, kept = 0;
  bool any = false;
  events::Event event;
  while (ReadEvent(bytes, &end, &event) && (event.step() <= step || event.has_session_log())) {
    any = any || HasScalars(event);
    kept = end;
  }
  // A file without a curve is only in the way of the one that the resumed run begins.
  if (!any) return RemoveTree(path);
  if (kept == bytes.size()) return absl::OkStatus();
  return WriteFileAtomically(path, bytes.substr(0, kept));
}

}  // namespace

StatusOr<EventFile> EventFile::Open(const std::string& directory, int64_t restored_step) {
  PEPNET_RETURN_IF_ERROR(MakeDirectories(directory));
  PEPNET_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(directory));
  // Readers take the files in the order of their names, so a run that begins in the second of the
  // one before is named by the next second.
  auto seconds = static_cast<int64_t>(Now());
  for (const std::string& name : names) {
    if (!absl::StartsWith(name, kPrefix) || !absl::EndsWith(name, kSuffix)) continue;
    int64_t earlier = 0;
    const std::string digits = name.substr(sizeof(kPrefix) - 1, kSecondsDigits);
    if (absl::SimpleAtoi(digits, &earlier) && earlier < seconds + kMostAhead) {
      seconds = std::max(seconds, earlier + 1);
    }
    PEPNET_RETURN_IF_ERROR(CutBack(absl::StrCat(directory, "/", name), restored_step));
  }
  char host[256] = "";
  if (gethostname(host, sizeof(host) - 1) != 0) std::snprintf(host, sizeof(host), "localhost");
  EventFile file;
  file.path_ = absl::StrFormat("%s/%s%0*d.%s.%d%s", directory, kPrefix, kSecondsDigits, seconds,
                               host, getpid(), kSuffix);
  file.restored_step_ = restored_step;
  return file;
}

Status EventFile::Append(int64_t step, const std::vector<std::pair<std::string, double>>& scalars) {
  std::string records;
  // The file is made with the first figure, so that a run that fails at start leaves none.
  if (!started_) {
    events::Event version;
    version.set_wall_time(Now());
    version.set_file_version("brain.Event:2");
    events::Event start;
    start.set_wall_time(Now());
    // A session start at a step tells TensorBoard to drop what other files have from that step on.
    start.set_step(restored_step_ + 1);
    start.mutable_session_log()->set_status(events::SessionLog::START);
    records = Frame(version) + Frame(start);
    if (!hyperparameters_.empty()) records += SessionStartRecord(restored_step_, hyperparameters_);
    started_ = true;
  }
  events::Event event;
  event.set_wall_time(Now());
  event.set_step(step);
  for (const auto& [tag, value] : scalars) {
    events::Summary::Value* const scalar = event.mutable_summary()->add_value();
    scalar->set_tag(tag);
    scalar->set_simple_value(static_cast<float>(value));
  }
  return AppendToFile(path_, records + Frame(event));
}

Status EventFile::End(int64_t step) {
  if (!started_ || hyperparameters_.empty()) return absl::OkStatus();
  events::HParamsPluginData data;
  data.mutable_session_end_info()->set_status(1);
  data.mutable_session_end_info()->set_end_time_secs(Now());
  return AppendToFile(path_, HParamsRecord(step, "_hparams_/session_end_info", data));
}

}  // namespace pepnet
