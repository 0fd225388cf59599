// PredictionDirectory: the output directory of predict, and which of its files a prediction may
// replace.
//
// Owner:    the directory belongs to the predictions that its manifest "_pepnet_prediction.json"
//           lists. One that holds anything else is refused by name, an earlier prediction is
//           replaced only with --overwrite, and only what its manifest lists with the size it has
//           is ever removed.
// Manifest: {"format": "pepnet prediction", "complete": true, "writing": "", "parts": [{"file":
// ..., "bytes": ...}, ...]}.
//           While parts get their names, "complete" is false and both predictions are listed;
//           "writing" names the directory in which unfinished parts stand, so that what a killed
//           prediction left is known and removed by the next one.
// Threads:  worker 0 only, one thread; it holds a lock on the directory, so that two predictions do
//           not meet there.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/file/owned_fd.h"

namespace pepnet {

class PredictionDirectory {
 public:
  struct Part {
    std::string file;
    int64_t bytes = 0;
  };

  // Makes the directory if need be. InvalidArgument names what stands in the way; then nothing was
  // changed.
  static StatusOr<std::unique_ptr<PredictionDirectory>> Enter(const std::string& path,
                                                              bool overwrite);
  PredictionDirectory(const PredictionDirectory&) = delete;
  PredictionDirectory& operator=(const PredictionDirectory&) = delete;
  // Without EndPublishing(): takes back the manifest and directories that Enter() made, where
  // nothing else is in them.
  ~PredictionDirectory();

  // The directory of parts until they are whole; in the output directory, under a name that nobody
  // can guess.
  const std::string& writing() const { return writing_; }
  // Before parts are renamed: lists them, and removes the earlier prediction's parts that they do
  // not replace.
  Status BeginPublishing(std::vector<Part> parts);
  // After all have their names.
  Status EndPublishing();

 private:
  PredictionDirectory(std::string path, OwnedFd lock)
      : path_(std::move(path)), lock_(std::move(lock)) {}
  Status Read(bool overwrite);
  Status Write(bool complete, const std::vector<Part>& parts, const std::string& writing) const;

  const std::string path_;
  const OwnedFd lock_;  // on the directory; none where it cannot be locked
  std::string writing_;
  std::vector<Part> earlier_, parts_;
  bool made_directory_ = false;
  bool earlier_complete_ = false;
  bool published_ = false;
};

}  // namespace pepnet
