#include "common/net/faulty_transport.h"

#include <signal.h>
#include <unistd.h>

#include <thread>
#include <utility>

#include "common/base/hash.h"
#include "common/base/logging.h"
#include "common/net/message.h"
#include "common/process/file_faults.h"

namespace pepnet {

FaultyTransport::FaultyTransport(Transport* inner, const std::vector<Fault>& plan) : inner_(inner) {
  for (const Fault& fault : plan) {
    if (!fault.MeetsRank(inner->rank())) continue;
    if (fault.kind == FaultKind::kDelay) {
      delays_.push_back(fault);
    } else if (fault.step >= 0) {
      step_faults_.push_back(fault);
    }
    if (fault.kind == FaultKind::kDropReply) losses_.push_back(fault);
  }
}

void FaultyTransport::MeetStep(Channel channel, const Bytes& body) {
  // Pushes are the middle of a step: rows are pulled, the update is not applied. Worker and server
  // both meet them, one when it sends and the other when it receives.
  if ((step_faults_.empty() && delays_.empty()) || channel != Channel::kRequests) return;
  const StatusOr<FrameHeader> header = ParseHeader(body);
  if (!header.ok() || header->type != MessageType::kPush) return;
  step_ = header->step;
  for (const Fault& fault : step_faults_) {
    if (header->step < fault.step) continue;
    if (fault.kind == FaultKind::kKill) {
      KillThisProcess(absl::StrCat("in step ", header->step, " (", fault.text, ")"));
    }
    LOG(WARNING) << "injected fault: SIGSTOP in step " << header->step << " (" << fault.text << ")";
    ::kill(::getpid(), SIGSTOP);
  }
}

bool FaultyTransport::LosesReply(const Bytes& body) {
  if (losses_.empty()) return false;
  const StatusOr<FrameHeader> header = ParseHeader(body);
  if (!header.ok() || (header->type != MessageType::kRows && header->type != MessageType::kAck)) {
    return false;
  }
  const int64_t number = ++replies_;
  for (const Fault& fault : losses_) {
    if (fault.nth != number) continue;
    LOG(WARNING) << "injected fault: the reply of step " << header->step << " is lost ("
                 << fault.text << ")";
    return true;
  }
  return false;
}

void FaultyTransport::Delay() {
  if (delays_.empty()) return;
  const uint64_t number = sent_++;
  for (const Fault& fault : delays_) {
    if (step_ < fault.step) continue;
    // The draw depends on seed, rank and number of the message alone, so that a rehearsal can be
    // repeated.
    const uint64_t draw =
        HashCombine(HashCombine(fault.seed, static_cast<uint64_t>(rank())), number);
    const auto most_us = static_cast<uint64_t>(fault.max_ms) * 1000;
    std::this_thread::sleep_for(std::chrono::microseconds(draw % (most_us + 1)));
  }
}

Status FaultyTransport::Send(Channel channel, int rank, Bytes body) {
  MeetStep(channel, body);
  if (channel == Channel::kRows && LosesReply(body)) return absl::OkStatus();
  Delay();
  return inner_->Send(channel, rank, std::move(body));
}

StatusOr<Message> FaultyTransport::Receive(Channel channel, int source, Deadline deadline,
                                           const std::string& what) {
  StatusOr<Message> message = inner_->Receive(channel, source, deadline, what);
  if (message.ok()) MeetStep(channel, message->body);
  return message;
}

}  // namespace pepnet
