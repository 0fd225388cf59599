#include "common/net/in_process.h"

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"

#include "common/base/hash.h"
#include "common/base/logging.h"
#include "common/base/mutex.h"
#include "common/base/threads.h"
#include "common/net/wait_error.h"

namespace pepnet {
namespace {

struct Item {
  Clock::time_point visible_at;
  uint64_t arrival = 0;  // breaks ties between senders
  Bytes body;
};

// The messages that one rank has sent to another on one channel.
struct Source {
  std::deque<Item> items;
  uint64_t sent = 0;
  Clock::time_point last_visible;
};

// The messages sent to one rank on one channel. A source stands in it from its first message on:
// most ranks of a large hub never talk to each other, and a queue for each pair of a thousand ranks
// would take gigabytes.
struct Mailbox {
  Mutex mutex;
  CondVar changed;
  std::map<int, Source> sources ABSL_GUARDED_BY(mutex);  // by rank
  uint64_t arrivals ABSL_GUARDED_BY(mutex) = 0;
};

// The state that the ranks share.
struct Switchboard {
  int size = 0;
  InProcessOptions options;
  std::vector<std::unique_ptr<Mailbox>> mailboxes;  // [rank * kChannelCount + channel]

  Mutex abort_mutex;
  bool aborted ABSL_GUARDED_BY(abort_mutex) = false;
  std::string abort_reason ABSL_GUARDED_BY(abort_mutex);

  Mailbox& mailbox(int rank, Channel channel) {
    return *mailboxes[static_cast<size_t>(rank) * kChannelCount + static_cast<size_t>(channel)];
  }
  Status AbortStatus() {
    MutexLock lock(&abort_mutex);
    return aborted ? absl::AbortedError(abort_reason) : absl::OkStatus();
  }
};

class InProcessTransport : public Transport {
 public:
  // Borrows `board`, which outlives this object.
  InProcessTransport(Switchboard* board, int rank) : board_(*board), rank_(rank) {}

  int rank() const override { return rank_; }
  int size() const override { return board_.size; }
  bool shares_memory() const override { return true; }

  Status Send(Channel channel, int rank, Bytes body) override {
    CHECK(rank >= 0 && rank < size()) << "send to rank " << rank << " of " << size();
    const size_t bytes = body.size();
    Mailbox& box = board_.mailbox(rank, channel);
    {
      MutexLock lock(&box.mutex);
      // The delay is a function of channel, sender, receiver and number, not of the moment, so that
      // a seed repeats the delays of a run.
      Source& from = box.sources[rank_];
      Clock::time_point visible_at = Clock::now() + Delay(channel, rank, from.sent++);
      if (visible_at < from.last_visible) visible_at = from.last_visible;  // order per sender
      from.last_visible = visible_at;
      from.items.push_back(Item{visible_at, box.arrivals++, std::move(body)});
    }
    box.changed.NotifyAll();
    bytes_sent_[static_cast<size_t>(channel)] += bytes;
    return absl::OkStatus();
  }

  StatusOr<Message> Receive(Channel channel, int source, Deadline deadline,
                            const std::string& what) override {
    CHECK(source == kAnyRank || (source >= 0 && source < size()))
        << "receive from rank " << source << " of " << size();
    const Clock::time_point start = Clock::now();
    Mailbox& box = board_.mailbox(rank_, channel);
    MutexLock lock(&box.mutex);
    while (true) {
      // Abort() sets its flag before it takes this lock to wake us, so the flag cannot be missed
      // here.
      PEPNET_RETURN_IF_ERROR(Annotate(board_.AbortStatus(), absl::StrCat("waiting for ", what)));
      const auto from = source == kAnyRank ? EarliestSource(box) : box.sources.find(source);
      std::deque<Item>* const items = from == box.sources.end() ? nullptr : &from->second.items;
      const bool any = items != nullptr && !items->empty();
      const Clock::time_point now = Clock::now();
      if (any && items->front().visible_at <= now) {
        Message message{from->first, std::move(items->front().body)};
        items->pop_front();
        bytes_received_[static_cast<size_t>(channel)] += message.body.size();
        return message;
      }
      if (now >= deadline) return WaitTimedOut(what, channel, source, start);
      // The wait ends when the first message becomes visible; one that is sent meanwhile wakes it
      // earlier.
      Clock::time_point until = deadline;
      if (any && items->front().visible_at < until) until = items->front().visible_at;
      box.changed.WaitUntil(&box.mutex, until);
    }
  }

