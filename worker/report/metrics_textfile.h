// MetricsTextfile: the state of a run in Prometheus' text format, for the textfile collector of a
// node exporter.
//
// The file is replaced as a whole, so that a reader never sees half of it. Values that are not
// finite are written as NaN, +Inf, -Inf, as the format has them.
//
// Threads: one.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status.h"

namespace pepnet {

class MetricsTextfile {
 public:
  // `run` becomes the label "run" of every sample, so that the files of two runs in one directory
  // do not name the same series.
  MetricsTextfile(std::string path, std::string run);
  MetricsTextfile(MetricsTextfile&& other) noexcept;
  MetricsTextfile& operator=(MetricsTextfile&& other) noexcept;
  // A run that has not said how it ended has failed.
  ~MetricsTextfile();

  // InvalidArgument if something else than such a file stands at the path.
  Status CheckPath();
  // One family of samples, in place of what was set under `name` before. A sample is the value of a
  // label (named `label`; both empty: the family is one number of the run) and its number.
  void Set(const std::string& name, const std::string& type, const std::string& help,
           const std::string& label, const std::vector<std::pair<std::string, double>>& samples);
  // "running" until then; "done".
  void SetState(const std::string& state);
  Status Write() const;
  std::string Text() const;

 private:
  std::string path_;  // "": moved from
  std::string run_;
  std::string state_;
  std::map<std::string, std::string> families_;  // name -> its lines
};

}  // namespace pepnet
