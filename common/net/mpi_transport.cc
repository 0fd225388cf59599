#include "common/net/mpi_transport.h"

#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>

#include <algorithm>
#include <climits>
#include <cstring>
#include <utility>

#include "common/base/logging.h"
#include "common/base/threads.h"
#include "common/net/wait_error.h"

// On the wire, per channel (one communicator each):
//
//   body of at most split_bytes   = one message with kWholeTag
//   longer body                   = u64 length with kLengthTag, then its pieces in order with
//                                   kPieceTag
//
// MPI keeps the order of messages between two ranks on one communicator when they are matched with
// a wildcard tag, so the pieces of two bodies never mix.
namespace pepnet {
namespace {

constexpr int kWholeTag = 0;
constexpr int kLengthTag = 1;
constexpr int kPieceTag = 2;
// 256 GiB: a longer length is a damaged message, refused before memory is taken for it.
constexpr uint64_t kMaxBodyBytes = uint64_t{1} << 38;

// The interval at which "mpi-send" looks whether the threads that receive move the sends on.
constexpr std::chrono::microseconds kLookAgain{200};

// Backoff: the way in which a thread waits for the next poll to bring something:
//
//   1. It polls and gives the core away between two polls. A thread that gets the core back at once
//      has it for itself, and an answer that is on its way is met within a microsecond. This ends
//      after kPolling, and at once when another thread wanted the core: from then on giving it away
//      would cost a time slice, while a sleeper that wakes up is served soon.
//   2. It sleeps an eighth of the time that it has waited so far, at most kLongestSleep: a message
//      that arrives is met at most that much late, and a rank that waits for long uses next to no
//      core.
class Backoff {
 public:
  // `busy`: a transfer is under way, which advances only when MPI is called: sleep briefly at
  // first.
  void Pause(bool busy, Deadline deadline) {
    const Clock::time_point now = Clock::now();
    if (polling_ && now - start_ < kPolling) {
      sched_yield();
      // The time that the core was away tells whether another thread wanted it.
      if (Clock::now() - now > kCoreWanted) polling_ = false;
      return;
    }
    polling_ = false;
    SleepPrecisely();
    const auto waited = std::chrono::duration_cast<std::chrono::microseconds>(now - start_);
    auto sleep = std::clamp(waited / 8, kShortestSleep, kLongestSleep);
    if (busy && waited < kBusy) sleep = kShortestSleep;
    // A deadline that is nearer than the next poll cuts the sleep short.
    const auto left =
        std::chrono::duration_cast<std::chrono::microseconds>(deadline - now) + kResolution;
    std::this_thread::sleep_for(std::clamp(left, kResolution, sleep));
  }
  // Without polling first: for a thread whose turn comes only if no other moves on.
  void SleepFirst() { polling_ = false; }
  void Reset() { *this = Backoff(); }

 private:
  using Microseconds = std::chrono::microseconds;
  static constexpr Microseconds kPolling{500}, kCoreWanted{100};
  static constexpr Microseconds kShortestSleep{20}, kLongestSleep{500}, kBusy{50000},
      kResolution{1};

  // The system may wake a sleeper 50 us late, to save wake-ups, unless its thread asks for less.
  static void SleepPrecisely() {
    // In nanoseconds. A system that refuses wakes the thread later, which costs time alone.
    thread_local const int asked = prctl(PR_SET_TIMERSLACK, 1000UL);
    static_cast<void>(asked);
  }

