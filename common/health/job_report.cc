#include "common/health/job_report.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "absl/strings/str_format.h"
#include "nlohmann/json.hpp"

#include "common/base/text.h"
#include "common/file/file.h"
#include "common/file/owned_fd.h"

namespace pepnet {
namespace {

constexpr int kFormat = 1;
constexpr int64_t kMaxReportBytes = int64_t{16} << 20;

using Json = nlohmann::ordered_json;

Json RankOrNull(int rank) { return rank == kAnyRank ? Json() : Json(rank); }

double Rounded(double seconds) {
  return static_cast<double>(static_cast<int64_t>(seconds * 10 + 0.5)) / 10;
}

Json RankJson(const PeerView& view) {
  Json json;
  json["rank"] = view.rank;
  json["role"] = view.role;
  json["host"] = view.process.host;
  json["pid"] = view.process.pid;
  json["state"] = PeerStateName(view.state);
  json["step"] = view.step;
  json["phase"] = view.phase;
  json["open_wait"] = view.wait.what;
  json["open_wait_peer"] = view.wait.what.empty() ? Json() : RankOrNull(view.wait.peer);
  json["open_wait_s"] = Rounded(view.wait.waited_s);
  if (view.colocated) {
    json["server_open_wait"] = view.server_wait.what;
    json["server_open_wait_peer"] =
        view.server_wait.what.empty() ? Json() : RankOrNull(view.server_wait.peer);
    json["server_open_wait_s"] = Rounded(view.server_wait.waited_s);
  }
  json["heartbeat_age_s"] = Rounded(view.age_s);
  return json;
}

// The part for people: one line per rank, the cause last.
std::vector<std::string> Text(const JobReport& report) {
  std::vector<std::string> lines;
  for (const PeerView& view : report.ranks) {
    lines.push_back(absl::StrCat(view.Name(), ": ", PeerStateName(view.state), ", heartbeat ",
                                 absl::StrFormat("%.1f", view.age_s), " s ago, ", view.Doing()));
  }
  lines.push_back(report.message);
  return lines;
}

// Keeps other ranks of this host from writing at the same time. Where the file system cannot lock,
// the last writer wins.
class DirectoryLock {
 public:
  explicit DirectoryLock(const std::string& path)
      : fd_(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    if (fd_.valid() && flock(fd_.get(), LOCK_EX) != 0) (void)fd_.Close();
  }

 private:
  OwnedFd fd_;  // the lock goes with it
};

// True if `report` may replace the file at `path`.
bool IsBetter(const JobReport& report, const std::string& path) {
  const StatusOr<std::string> old = ReadFile(path, kMaxReportBytes);
  if (!old.ok() || !CheckJsonDepth(*old).ok()) return true;
  const Json json = Json::parse(*old, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return true;  // damaged
  // A member of another type counts as missing: what stands there may be anybody's.
  const auto text = [&json](const char* name) {
    const auto member = json.find(name);
    return member != json.end() && member->is_string() ? member->get<std::string>() : std::string();
  };
  const auto certainty = json.find("certainty");
  const int64_t seen =
      certainty != json.end() && certainty->is_number_integer() ? certainty->get<int64_t>() : 0;
  // Several ranks write about one failure, in any order, and what stands there is replaced as
  // follows:
  //
  //   by another run   only when that run begins ("running")
  //   by the same run  "running" by anything; else by a report that is surer of the cause. Among
  //                    equally sure ones the first stays: it is nearest to the cause.
  if (text("run") != report.run) return report.status == "running";
  return text("status") == "running" || static_cast<int64_t>(report.certainty) > seen;
}

}  // namespace

std::string JobReport::ToJson() const {
  Json json;
  json["format"] = kFormat;
  json["status"] = status;
  json["run"] = run;
  json["written_by"] = written_by;
  json["certainty"] = static_cast<int>(certainty);
  if (status == "failed") {
    Json cause;
    cause["message"] = message;
    cause["looks"] = looks;
    cause["rank"] = RankOrNull(root_cause);
    for (const PeerView& view : ranks) {
      if (view.rank != root_cause) continue;
      cause["role"] = view.role;
      cause["host"] = view.process.host;
    }
    cause["step"] = step;
    cause["operation"] = operation;
    cause["peer"] = RankOrNull(peer);
    cause["waited_s"] = Rounded(waited_s);
    json["first_cause"] = cause;
    json["ranks"] = Json::array();
    for (const PeerView& view : ranks) json["ranks"].push_back(RankJson(view));
    json["text"] = Text(*this);
  }
  // Names of files and error texts need not be UTF-8: what is not is replaced, since a report with
  // a blot is better than none.
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Status WriteJobReport(const std::string& directory, const JobReport& report) {
  const std::string path = absl::StrCat(directory, "/", kJobReportName);
  const DirectoryLock lock(directory);
  if (!IsBetter(report, path)) return absl::OkStatus();
  return WriteFileAtomically(path, report.ToJson());
}

}  // namespace pepnet
