#include "common/net/in_process.h"

#include <atomic>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"

#include "common/base/hash.h"
#include "common/base/logging.h"
#include "common/base/mutex.h"
#include "common/net/wait_error.h"

namespace pepnet {
namespace {

struct Item {
  Clock::time_point visible_at;
  uint64_t arrival = 0;  // breaks ties between senders
  Bytes body;
};

// What has been sent to one rank on one channel.
struct Mailbox {
  Mutex mutex;
  CondVar changed;
  std::vector<std::deque<Item>> by_source ABSL_GUARDED_BY(mutex);
  std::vector<uint64_t> sent_by_source ABSL_GUARDED_BY(mutex);
  std::vector<Clock::time_point> last_visible ABSL_GUARDED_BY(mutex);
  uint64_t arrivals ABSL_GUARDED_BY(mutex) = 0;
};

// What the ranks share.
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
      const size_t from = static_cast<size_t>(rank_);
      Clock::time_point visible_at = Clock::now() + Delay(channel, rank, box.sent_by_source[from]++);
      if (visible_at < box.last_visible[from]) visible_at = box.last_visible[from];  // order per sender
      box.last_visible[from] = visible_at;
      box.by_source[from].push_back(Item{visible_at, box.arrivals++, std::move(body)});
    }
    box.changed.NotifyAll();
    bytes_sent_[static_cast<size_t>(channel)] += bytes;
    return absl::OkStatus();
  }

  StatusOr<Message> Receive(Channel channel, int source, Deadline deadline, const std::string& what) override {
    CHECK(source == kAnyRank || (source >= 0 && source < size())) << "receive from rank " << source << " of " << size();
    const Clock::time_point start = Clock::now();
    Mailbox& box = board_.mailbox(rank_, channel);
    MutexLock lock(&box.mutex);
    while (true) {
      // Abort() sets its flag before it takes this lock to wake us, so the flag cannot be missed here.
      PEPNET_RETURN_IF_ERROR(Annotate(board_.AbortStatus(), absl::StrCat("waiting for ", what)));
      const int from = source == kAnyRank ? EarliestSource(box) : (box.by_source[source].empty() ? -1 : source);
      const Clock::time_point now = Clock::now();
      if (from >= 0 && box.by_source[from].front().visible_at <= now) {
        Message message{from, std::move(box.by_source[from].front().body)};
        box.by_source[from].pop_front();
        bytes_received_[static_cast<size_t>(channel)] += message.body.size();
        return message;
      }
      if (now >= deadline) return WaitTimedOut(what, channel, source, start);
      Clock::time_point until = deadline;
      if (from >= 0 && box.by_source[from].front().visible_at < until) until = box.by_source[from].front().visible_at;
      box.changed.WaitUntil(&box.mutex, until);
    }
  }

  Status Flush(Deadline) override { return absl::OkStatus(); }  // Send() has handed the body over already

  uint64_t bytes_sent(Channel channel) const override { return bytes_sent_[static_cast<size_t>(channel)]; }
  uint64_t bytes_received(Channel channel) const override { return bytes_received_[static_cast<size_t>(channel)]; }

 private:
  Clock::duration Delay(Channel channel, int to, uint64_t number) const {
    if (board_.options.max_delay_us <= 0) return Clock::duration::zero();
    uint64_t h = HashCombine(board_.options.delay_seed, static_cast<uint64_t>(channel));
    h = HashCombine(HashCombine(HashCombine(h, static_cast<uint64_t>(rank_)), static_cast<uint64_t>(to)), number);
    return std::chrono::microseconds(h % (static_cast<uint64_t>(board_.options.max_delay_us) + 1));
  }

  // The source whose oldest message becomes visible first, or -1 if the mailbox is empty.
  static int EarliestSource(const Mailbox& box) ABSL_EXCLUSIVE_LOCKS_REQUIRED(box.mutex) {
    int best = -1;
    for (size_t s = 0; s < box.by_source.size(); ++s) {
      if (box.by_source[s].empty()) continue;
      if (best < 0) {
        best = static_cast<int>(s);
        continue;
      }
      const Item &item = box.by_source[s].front(), &first = box.by_source[best].front();
      if (std::pair(item.visible_at, item.arrival) < std::pair(first.visible_at, first.arrival))
        best = static_cast<int>(s);
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
    auto box = std::make_unique<Mailbox>();
    {
      MutexLock lock(&box->mutex);
      box->by_source.resize(static_cast<size_t>(size));
      box->sent_by_source.resize(static_cast<size_t>(size));
      box->last_visible.resize(static_cast<size_t>(size));
    }
    board.mailboxes.push_back(std::move(box));
  }
  for (int r = 0; r < size; ++r) state_->transports.push_back(std::make_unique<InProcessTransport>(&board, r));
}

InProcessHub::~InProcessHub() = default;

Transport* InProcessHub::transport(int rank) { return state_->transports.at(static_cast<size_t>(rank)).get(); }

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

Status RunRanks(int size, InProcessOptions options, const std::function<Status(int, Transport*)>& body) {
  InProcessHub hub(size, options);
  Mutex mutex;
  Status first_error;
  std::vector<std::thread> threads;
  for (int r = 0; r < size; ++r) {
    threads.emplace_back([&, r] {
      Status status;
      try {
        status = body(r, hub.transport(r));
      } catch (const std::exception& error) {
        status = absl::InternalError(error.what());
      }
      if (status.ok()) return;
      {
        MutexLock lock(&mutex);
        if (first_error.ok()) first_error = status;
      }
      hub.Abort(absl::StrCat("rank ", r, " failed: ", status.message()));
    });
  }
  for (std::thread& thread : threads) thread.join();
  return first_error;
}

}  // namespace pepnet