  // Send() has handed the body over already
  Status Flush(Deadline) override { return absl::OkStatus(); }

  uint64_t bytes_sent(Channel channel) const override {
    return bytes_sent_[static_cast<size_t>(channel)];
  }
  uint64_t bytes_received(Channel channel) const override {
    return bytes_received_[static_cast<size_t>(channel)];
  }

 private:
  Clock::duration Delay(Channel channel, int to, uint64_t number) const {
    if (board_.options.max_delay_us <= 0) return Clock::duration::zero();
    uint64_t h = HashCombine(board_.options.delay_seed, static_cast<uint64_t>(channel));
    h = HashCombine(
        HashCombine(HashCombine(h, static_cast<uint64_t>(rank_)), static_cast<uint64_t>(to)),
        number);
    return std::chrono::microseconds(h % (static_cast<uint64_t>(board_.options.max_delay_us) + 1));
  }

  // The source whose oldest message becomes visible first, or the end if the mailbox is empty.
  static std::map<int, Source>::iterator EarliestSource(Mailbox& box)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(box.mutex) {
    auto best = box.sources.end();
    for (auto source = box.sources.begin(); source != box.sources.end(); ++source) {
      if (source->second.items.empty()) continue;
      if (best == box.sources.end()) {
        best = source;
        continue;
      }
      const Item &item = source->second.items.front(), &first = best->second.items.front();
      if (std::pair(item.visible_at, item.arrival) < std::pair(first.visible_at, first.arrival)) {
        best = source;
      }
    }
    return best;
  }

  Switchboard& board_;
  const int rank_;
  std::atomic<uint64_t> bytes_sent_[kChannelCount] = {};
  std::atomic<uint64_t> bytes_received_[kChannelCount] = {};
};

}  // namespace

struct InProcessHub::State {
  Switchboard board;
  std::vector<std::unique_ptr<InProcessTransport>> transports;  // by rank
};

InProcessHub::InProcessHub(int size, InProcessOptions options) : state_(std::make_unique<State>()) {
  CHECK_GT(size, 0);
  Switchboard& board = state_->board;
  board.size = size;
  board.options = options;
  for (int i = 0; i < size * kChannelCount; ++i) {
    board.mailboxes.push_back(std::make_unique<Mailbox>());
  }
  for (int r = 0; r < size; ++r) {
    state_->transports.push_back(std::make_unique<InProcessTransport>(&board, r));
  }
}

InProcessHub::~InProcessHub() = default;

Transport* InProcessHub::transport(int rank) {
  return state_->transports.at(static_cast<size_t>(rank)).get();
}

void InProcessHub::Abort(const std::string& reason) {
  Switchboard& board = state_->board;
  {
    MutexLock lock(&board.abort_mutex);
    if (board.aborted) return;  // the first reason is the cause
    board.aborted = true;
    board.abort_reason = reason;
  }
  for (auto& box : board.mailboxes) {
    MutexLock lock(&box->mutex);
    box->changed.NotifyAll();
  }
}

Status RunRanks(int size, InProcessOptions options,
                const std::function<Status(int, Transport*)>& body) {
  InProcessHub hub(size, options);
  Mutex mutex;
  // The errors that Abort() causes on other ranks come later, so the first is the cause.
  Status first_error;
  const auto end = [&](int rank, const Status& status) {
    if (status.ok()) return;
    {
      MutexLock lock(&mutex);
      if (first_error.ok()) first_error = status;
    }
    hub.Abort(absl::StrCat("rank ", rank, " failed: ", status.message()));
  };
  std::vector<std::thread> threads;
  for (int r = 0; r < size; ++r) {
    const Status started = Caught([&] {
      threads.push_back(StartThread(absl::StrCat("rank-", r), [&, r] {
        end(r, Caught([&] { return body(r, hub.transport(r)); }));
      }));
      return absl::OkStatus();
    });
    end(r, started);
    if (!started.ok()) break;  // those that run end with the hub
  }
  for (std::thread& thread : threads) thread.join();
  return first_error;
}

}  // namespace pepnet
