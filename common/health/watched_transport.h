// WatchedTransport: a transport whose waits are entered in the table of open waits, end when a peer
// is lost, and name the root cause at their deadline. The same for every transport beneath.
//
// Ownership: borrows all. `peers` may be null (no heartbeats: deadlines only). `of_server`: it is
// the server of a rank that works as well whose waits these are.
// Threads, order: as the transport beneath.
#pragma once

#include <string>

#include "common/health/peer_watch.h"
#include "common/health/rank_status.h"
#include "common/net/transport.h"

namespace pepnet {

class WatchedTransport : public Transport {
 public:
  WatchedTransport(Transport* inner, RankStatus* status, const PeerWatch* peers,
                   bool of_server = false)
      : inner_(inner), status_(status), peers_(peers), of_server_(of_server) {}

  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  bool shares_memory() const override { return inner_->shares_memory(); }
  Status Send(Channel channel, int rank, Bytes body) override {
    return inner_->Send(channel, rank, std::move(body));
  }
  // Time for which this process was suspended (a scheduler, a debugger) does not count towards the
  // deadline.
  // Beside the deadline: Unavailable as soon as any rank of the job is lost. A wait of at most 250
  // ms is a probe, whose error names none.
  StatusOr<Message> Receive(Channel channel, int source, Deadline deadline,
                            const std::string& what) override;
  Status Flush(Deadline deadline) override { return inner_->Flush(deadline); }
  uint64_t bytes_sent(Channel channel) const override { return inner_->bytes_sent(channel); }
  uint64_t bytes_received(Channel channel) const override {
    return inner_->bytes_received(channel);
  }

 private:
  Transport* const inner_;
  RankStatus* const status_;
  const PeerWatch* const peers_;
  const bool of_server_;
};

}  // namespace pepnet
