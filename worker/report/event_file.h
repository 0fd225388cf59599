// EventFile: scalars in the format of TensorBoard's event files, and for its HParams plugin what
// the run was set to.
//
//   file:    records, in step order; the first holds only the version, the second a session start,
//            then the hyperparameters where there are some; at the end of a run that its training
//            ended.
//   record:  length uint64 | masked crc32c of length uint32 | length bytes of Event
//            (proto/event.proto)
//            | masked crc32c of those bytes uint32.   All little-endian.
//   masked:  (crc rotated right by 15) + 0xa282ead8 mod 2^32.
//   name:    events.out.tfevents.<seconds since 1970, 10 digits>.<host>.<process>.pepnet, so that
//            name order is age.
//
// A run writes a file of its own. Files of earlier runs are cut back to the restored step, as
// metrics.jsonl is; files of other programs are left alone.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "worker/report/hyperparameters.h"

namespace pepnet {

class EventFile {
 public:
  // Makes `directory` if need be, cuts earlier files there back to records of at most
  // `restored_step` and removes those in which no scalar is left. The new file appears with its
  // first scalars.
  static StatusOr<EventFile> Open(const std::string& directory, int64_t restored_step);

  // Before the first Append(): what the run was set to.
  void Describe(const std::vector<Hyperparameter>& hyperparameters) {
    hyperparameters_ = hyperparameters;
  }
  // The training has ended at `step`, as it should. Nothing without hyperparameters.
  Status End(int64_t step);

  // One record, handed to the system before it returns (not synced). Names are tags: "loss/total".
  Status Append(int64_t step, const std::vector<std::pair<std::string, double>>& scalars);

 private:
  EventFile() = default;
  std::string path_;
  int64_t restored_step_ = 0;
  std::vector<Hyperparameter> hyperparameters_;
  bool started_ = false;
};

}  // namespace pepnet
