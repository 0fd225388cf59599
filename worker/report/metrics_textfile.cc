#include "worker/report/metrics_textfile.h"

#include <cmath>

#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "common/file/file.h"

namespace pepnet {
namespace {

std::string Number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  return absl::StrFormat("%.17g", value);
}

}  // namespace

void MetricsTextfile::Set(const std::string& name, const std::string& type, const std::string& help,
                          const std::string& label, const std::vector<std::pair<std::string, double>>& samples) {
  std::string text = absl::StrCat("# HELP ", name, " ", help, "\n# TYPE ", name, " ", type, "\n");
  for (const auto& [value_of_label, number] : samples) {
    absl::StrAppend(&text, name);
    if (!label.empty()) {
      const std::string escaped = absl::StrReplaceAll(value_of_label, {{"\\", "\\\\"}, {"\"", "\\\""}, {"\n", "\\n"}});
      absl::StrAppend(&text, "{", label, "=\"", escaped, "\"}");
    }
    absl::StrAppend(&text, " ", Number(number), "\n");
  }
  families_[name] = text;
}

std::string MetricsTextfile::Text() const {
  std::string text;
  for (const auto& [name, lines] : families_) text += lines;
  return text;
}

Status MetricsTextfile::Write() const { return Annotate(WriteFileAtomically(path_, Text()), "--metrics_textfile"); }

}  // namespace pepnet
