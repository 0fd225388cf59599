#include "worker/report/metrics_textfile.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "common/file/file.h"

namespace pepnet {
namespace {

// Prometheus' own words for what is no number.
std::string Number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  return absl::StrFormat("%.17g", value);
}

constexpr char kRunning[] = "running";

std::string Label(const std::string& name, const std::string& value) {
  return absl::StrCat(name, "=\"",
                      absl::StrReplaceAll(value, {{"\\", "\\\\"}, {"\"", "\\\""}, {"\n", "\\n"}}),
                      "\"");
}

}  // namespace

MetricsTextfile::MetricsTextfile(std::string path, std::string run)
    : path_(std::move(path)), run_(std::move(run)) {
  SetState(kRunning);
}

// The source has no path afterwards, so that its destructor does not say that the run failed.
MetricsTextfile::MetricsTextfile(MetricsTextfile&& other) noexcept
    : path_(std::exchange(other.path_, std::string())),
      run_(std::move(other.run_)),
      state_(std::move(other.state_)),
      families_(std::move(other.families_)) {}

MetricsTextfile& MetricsTextfile::operator=(MetricsTextfile&& other) noexcept {
  // The former contents of this one end with `other`.
  std::swap(path_, other.path_);
  std::swap(run_, other.run_);
  std::swap(state_, other.state_);
  std::swap(families_, other.families_);
  return *this;
}

MetricsTextfile::~MetricsTextfile() {
  if (path_.empty() || state_ != kRunning) return;
  // A run that ends without having said "done" has failed; a monitor must not see it running for
  // ever.
  SetState("failed");
  Write().IgnoreError();  // the run has an error of its own to report
}

Status MetricsTextfile::CheckPath() {
  Status status = CheckReplaceable("--metrics_textfile", path_, {"# HELP pepnet_"});
  if (!status.ok()) path_.clear();  // the destructor must not write there either
  return status;
}

void MetricsTextfile::SetState(const std::string& state) {
  state_ = state;
  std::vector<std::pair<std::string, double>> samples;
  // All states are written, one as 1: an alert can ask for any of them by name.
  for (const char* each : {kRunning, "done", "failed"}) {
    samples.emplace_back(each, state == each ? 1 : 0);
  }
  Set("pepnet_run_state", "gauge", "1 for what the run is: running, done or failed.", "state",
      samples);
}

void MetricsTextfile::Set(const std::string& name, const std::string& type, const std::string& help,
                          const std::string& label,
                          const std::vector<std::pair<std::string, double>>& samples) {
  std::string text = absl::StrCat("# HELP ", name, " ", help, "\n# TYPE ", name, " ", type, "\n");
  for (const auto& [value_of_label, number] : samples) {
    absl::StrAppend(&text, name, "{", Label("run", run_));
    if (!label.empty()) absl::StrAppend(&text, ",", Label(label, value_of_label));
    text += "}";
    absl::StrAppend(&text, " ", Number(number), "\n");
  }
  // A family replaces its former text as a whole, so labels that are gone do not stay.
  families_[name] = text;
}

std::string MetricsTextfile::Text() const {
  std::string text;
  for (const auto& [name, lines] : families_) text += lines;
  return text;
}

// The write is atomic: a collector reads the file whenever it likes.
Status MetricsTextfile::Write() const {
  return Annotate(WriteFileAtomically(path_, Text()), "--metrics_textfile");
}

}  // namespace pepnet
