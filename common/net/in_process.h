// Ranks as threads of one process: the transport of the single-process mode (embedded servers) and
// of the tests.
//
// Threads:   each rank's transport is used by that rank's threads; the hub outlives them.
// Ownership: bodies are handed over, never copied.
#pragma once

#include <functional>
#include <memory>

#include "common/net/transport.h"

namespace pepnet {

struct InProcessOptions {
  // Tests: delivery of each message is delayed by a pseudo-random time from (seed, message) in [0,
  // max_delay_us]; the order of messages between two ranks on one channel is kept, the order
  // between different senders is not.
  uint64_t delay_seed = 0;
  int max_delay_us = 0;
};

class InProcessHub {
 public:
  explicit InProcessHub(int size, InProcessOptions options = {});
  ~InProcessHub();
  Transport* transport(int rank);  // lives as long as the hub
  // Makes every open and later Receive() on every rank fail with Aborted(reason): how a failing
  // rank wakes the others.
  void Abort(const std::string& reason);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Runs `body(rank, transport)` on `size` threads and joins them. The first error aborts the others
// and is returned.
Status RunRanks(int size, InProcessOptions options,
                const std::function<Status(int, Transport*)>& body);

}  // namespace pepnet
