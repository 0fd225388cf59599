// Transport: moves byte messages between the ranks of a job. Two implementations (MPI; ranks as
// threads in one process) pass one conformance suite.
//
// Channels:  one per purpose (an MPI communicator each), so that traffic of one kind never waits
//            behind another. kRequests is received by servers, kRows, kDense, kControl and kSave by
//            workers: a rank that is both has a receiver for each.
// Order:     messages from one rank to another (or to itself) on one channel arrive in the order
//            they were sent.
// Threads:   any thread may call any method; at most one thread receives on a channel at a time.
// Ownership: Send() takes the body and frees it when it is no longer needed; it never waits for the
//            receiver.
// Deadlines: Receive() waits at most until its deadline and then returns DeadlineExceeded naming
//            `what` and the peer.
// Waiting:   polls, then backs off to sleep: a waiting rank uses next to no core.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "common/base/aligned_buffer.h"
#include "common/base/status.h"

namespace pepnet {

enum class Channel : int {
  kRows = 0,
  kDense = 1,
  kControl = 2,
  kSave = 3,
  kHeartbeats = 4,
  kRequests = 5
};
inline constexpr int kChannelCount = 6;
inline constexpr int kAnyRank = -1;

using Bytes = AlignedBuffer<uint8_t>;
using Clock = std::chrono::steady_clock;
using Deadline = Clock::time_point;

inline Deadline After(std::chrono::duration<double> wait) {
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(wait);
}

struct Message {
  int source = -1;  // rank
  Bytes body;
};

class Transport {
 public:
  virtual ~Transport() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  // Whether the ranks are threads of one process, so that a message may hold pointers.
  virtual bool shares_memory() const { return false; }

  // Starts sending `body` to `rank`; bodies of any size (pieces above 1 GiB are split and joined
  // inside).
  virtual Status Send(Channel channel, int rank, Bytes body) = 0;

  // The next message on `channel` from `source` (or kAnyRank). `what` names the wait: "rows of step
  // 17".
  virtual StatusOr<Message> Receive(Channel channel, int source, Deadline deadline,
                                    const std::string& what) = 0;

  // Waits until all sends of this rank have left it.
  virtual Status Flush(Deadline deadline) = 0;

  // Bytes of message bodies sent and received so far on a channel.
  virtual uint64_t bytes_sent(Channel channel) const = 0;
  virtual uint64_t bytes_received(Channel channel) const = 0;
};

}  // namespace pepnet
