#include "worker/data/rows/reader_group.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "absl/strings/str_format.h"

namespace pepnet {
namespace {

// In units of decoding a row into Arrow; measured on Parquet files (docs/capacity.md).
constexpr double kGiving = 0.3;   // writing it into shared memory
constexpr double kTaking = 0.25;  // mapping it there
constexpr double kWorthwhile =
    1.5;  // what is saved must show: from three workers a host on where all is decoded by all

// Descriptors that are handed over count against a user's descriptors, as sharing^2
// (worker/data/rows/chunk_exchange.cc); 1,024 are usual.
constexpr int kMostSharing = 16;

}  // namespace

double DecodedPerRowAlone(const ReadShape& shape) {
  if (shape.row_by_row) return 1;
  if (shape.shuffle) return shape.workers;
  // A slice of b rows touches 1 + b / g row groups of g rows on average, all of which are decoded:
  // 1 + g / b rows for each of its own, and never more than the rows of the whole batch.
  return std::min(shape.workers, 1 + shape.row_group_rows / shape.batch_size);
}

double SharedCostPerRow(const ReadShape& shape, int sharing) {
  // A worker decodes and gives its own share, and takes the shares of the others.
  const double decoded = DecodedPerRowShared(shape, sharing);
  return (1 + kGiving) * decoded + kTaking * (shape.workers - decoded);
}

bool ShareByDefault(const ReadShape& shape, int sharing) {
  return sharing > 1 && sharing <= kMostSharing && !shape.row_by_row &&
         DecodedPerRowAlone(shape) > kWorthwhile * SharedCostPerRow(shape, sharing);
}

std::string SocketSpace() {
  // Abstract socket names are seen by processes of one network namespace of one boot of one kernel;
  // the user stands in it because a connection of another one is refused.
  std::ifstream boot("/proc/sys/kernel/random/boot_id");
  std::string boot_id;
  char network[64] = {};
  if (!std::getline(boot, boot_id) ||
      readlink("/proc/self/ns/net", network, sizeof(network) - 1) <= 0)
    return "";
  return absl::StrCat(boot_id, " ", network, " ", geteuid());
}

ReaderGroup GroupOfWorker(const std::vector<std::string>& spaces, int worker,
                          const std::string& job, const std::vector<std::string>& secrets) {
  ReaderGroup group;
  for (size_t other = 0; other < spaces.size(); ++other) {
    if (static_cast<int>(other) == worker) {
      group.index = group.count();
    } else if (spaces[other].empty() || spaces[other] != spaces[worker]) {
      continue;
    }
    group.members.push_back(absl::StrCat("worker ", other));
    if (!secrets.empty()) group.secrets.push_back(secrets[other]);
  }
  // Two groups of one job differ in their first member, two jobs in the hash.
  group.name =
      absl::StrFormat("%016x-%s", std::hash<std::string>()(job), group.members.front().substr(7));
  return group;
}

}  // namespace pepnet
