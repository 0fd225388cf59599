// ChooseData: the files that a training that goes on reads. It compares the files it is given with
// those that the checkpoint says were read.
//
// Rules. A file is its name, size and digest (SameData); its directory does not matter.
//   Unchanged     the pass goes on at its row, exactly. A file under another path is the same file.
//   New files     are read behind the files of the running passes, num_epochs times; so no pass
//                 changes under way. Files that were trained are not read again.
//   Inside a pass a file of which rows were read must be there, unchanged, else FailedPrecondition.
//                 Files whose turn has not come may go (a warning); a changed one is a new file.
//                 With a shuffle a row counts as read once its window has begun. The windows may
//                 change only where the position is at an edge of the old and of the new ones.
//   Between       passes files may go: those that stay have the passes that are left.
//   Nothing left  is a warning that says what to do.
//   num_steps     (num_epochs 0) repeats what it is given until the steps are done: files that are
//                 new in the middle of a pass join with the next one, and between passes exactly
//                 the given files count.
//   restart       reads the given files from their first row, whatever was read before.
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "worker/data/batch.h"
#include "worker/data/history/data_history.h"

namespace pepnet {

struct DataQuestion {
  DataHistory history;  // of the checkpoint, as is `position`
  DataPosition position;
  int64_t finished_steps = 0;
  std::vector<FileIdentity> given;  // none twice, in the order in which a first pass reads them
  int64_t window_rows = 0;          // this run's DataHistory::window_rows
  int64_t num_epochs = 1;           // passes over each file; 0: num_steps ends the training
  int64_t restart_at_step = -1;     // --restart_data_at_step; -1: not given
};

struct DataChoice {
  DataHistory history;  // `files` are what is read now, at their present paths
  DataPosition position;
  int64_t last_epoch = 0;          // the passes over these files end with it; 0: never
  std::vector<FileIdentity> next;  // read behind them; see NextFiles()
  bool nothing_left = false;
  std::vector<std::string> notes, warnings;  // one sentence each
};

// Rows of a file of `given`.
using CountRows = std::function<StatusOr<int64_t>(const FileIdentity&)>;

StatusOr<DataChoice> ChooseData(const DataQuestion& question, const CountRows& count);

// The choice once the passes over choice.history.files are over. Precondition: choice.next has
// files.
DataChoice NextFiles(const DataChoice& choice, const DataPosition& position, int64_t num_epochs);

// From worker 0 to the others: all but the sentences.
std::string EncodeChoice(const DataChoice& choice);
StatusOr<DataChoice> DecodeChoice(const std::string& text);

}  // namespace pepnet
