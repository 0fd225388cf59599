#include "worker/data/history/data_history.h"

#include <set>
#include <utility>

namespace pepnet {

DataKey KeyOf(const FileIdentity& file) {
  return {file.path.substr(file.path.find_last_of('/') + 1), file.bytes, file.digest};
}

DataHistory BeginFiles(DataHistory history, std::vector<FileIdentity> files, int64_t epoch) {
  std::set<DataKey> known;  // files that are running or in the list already
  for (const FileIdentity& file : files) known.insert(KeyOf(file));
  std::vector<FileIdentity> trained;
  for (std::vector<FileIdentity>* before : {&history.trained, &history.files}) {
    // Files keep the order in which they were trained, each key once: a file that is skipped
    // again would otherwise be in the list twice.
    for (FileIdentity& file : *before) {
      if (known.insert(KeyOf(file)).second) trained.push_back(std::move(file));
    }
  }
  history.known = true;
  history.trained = std::move(trained);
  history.files = std::move(files);
  history.first_epoch = epoch;
  return history;
}

}  // namespace pepnet
