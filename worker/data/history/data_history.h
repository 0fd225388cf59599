// DataHistory: which files a training has read, which it is reading, and in which order of rows:
// what makes the numbers of a DataPosition mean rows of files. Part of a checkpoint (trainer.json,
// "data").
//
// Words:   a pass reads all rows of some files once. Files that begin together are passed over
//          together, num_epochs times, and are then trained. Files that are given later have passes
//          of their own behind these.
// Threads: plain structs and pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

namespace pepnet {

struct FileIdentity {
  std::string path;    // as the user gave it; any bytes
  int64_t bytes = 0;   // size
  std::string digest;  // of the content: IdentifyFile()
  int64_t rows = -1;   // -1: not known without reading the file (CSV)
};

// Name (the last component of the path), size and digest. Two files with one key hold the same
// rows, in whatever directory.
using DataKey = std::tuple<std::string, int64_t, std::string>;
DataKey KeyOf(const FileIdentity& file);

struct DataHistory {
  // false: of a checkpoint that does not say which files were read
  bool known = false;
  std::vector<FileIdentity> files;  // of the running passes, in the order in which they are read
  // rows that are shuffled among themselves, from the start of a pass; 0: no shuffle
  int64_t window_rows = 0;
  // Passes over other files that were finished before the first one over `files`.
  int64_t first_epoch = 0;
  int64_t restarted_at_step = -1;  // of the last --restart_data_at_step that took place; -1: none
  std::vector<FileIdentity> trained;  // of earlier passes, none of `files`
};

// The history in which passes over `files` begin behind `epoch` finished ones. What `history` was
// reading is trained.
DataHistory BeginFiles(DataHistory history, std::vector<FileIdentity> files, int64_t epoch);

}  // namespace pepnet
