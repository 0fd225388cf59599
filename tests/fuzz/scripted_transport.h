// A transport whose peers say what a fuzz target wants them to say.
//
// Threads: Send() from any, the rest from one.
#pragma once

#include <deque>
#include <string>
#include <utility>

#include "common/net/message.h"
#include "common/net/transport.h"
#include "tests/fuzz/fuzz_support.h"

namespace pepnet {

// Hands out the messages of a script in their order, each as from the rank that is waited for, or
// from its own source where any is. What is sent must be addressed to a rank of the job and goes
// nowhere. Behind the script the transport is lost.
class ScriptedTransport : public Transport {
 public:
  ScriptedTransport(int rank, int size, std::deque<Message> script)
      : rank_(rank), size_(size), script_(std::move(script)) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }

  Status Send(Channel, int rank, Bytes) override {
    Expect(rank >= 0 && rank < size_, "a message goes to a rank of the job");
    return absl::OkStatus();
  }
  StatusOr<Message> Receive(Channel, int source, Deadline, const std::string&) override {
    if (script_.empty()) return absl::AbortedError("the script has ended");
    Message message = std::move(script_.front());
    script_.pop_front();
    if (source != kAnyRank) message.source = source;
    return message;
  }
  Status Flush(Deadline) override { return absl::OkStatus(); }
  uint64_t bytes_sent(Channel) const override { return 0; }
  uint64_t bytes_received(Channel) const override { return 0; }

 private:
  const int rank_, size_;
  std::deque<Message> script_;
};

inline Bytes BytesOf(const std::string& text) {
  Bytes bytes(text.size());
  if (!text.empty()) std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

}  // namespace pepnet
