// FaultyTransport: a transport with the message faults of a fault plan in front of it: kill and
// stop by step, delays, lost replies. The same for every transport beneath.
//
// Kill, stop: when this rank sends or receives the first push of the step (or of a later one), so
//             in the middle of the step: its rows are pulled, its update is not applied.
// Delays:     the sending thread sleeps, so that the order between two ranks on one channel is
//             kept. From a step on: from the first push of it (or of a later one) that this rank
//             sends or receives.
// Ownership:  borrows the transport. Threads, order, failure: as the transport beneath.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "common/net/transport.h"
#include "common/process/fault_plan.h"

namespace pepnet {

class FaultyTransport : public Transport {
 public:
  // Keeps the plan's message faults for the rank of `inner`.
  FaultyTransport(Transport* inner, const std::vector<Fault>& plan);

  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  bool shares_memory() const override { return inner_->shares_memory(); }
  Status Send(Channel channel, int rank, Bytes body) override;
  StatusOr<Message> Receive(Channel channel, int source, Deadline deadline,
                            const std::string& what) override;
  Status Flush(Deadline deadline) override { return inner_->Flush(deadline); }
  uint64_t bytes_sent(Channel channel) const override { return inner_->bytes_sent(channel); }
  uint64_t bytes_received(Channel channel) const override {
    return inner_->bytes_received(channel);
  }

 private:
  void MeetStep(Channel channel, const Bytes& body);
  bool LosesReply(const Bytes& body);
  void Delay();

  Transport* const inner_;
  std::vector<Fault> step_faults_, delays_, losses_;
  std::atomic<uint64_t> sent_ = 0;
  std::atomic<int64_t> step_ = 0;  // of the last push that was seen
  std::atomic<int64_t> replies_ = 0;
};

}  // namespace pepnet
