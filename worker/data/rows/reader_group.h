// ReaderGroup: the workers of one host, who can share the decoding of the input files; and what
// sharing would save.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "common/base/status.h"

namespace pepnet {

// --share_reader. kAuto: where sharing is cheaper (BatchLoader::sharing() says what was chosen and
// why).
enum class ShareReader { kAuto, kOn, kOff };

struct ReaderGroup {
  // The same on all members, and of no other group of this host at this time.
  std::string name;
  // "worker 3", by index within the group; fewer than two: nobody to share with
  std::vector<std::string> members;
  // Part of the names of the members' sockets, by index: what nobody guesses, or another user of
  // the host could take a name before its member does, also when it sees the others'. Empty: none,
  // where there are no other users.
  std::vector<std::string> secrets;
  int index = 0;                 // of this worker
  double timeout_s = 300;        // of a wait for another member
  std::function<Status()> lost;  // any thread; not OK: the job cannot go on. May be empty

  int count() const { return static_cast<int>(members.size()); }
};

// Layout of the training input and the read strategy.
struct ReadShape {
  bool row_by_row = false;  // as CSV: a row can be decoded alone; else as Parquet, in groups
  bool shuffle = false;
  // Parquet: of the largest row group, all of which is decoded to get at one row
  double row_group_rows = 0;
  double batch_size = 1;  // of a worker
  double workers = 1;     // of the job
};

// Rows that a worker decodes for each row it trains on when it reads alone. Law L2 gives it every
// workers-th slice. Of CSV files only its own rows are decoded. Of Parquet files a window of
// shuffled rows is decoded as a whole, else the row groups that its slices touch.
double DecodedPerRowAlone(const ReadShape& shape);
// The same where `sharing` workers of a host share all rows.
inline double DecodedPerRowShared(const ReadShape& shape, int sharing) {
  return shape.workers / sharing;
}
// The cost of chunks to a worker for each row it trains on where `sharing` workers share, in rows
// decoded: those it decodes and gives, and those it takes from others.
double SharedCostPerRow(const ReadShape& shape, int sharing);
// Whether ShareReader::kAuto shares.
bool ShareByDefault(const ReadShape& shape, int sharing);

// Workers with the same text can reach one another's sockets, being of one user; "" if the system
// does not tell.
std::string SocketSpace();
// The group of worker number `worker`: all workers with its space. `spaces` and `secrets` (or none)
// by worker; `job`: a text that no other job has.
ReaderGroup GroupOfWorker(const std::vector<std::string>& spaces, int worker,
                          const std::string& job, const std::vector<std::string>& secrets = {});

}  // namespace pepnet