  Clock::time_point start_ = Clock::now();
  bool polling_ = true;
};

// True once all requests are finished (they are MPI_REQUEST_NULL then).
StatusOr<bool> AllFinished(std::vector<MPI_Request>& requests, const char* doing) {
  int finished = 0;
  PEPNET_RETURN_IF_ERROR(MpiStatus(MPI_Testall(static_cast<int>(requests.size()), requests.data(),
                                               &finished, MPI_STATUSES_IGNORE),
                                   doing));
  return finished != 0;
}

}  // namespace

Status MpiStatus(int code, const char* doing) {
  if (code == MPI_SUCCESS) return absl::OkStatus();
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  if (MPI_Error_string(code, text, &length) != MPI_SUCCESS) length = 0;
  return absl::UnavailableError(absl::StrCat("MPI cannot ", doing, ": ",
                                             absl::string_view(text, static_cast<size_t>(length))));
}

StatusOr<std::unique_ptr<MpiTransport>> MpiTransport::Create(MPI_Comm world,
                                                             MpiTransportOptions options) {
  CHECK(options.split_bytes > 0 && options.split_bytes <= INT_MAX);
  int rank = 0, size = 0;
  PEPNET_RETURN_IF_ERROR(MpiStatus(MPI_Comm_rank(world, &rank), "get the rank"));
  PEPNET_RETURN_IF_ERROR(MpiStatus(MPI_Comm_size(world, &size), "get the number of ranks"));
  std::unique_ptr<MpiTransport> transport(new MpiTransport(rank, size, options));
  for (ChannelState& state : transport->channels_) {
    // A communicator of its own for each channel: a wildcard receive on one never meets a message
    // of another, and each has its own lock.
    PEPNET_RETURN_IF_ERROR(
        MpiStatus(MPI_Comm_dup(world, &state.comm), "create the communicator of a channel"));
    PEPNET_RETURN_IF_ERROR(
        MpiStatus(MPI_Comm_set_errhandler(state.comm, MPI_ERRORS_RETURN), "set the error handler"));
    MutexLock lock(&state.mutex);
    state.incoming.resize(static_cast<size_t>(size));
  }
  transport->sender_ = StartThread("mpi-send", [t = transport.get()] { t->MoveSendsOn(); });
  return transport;
}

MpiTransport::~MpiTransport() {
  {
    MutexLock lock(&sender_mutex_);
    stopping_ = true;
  }
  sender_wakes_.NotifyAll();
  if (sender_.joinable()) sender_.join();
  for (ChannelState& state : channels_) {
    MutexLock lock(&state.mutex);
    // MPI still reads from bodies that have not left: they live as long as the process.
    if (!state.outgoing.empty()) {
      (void)std::make_unique<std::list<Outgoing>>(std::move(state.outgoing)).release();
    }
    if (state.in_flight > 0) {
      (void)std::make_unique<std::vector<std::deque<Incoming>>>(std::move(state.incoming))
          .release();
    }
  }
  // The communicators are freed by MPI_Finalize: MPI_Comm_free would be a collective call that can
  // hang.
}

Status MpiTransport::Send(Channel channel, int rank, Bytes body) {
  CHECK(rank >= 0 && rank < size_) << "send to rank " << rank << " of " << size_;
  ChannelState& state = this->state(channel);
  MutexLock lock(&state.mutex);
  PEPNET_RETURN_IF_ERROR(state.failure);
  const size_t bytes = body.size();
  if (rank == rank_) {  // handed over without MPI; its receiver finds it at its next poll
    std::deque<Incoming>& queue = state.incoming[static_cast<size_t>(rank)];
    queue.emplace_back();
    queue.back().body = std::move(body);
    queue.back().claimed = bytes;
    queue.back().arrival = state.arrivals++;
    bytes_sent_[static_cast<size_t>(channel)] += bytes;
    return absl::OkStatus();
  }
  state.outgoing.emplace_back();
  Outgoing& outgoing = state.outgoing.back();
  outgoing.body = std::move(body);
  // On an error the entry stays in the list: MPI may still read from pieces that have begun to
  // leave.
  Status status = StartSend(state, rank, outgoing);
  if (!status.ok()) {
    state.failure = Annotate(status, absl::StrCat("sending ", bytes, " bytes to rank ", rank));
    return state.failure;
  }
  bytes_sent_[static_cast<size_t>(channel)] += bytes;
  {
    // Locks are taken in this order, channel before sender, and never the other way round. The
    // count rises before PollSends() can lower it.
    MutexLock sender_lock(&sender_mutex_);
    unfinished_sends_ += 1;
  }
  PEPNET_RETURN_IF_ERROR(PollSends(state));  // short bodies leave at once
  if (!state.outgoing.empty()) sender_wakes_.NotifyOne();
  return absl::OkStatus();
}

Status MpiTransport::StartSend(ChannelState& state, int rank, Outgoing& outgoing) {
  const auto start = [&](const void* data, size_t bytes, int tag) {
    MPI_Request request = MPI_REQUEST_NULL;
    const int code =
        MPI_Isend(data, static_cast<int>(bytes), MPI_BYTE, rank, tag, state.comm, &request);
    outgoing.requests.push_back(request);
    return MpiStatus(code, "start a send");
  };
  const size_t bytes = outgoing.body.size();
  if (bytes <= options_.split_bytes) return start(outgoing.body.data(), bytes, kWholeTag);
  outgoing.total = bytes;
  // A list node: its address stays.
  PEPNET_RETURN_IF_ERROR(start(&outgoing.total, sizeof(outgoing.total), kLengthTag));
  for (size_t offset = 0; offset < bytes; offset += options_.split_bytes) {
    PEPNET_RETURN_IF_ERROR(start(outgoing.body.data() + offset,
                                 std::min(options_.split_bytes, bytes - offset), kPieceTag));
  }
  return absl::OkStatus();
}

Status MpiTransport::PollSends(ChannelState& state) {
  PEPNET_RETURN_IF_ERROR(state.failure);
  for (auto it = state.outgoing.begin(); it != state.outgoing.end();) {
    const auto finished = AllFinished(it->requests, "finish a send");
    if (!finished.ok()) {
      state.failure = finished.status();
      return state.failure;
    }
    if (*finished) {
      it = state.outgoing.erase(it);
      unfinished_sends_ -= 1;
    } else {
      ++it;
    }
  }
  return absl::OkStatus();
}

Status MpiTransport::PollArrivals(ChannelState& state, bool* progress) {
  while (true) {
    // A matched probe (Improbe) takes the message off MPI's queue, so that no other call can
    // receive it in between. All that has arrived is matched, from whatever rank: MPI moves a long
    // message on only when its receive has been started.
    int found = 0;
    MPI_Message message = MPI_MESSAGE_NULL;
    MPI_Status status;
    PEPNET_RETURN_IF_ERROR(
        MpiStatus(MPI_Improbe(MPI_ANY_SOURCE, MPI_ANY_TAG, state.comm, &found, &message, &status),
                  "probe for messages"));
    if (found == 0) return absl::OkStatus();
    *progress = true;
    PEPNET_RETURN_IF_ERROR(StartReceive(state, &message, status));
  }
}

Status MpiTransport::StartReceive(ChannelState& state, MPI_Message* message,
                                  const MPI_Status& status) {
  int count = 0;
  PEPNET_RETURN_IF_ERROR(
      MpiStatus(MPI_Get_count(&status, MPI_BYTE, &count), "get the size of a message"));
  const size_t bytes = static_cast<size_t>(count);
  std::deque<Incoming>& queue = state.incoming[static_cast<size_t>(status.MPI_SOURCE)];
  const auto broken = [&](const std::string& why) {
    return absl::DataLossError(absl::StrCat("rank ", status.MPI_SOURCE, " sent ", why));
  };

  if (status.MPI_TAG == kLengthTag) {
    uint64_t total = 0;
    if (bytes != sizeof(total)) return broken(absl::StrCat("a length of ", bytes, " bytes"));
    // Eight bytes that are here already: this does not wait.
    PEPNET_RETURN_IF_ERROR(MpiStatus(MPI_Mrecv(&total, count, MPI_BYTE, message, MPI_STATUS_IGNORE),
                                     "receive a length"));
    if (total > kMaxBodyBytes) {
      return broken(
          absl::StrCat("the length ", total, " of a message, expected at most ", kMaxBodyBytes));
    }
    queue.emplace_back();
    queue.back().body = Bytes(total);
    queue.back().arrival = state.arrivals++;
    ++state.in_flight;
    return absl::OkStatus();
  }
  // A piece belongs to the last body of its source, since messages of one source are matched in
  // order. Length and room are checked: the bytes come from another process.
  if (status.MPI_TAG == kWholeTag) {
    queue.emplace_back();
    queue.back().body = Bytes(bytes);
    queue.back().arrival = state.arrivals++;
    ++state.in_flight;
  } else if (queue.empty() || bytes == 0 ||
             bytes > queue.back().body.size() - queue.back().claimed) {
    return broken(absl::StrCat("a piece of ", bytes, " bytes that belongs to no message"));
  }
  Incoming& incoming = queue.back();
  MPI_Request request = MPI_REQUEST_NULL;
  PEPNET_RETURN_IF_ERROR(MpiStatus(
      MPI_Imrecv(incoming.body.data() + incoming.claimed, count, MPI_BYTE, message, &request),
      "start a receive"));
  incoming.requests.push_back(request);
  incoming.claimed += bytes;
  return absl::OkStatus();
}

Status MpiTransport::PollReceives(ChannelState& state, bool* progress) {
  if (state.in_flight == 0) return absl::OkStatus();
  // Bodies of one source may be finished out of order by MPI; TakeComplete() hands them out in
  // order.
  for (std::deque<Incoming>& queue : state.incoming) {
    for (Incoming& incoming : queue) {
      if (incoming.requests.empty()) continue;  // finished, or nothing but its length has come
      PEPNET_ASSIGN_OR_RETURN(const bool finished,
                              AllFinished(incoming.requests, "finish a receive"));
      if (!finished) continue;
      incoming.requests.clear();
      *progress = true;
      if (incoming.claimed == incoming.body.size()) --state.in_flight;
    }
  }
  return absl::OkStatus();
}

bool MpiTransport::TakeComplete(ChannelState& state, int source, Message* message) {
  const auto complete = [&](int s) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state.mutex) {
    // Only the front counts: behind an unfinished body a finished one waits, which keeps the order
    // of messages of one source.
    const std::deque<Incoming>& queue = state.incoming[static_cast<size_t>(s)];
    return !queue.empty() && queue.front().requests.empty() &&
           queue.front().claimed == queue.front().body.size();
  };
  int best = -1;
  if (source != kAnyRank) {
    if (complete(source)) best = source;
  } else {
    // The message that arrived first comes first, so that no rank is served last for ever.
    uint64_t best_arrival = 0;
    for (int s = 0; s < size_; ++s) {
      if (!complete(s)) continue;
      const uint64_t arrival = state.incoming[static_cast<size_t>(s)].front().arrival;
      if (best < 0 || arrival < best_arrival) {
        best = s;
        best_arrival = arrival;
      }
    }
  }
  if (best < 0) return false;
  std::deque<Incoming>& queue = state.incoming[static_cast<size_t>(best)];
  *message = Message{best, std::move(queue.front().body)};
  queue.pop_front();
  return true;
}

