// RowSequence: the rows of all input files in their order (LoaderOptions), as one sequence that is
// walked once per epoch.
//
// Two implementations, RowStream (reads the files itself) and SharedRows (the workers of one host
// read them together), that give the same rows and run one conformance test.
// Threads: used by one thread, Stop() and WaitingFor() by any. Failure: as RowReader.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "worker/data/files/row_reader.h"
#include "worker/data/rows/row_selection.h"

namespace pepnet {

using BufferedRowsList = std::vector<std::shared_ptr<const BufferedRows>>;

class RowSequence {
 public:
  virtual ~RowSequence() = default;

  // Stands at row `first_row` of the sequence. Returns how many rows lie before: fewer only if the
  // input has no more.
  // Precondition: the first call, or the end of the sequence has been met since the last one (Read,
  // Hold or Skip gave fewer rows than asked for).
  virtual StatusOr<int64_t> Begin(int64_t first_row) = 0;
  // Appends up to `max_rows` rows to the selection; fewer only at the end of the last file.
  virtual Status Read(int64_t max_rows, RowSelection* selection) = 0;
  // Appends up to `max_rows` rows, of which some will be picked; fewer only at the end of the last
  // file.
  virtual Status Buffer(int64_t max_rows, BufferedRowsList* buffered) = 0;
  // Skips up to `max_rows` rows. Returns how many; fewer only at the end of the last file.
  virtual StatusOr<int64_t> Skip(int64_t max_rows) = 0;

  // The read counts of this process so far.
  virtual ReadCounts counts() const = 0;
  // Ends calls that wait for others, now and later, with Cancelled.
  virtual void Stop() {}
  // The present wait of the thread in Read, Buffer or Skip: "rows ... from worker 3"; "" if
  // for nobody.
  virtual std::string WaitingFor() const { return ""; }
};

}  // namespace pepnet
