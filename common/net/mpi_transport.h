// MpiTransport: Transport over MPI with nonblocking calls only. This header and mpi_transport.cc,
// cluster.cc are the only users of mpi.h.
//
// Threads:   any thread may call any method (MPI_THREAD_MULTIPLE). Owns one thread, "mpi-send",
//            which moves unfinished sends on where no thread receives on their channel, and sleeps
//            when there is none.
// Waiting:   polls for up to 500 us as long as no other thread wants the core, then sleeps an
//            eighth of the time waited so far, 20 to 500 us. No lock is held while sleeping.
// Failure:   the first error of a channel (MPI's or a malformed message, not a timeout) is returned
//            by the call that meets it and by every later one on that channel.
#pragma once

#include <mpi.h>

#include <array>
#include <atomic>
#include <deque>
#include <list>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"

#include "common/base/mutex.h"
#include "common/net/transport.h"

namespace pepnet {

// OK, or the text of an MPI error code behind `doing`.
Status MpiStatus(int code, const char* doing);

struct MpiTransportOptions {
  // Longer bodies travel in pieces of this many bytes (MPI counts are 32-bit). Tests take a small
  // one.
  size_t split_bytes = size_t{1} << 30;
};

class MpiTransport : public Transport {
 public:
  // Collective over `world`: every rank calls it.
  static StatusOr<std::unique_ptr<MpiTransport>> Create(MPI_Comm world,
                                                        MpiTransportOptions options);
  // Precondition: Flush() has succeeded, or MPI_Finalize will not be called.
  ~MpiTransport() override;

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  Status Send(Channel channel, int rank, Bytes body) override;
  StatusOr<Message> Receive(Channel channel, int source, Deadline deadline,
                            const std::string& what) override;
  Status Flush(Deadline deadline) override;
  uint64_t bytes_sent(Channel channel) const override {
    return bytes_sent_[static_cast<size_t>(channel)];
  }
  uint64_t bytes_received(Channel channel) const override {
    return bytes_received_[static_cast<size_t>(channel)];
  }

 private:
  // A body on its way out, until every piece has left.
  struct Outgoing {
    Bytes body;
    uint64_t total = 0;  // what the announcement of a split body carries
    std::vector<MPI_Request> requests;
  };
  // A body on its way in. The bodies of one source complete in their order.
  struct Incoming {
    Bytes body;
    size_t claimed = 0;    // bytes for which a piece has been matched
    uint64_t arrival = 0;  // order on the channel, by which kAnyRank chooses
    std::vector<MPI_Request> requests;
  };
  struct ChannelState {
    Mutex mutex;
    MPI_Comm comm = MPI_COMM_NULL;  // set by Create(), constant afterwards
    std::list<Outgoing> outgoing ABSL_GUARDED_BY(mutex);
    std::vector<std::deque<Incoming>> incoming ABSL_GUARDED_BY(mutex);  // by source
    // Unfinished incoming bodies.
    size_t in_flight ABSL_GUARDED_BY(mutex) = 0;
    std::atomic<uint64_t> polls = 0;  // by receivers; "mpi-send" only looks whether it has changed
    uint64_t arrivals ABSL_GUARDED_BY(mutex) = 0;
    Status failure ABSL_GUARDED_BY(mutex);
  };

  MpiTransport(int rank, int size, MpiTransportOptions options)
      : rank_(rank), size_(size), options_(options) {}
  ChannelState& state(Channel channel) { return channels_[static_cast<size_t>(channel)]; }

  Status StartSend(ChannelState& state, int rank, Outgoing& outgoing)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(state.mutex);
  Status PollSends(ChannelState& state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state.mutex);
  // Matches what has arrived and starts receiving it. Sets `progress` if there was anything.
  Status PollArrivals(ChannelState& state, bool* progress)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(state.mutex);
  Status StartReceive(ChannelState& state, MPI_Message* message, const MPI_Status& status)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(state.mutex);
  Status PollReceives(ChannelState& state, bool* progress)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(state.mutex);
  // The oldest complete message of `source` (or of any), if there is one.
  bool TakeComplete(ChannelState& state, int source, Message* message)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(state.mutex);
  void MoveSendsOn();  // body of the thread "mpi-send"

  const int rank_;
  const int size_;
  const MpiTransportOptions options_;
  std::array<ChannelState, kChannelCount> channels_;
  std::array<std::atomic<uint64_t>, kChannelCount> bytes_sent_{};
  std::array<std::atomic<uint64_t>, kChannelCount> bytes_received_{};

  Mutex sender_mutex_;
  CondVar sender_wakes_;
  bool stopping_ ABSL_GUARDED_BY(sender_mutex_) = false;
  // Over all channels; raised under sender_mutex_, so that no wake-up is lost.
  std::atomic<int64_t> unfinished_sends_ = 0;
  std::thread sender_;  // started by Create(), joined by the destructor
};

}  // namespace pepnet