StatusOr<Message> MpiTransport::Receive(Channel channel, int source, Deadline deadline,
                                        const std::string& what) {
  CHECK(source == kAnyRank || (source >= 0 && source < size_))
      << "receive from rank " << source << " of " << size_;
  const Clock::time_point start = Clock::now();
  ChannelState& state = this->state(channel);
  Backoff backoff;
  while (true) {
    // The lock is held for one poll and not while sleeping, so that other threads can send
    // meanwhile. At least one poll is made: a deadline that has passed is a look at what is there
    // (heartbeats use it).
    bool progress = false, busy = false;
    {
      MutexLock lock(&state.mutex);
      state.polls.fetch_add(1, std::memory_order_relaxed);
      Status status = PollSends(state);
      if (status.ok()) status = PollArrivals(state, &progress);
      if (status.ok()) status = PollReceives(state, &progress);
      if (!status.ok()) {
        state.failure = status;
        return Annotate(status, absl::StrCat("waiting for ", what));
      }
      Message message;
      if (TakeComplete(state, source, &message)) {
        bytes_received_[static_cast<size_t>(channel)] += message.body.size();
        return message;
      }
      busy = state.in_flight > 0;
    }
    if (Clock::now() >= deadline) return WaitTimedOut(what, channel, source, start);
    if (progress) backoff.Reset();
    backoff.Pause(busy, deadline);
  }
}

Status MpiTransport::Flush(Deadline deadline) {
  const Clock::time_point start = Clock::now();
  Backoff backoff;
  while (true) {
    size_t waiting = 0;
    for (ChannelState& state : channels_) {
      MutexLock lock(&state.mutex);
      PEPNET_RETURN_IF_ERROR(PollSends(state));
      waiting += state.outgoing.size();
    }
    if (waiting == 0) return absl::OkStatus();
    if (Clock::now() >= deadline) {
      return absl::DeadlineExceededError(absl::StrCat(
          "waited ", absl::SixDigits(std::chrono::duration<double>(Clock::now() - start).count()),
          " s for ", waiting, " messages of rank ", rank_,
          " to leave: their receivers do not take them"));
    }
    backoff.Pause(true, deadline);
  }
}

void MpiTransport::MoveSendsOn() {
  pthread_setname_np(pthread_self(), "mpi-send");
  Backoff backoff;
  int64_t before = 0;
  std::array<uint64_t, kChannelCount> polls{};
  while (true) {
    {
      MutexLock lock(&sender_mutex_);
      if (unfinished_sends_ == 0) backoff.Reset();
      while (!stopping_ && unfinished_sends_ == 0) sender_wakes_.Wait(&sender_mutex_);
      if (stopping_) return;
    }
    // A thread that has sent mostly waits for an answer next and polls meanwhile: this thread has
    // work only where nobody does.
    bool failed = false, moved = false;
    for (size_t c = 0; c < channels_.size(); ++c) {
      ChannelState& state = channels_[c];
      // The receiver of this channel has polled since the last look, and with it its sends.
      if (const uint64_t now = state.polls; std::exchange(polls[c], now) != now) continue;
      MutexLock lock(&state.mutex);
      if (state.outgoing.empty()) continue;
      moved = true;
      // Kept in state.failure: the next caller of this channel returns it.
      failed |= !PollSends(state).ok();
    }
    if (!moved) {
      std::this_thread::sleep_for(kLookAgain);
    } else if (!failed) {
      backoff.SleepFirst();
      backoff.Pause(true, Deadline::max());
    }
    const int64_t now = unfinished_sends_;
    if (now != before) backoff.Reset();
    before = now;
    if (failed) {
      MutexLock lock(&sender_mutex_);
      // The channel has failed for good and this thread has ended its work: it waits to be joined.
      // Sends of the other channels now move on only in Send(), Receive() and Flush().
      while (!stopping_) sender_wakes_.Wait(&sender_mutex_);
      return;
    }
  }
}

}  // namespace pepnet
