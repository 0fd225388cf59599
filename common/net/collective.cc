#include "common/net/collective.h"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

#include "common/base/logging.h"
#include "common/net/first_error.h"

// Every message of an operation carries what its sender believes it is doing, so that two workers
// that are not in the same call get an error that names both calls:
//
//   message = magic u32 'PEPC' | operation u32 | sequence u64 | elements u64 | what_bytes u64
//           | what, padded with zeros to a multiple of 64 bytes from the start of the message
//           | payload
//
// A sum of the arrays x_i of W workers is ((x0 + x1) + x2) + ... for every element. Arrays of up to
// kOneRoundBytes take one round: each worker sends its array to all and adds up alone. That is half
// the latency of two rounds for W / 2 times their bytes. Longer arrays take two rounds, in which
// worker j adds up block j for all (SumInTwoRounds()): the same additions in the same order.
namespace pepnet {
namespace {

constexpr uint32_t kMagic = 0x43504550;  // "PEPC"
constexpr size_t kOneRoundBytes = 8192;

enum class Operation : uint32_t {
  kSumFloat = 1,
  kSumDouble = 2,
  kSumInt64 = 3,
  kAllgather = 4,
  kGather = 5,
  kBroadcast = 6,
  kBarrier = 7,
};

const char* Name(Operation operation) {
  switch (operation) {
    case Operation::kSumFloat:
      return "sum of floats";
    case Operation::kSumDouble:
      return "sum of doubles";
    case Operation::kSumInt64:
      return "sum of int64s";
    case Operation::kAllgather:
      return "allgather";
    case Operation::kGather:
      return "gather";
    case Operation::kBroadcast:
      return "broadcast";
    case Operation::kBarrier:
      return "barrier";
  }
  return "unknown operation";
}

struct CallHeader {
  uint32_t magic = kMagic;
  Operation operation = Operation::kBarrier;
  uint64_t sequence = 0;
  uint64_t elements = 0;  // of a sum; 0 where sizes may differ between workers
  uint64_t what_bytes = 0;
};
static_assert(sizeof(CallHeader) == 32);

// One call of one operation on this worker.
struct Call {
  Operation operation;
  uint64_t sequence = 0;
  uint64_t elements = 0;
  std::string what;
  Deadline deadline;

  // The sequence number tells calls of the same name apart: a worker that has left one out would
  // else add numbers of another step without an error (law L7).
  bool operator==(const Call& o) const {
    return operation == o.operation && sequence == o.sequence && elements == o.elements &&
           what == o.what;
  }
  std::string Text() const {
    std::string text = absl::StrCat(Name(operation), " '", what, "' (call ", sequence);
    if (elements > 0) absl::StrAppend(&text, ", ", elements, " elements");
    return text + ")";
  }
};

size_t PayloadOffset(size_t what_bytes) {
  return (sizeof(CallHeader) + what_bytes + kBufferAlignment - 1) / kBufferAlignment *
         kBufferAlignment;
}

Bytes Pack(const Call& call, const void* payload, size_t payload_bytes) {
  const CallHeader header{kMagic, call.operation, call.sequence, call.elements, call.what.size()};
  const size_t offset = PayloadOffset(call.what.size());
  Bytes message(offset + payload_bytes);
  // The padding is cleared, so that a message never carries bytes of an earlier use of its memory.
  std::memset(message.data(), 0, offset);
  std::memcpy(message.data(), &header, sizeof(header));
  std::memcpy(message.data() + sizeof(header), call.what.data(), call.what.size());
  if (payload_bytes > 0) std::memcpy(message.data() + offset, payload, payload_bytes);
  return message;
}

// A received message that belongs to the call. The payload is 64-byte aligned; ReceiveExactly()
// checks its length.
struct Piece {
  Bytes message;
  size_t offset = 0;
  const uint8_t* data() const { return message.data() + offset; }
  size_t bytes() const { return message.size() - offset; }
  std::string text() const { return std::string(reinterpret_cast<const char*>(data()), bytes()); }
};

// sum[i] += piece[i]; int64 wraps around instead of being undefined.
template <typename T>
void AddTo(T* __restrict sum, const T* __restrict piece, size_t n) {
  using Word = typename std::conditional<std::is_same_v<T, int64_t>, std::make_unsigned<int64_t>,
                                         std::type_identity<T>>::type::type;
  for (size_t i = 0; i < n; ++i) {
    sum[i] = static_cast<T>(static_cast<Word>(sum[i]) + static_cast<Word>(piece[i]));
  }
}

class CollectiveOverTransport : public Collective {
 public:
  CollectiveOverTransport(Transport* transport, Channel channel, std::vector<int> ranks,
                          double timeout_s)
      : transport_(transport), channel_(channel), ranks_(std::move(ranks)), timeout_s_(timeout_s) {
    const auto me = std::find(ranks_.begin(), ranks_.end(), transport_->rank());
    CHECK(me != ranks_.end()) << "rank " << transport_->rank()
                              << " is not one of the collective's workers";
    index_ = static_cast<int>(me - ranks_.begin());
  }

  int index() const override { return index_; }
  int count() const override { return static_cast<int>(ranks_.size()); }

  Status AllreduceSum(std::span<float> data, const std::string& what) override {
    return Sum(Operation::kSumFloat, data, what);
  }
  Status AllreduceSum(std::span<double> data, const std::string& what) override {
    return Sum(Operation::kSumDouble, data, what);
  }
  Status AllreduceSum(std::span<int64_t> data, const std::string& what) override {
    return Sum(Operation::kSumInt64, data, what);
  }

  StatusOr<std::vector<std::string>> Allgather(const std::string& mine,
                                               const std::string& what) override {
    return Guarded([&]() -> StatusOr<std::vector<std::string>> {
      const Call call = Begin(Operation::kAllgather, 0, what);
      return Exchange(call, mine);
    });
  }

  StatusOr<std::vector<std::string>> GatherToFirst(const std::string& mine,
                                                   const std::string& what) override {
    return Guarded([&]() -> StatusOr<std::vector<std::string>> {
      const Call call = Begin(Operation::kGather, 0, what);
      std::vector<std::string> all;
      if (index_ > 0) {
        PEPNET_RETURN_IF_ERROR(SendTo(0, call, mine.data(), mine.size()));
        return all;
      }
      all.push_back(mine);
      for (int w = 1; w < count(); ++w) {
        PEPNET_ASSIGN_OR_RETURN(const Piece piece, ReceiveFrom(w, call));
        all.push_back(piece.text());
      }
      return all;
    });
  }

  StatusOr<std::string> BroadcastFromFirst(const std::string& mine,
                                           const std::string& what) override {
    return Guarded([&]() -> StatusOr<std::string> {
      const Call call = Begin(Operation::kBroadcast, 0, what);
      if (index_ > 0) {
        PEPNET_ASSIGN_OR_RETURN(const Piece piece, ReceiveFrom(0, call));
        return piece.text();
      }
      for (int w = 1; w < count(); ++w) {
        PEPNET_RETURN_IF_ERROR(SendTo(w, call, mine.data(), mine.size()));
      }
      return mine;
    });
  }

  Status Barrier(const std::string& what) override {
    return Guarded([&]() -> Status {
      const Call call = Begin(Operation::kBarrier, 0, what);
      return Exchange(call, std::string()).status();
    });
  }

 private:
  // Every worker counts its calls alike, whatever they are, so that the numbers agree as long as
  // the calls do.
  Call Begin(Operation operation, uint64_t elements, const std::string& what) {
    return Call{operation, ++sequence_, elements, what,
                After(std::chrono::duration<double>(timeout_s_))};
  }

  // After an error the messages of the broken call may still arrive, and a later call would take
  // them for its own.
  template <typename Body>
  auto Guarded(const Body& body) -> decltype(body()) {
    return first_error_.Guard(body, [] {});
  }

  Status SendTo(int worker, const Call& call, const void* payload, size_t bytes) {
    return Send(worker, call, Pack(call, payload, bytes));
  }
  Status Send(int worker, const Call& call, Bytes message) {
    return Annotate(
        transport_->Send(channel_, ranks_[static_cast<size_t>(worker)], std::move(message)),
        absl::StrCat(call.Text(), ", sending to worker ", worker));
  }

  StatusOr<Piece> ReceiveFrom(int worker, const Call& call) {
    auto received =
        transport_->Receive(channel_, ranks_[static_cast<size_t>(worker)], call.deadline,
                            absl::StrCat(call.Text(), ", the part of worker ", worker));
    if (!received.ok()) return received.status();
    Piece piece{std::move(received->body), 0};
    CallHeader header;
    if (piece.message.size() < sizeof(header)) return Garbled(worker, call);
    std::memcpy(&header, piece.message.data(), sizeof(header));
    if (header.magic != kMagic || header.what_bytes > piece.message.size() - sizeof(header) ||
        PayloadOffset(header.what_bytes) > piece.message.size()) {
      return Garbled(worker, call);
    }
    piece.offset = PayloadOffset(header.what_bytes);
    const char* what = reinterpret_cast<const char*>(piece.message.data()) + sizeof(header);
    const Call theirs{header.operation,
                      header.sequence,
                      header.elements,
                      std::string(what, header.what_bytes),
                      {}};
    // Messages between two ranks keep their order, so the next one of a worker belongs to this call
    // unless the workers have come apart.
    if (!(theirs == call)) {
      return absl::FailedPreconditionError(
          absl::StrCat("the workers are in different calls: worker ", index_, " in ", call.Text(),
                       ", worker ", worker, " in ", theirs.Text()));
    }
    return piece;
  }

  Status Garbled(int worker, const Call& call) const {
    return absl::DataLossError(absl::StrCat(call.Text(), ": the message of worker ", worker,
                                            " is not one of a collective"));
  }

  // As ReceiveFrom(), for a payload whose size this worker knows.
  StatusOr<Piece> ReceiveExactly(int worker, const Call& call, size_t bytes) {
    PEPNET_ASSIGN_OR_RETURN(Piece piece, ReceiveFrom(worker, call));
    if (piece.bytes() != bytes) {
      return absl::DataLossError(absl::StrCat(call.Text(), ": worker ", worker, " sent ",
                                              piece.bytes(), " bytes instead of ", bytes));
    }
    return piece;
  }

  StatusOr<std::vector<std::string>> Exchange(const Call& call, const std::string& mine) {
    PEPNET_RETURN_IF_ERROR(SendToOthers(call, mine.data(), mine.size()));
    std::vector<std::string> all;
    // Everything has been sent before anything is waited for, so no two workers wait for each
    // other.
    for (int w = 0; w < count(); ++w) {
      if (w == index_) {
        all.push_back(mine);
      } else {
        PEPNET_ASSIGN_OR_RETURN(const Piece piece, ReceiveFrom(w, call));
        all.push_back(piece.text());
      }
    }
    return all;
  }

  // Starts with the next worker, so that not everybody sends to worker 0 first.
  Status SendToOthers(const Call& call, const void* payload, size_t bytes) {
    for (int k = 1; k < count(); ++k) {
      PEPNET_RETURN_IF_ERROR(SendTo((index_ + k) % count(), call, payload, bytes));
    }
    return absl::OkStatus();
  }

  template <typename T>
  Status Sum(Operation operation, std::span<T> data, const std::string& what) {
    if (count() == 1) return first_error_.status();
    return Guarded([&]() -> Status {
      const Call call = Begin(operation, data.size(), what);
      return data.size_bytes() <= kOneRoundBytes ? SumInOneRound(call, data)
                                                 : SumInTwoRounds(call, data);
    });
  }

  // `sum` = x0 + x1 + ... over the workers' pieces of `mine`, in worker order.
  template <typename T>
  Status AddUp(const Call& call, std::span<const T> mine, T* sum) {
    for (int w = 0; w < count(); ++w) {
      const T* values = mine.data();
      Piece piece;
      if (w != index_) {
        // A piece that comes before its turn waits in the transport: a straggler delays those
        // behind it, and the order of the additions is the same (law L3; the tests delay messages
        // by seed).
        PEPNET_ASSIGN_OR_RETURN(piece, ReceiveExactly(w, call, mine.size_bytes()));
        values = reinterpret_cast<const T*>(piece.data());
      }
      if (w > 0) {
        AddTo(sum, values, mine.size());
      } else if (!mine.empty()) {
        std::memcpy(sum, values, mine.size_bytes());
      }
    }
    return absl::OkStatus();
  }

  // The same sum, formed in the message of another worker of this call, which can then travel on as
  // it is: large arrays need no memory and no copy more.
  template <typename T>
  StatusOr<Piece> AddUpInMessage(const Call& call, std::span<const T> mine) {
    const int first = index_ == 0 ? 1 : 0;
    PEPNET_ASSIGN_OR_RETURN(Piece carrier, ReceiveExactly(first, call, mine.size_bytes()));
    T* const sum = reinterpret_cast<T*>(carrier.message.data() + carrier.offset);
    // The order is x0 + x1 + x2 + ... on every worker. The message is x1 on worker 0 and x0
    // elsewhere. Where `mine` is the other one of these two it comes now, the wrong way round on
    // worker 0: two summands commute, to the bit.
    if (index_ <= 1) AddTo(sum, mine.data(), mine.size());
    for (int w = index_ == 1 ? 2 : first + 1; w < count(); ++w) {
      if (w == index_) {
        AddTo(sum, mine.data(), mine.size());
        continue;
      }
      PEPNET_ASSIGN_OR_RETURN(const Piece piece, ReceiveExactly(w, call, mine.size_bytes()));
      AddTo(sum, reinterpret_cast<const T*>(piece.data()), mine.size());
    }
    return carrier;
  }

  template <typename T>
  Status SumInOneRound(const Call& call, std::span<T> data) {
    PEPNET_RETURN_IF_ERROR(SendToOthers(call, data.data(), data.size_bytes()));
    // The sum has memory of its own: `data` is a summand until its turn, and on no worker but 0 the
    // first.
    AlignedBuffer<T> sum(data.size());
    PEPNET_RETURN_IF_ERROR(AddUp<T>(call, data, sum.data()));
    if (!data.empty()) std::memcpy(data.data(), sum.data(), data.size_bytes());
    return absl::OkStatus();
  }

  template <typename T>
  Status SumInTwoRounds(const Call& call, std::span<T> data) {
    // The sum of the arrays x_i of W workers takes two rounds:
    //
    //   round 1   worker i sends block j of x_i to worker j, for each j
    //   round 2   worker j adds up block j and sends the sum to all
    //
    // A worker sends and receives 2 (W - 1) / W of the array, as in a ring, but in two steps
    // instead of 2 (W - 1). Blocks are cut by the number of elements and of workers alone (law L3).
    const auto block = [&](int w) {
      const size_t begin = data.size() * static_cast<size_t>(w) / ranks_.size();
      const size_t end = data.size() * static_cast<size_t>(w + 1) / ranks_.size();
      return data.subspan(begin, end - begin);
    };
    for (int k = 1; k < count(); ++k) {
      const int to = (index_ + k) % count();
      PEPNET_RETURN_IF_ERROR(SendTo(to, call, block(to).data(), block(to).size_bytes()));
    }
    // Every block needs a piece of every worker, so a straggler delays all. Pieces that come before
    // their turn wait in the transport: the order of additions never changes (law L3).
    const std::span<T> mine = block(index_);
    PEPNET_ASSIGN_OR_RETURN(Piece sum, AddUpInMessage<T>(call, mine));
    if (!mine.empty()) std::memcpy(mine.data(), sum.data(), mine.size_bytes());
    // Copies for all others but the last, which gets the message that the sum was formed in.
    for (int k = 1; k + 1 < count(); ++k) {
      PEPNET_RETURN_IF_ERROR(SendTo((index_ + k) % count(), call, mine.data(), mine.size_bytes()));
    }
    const int last = (index_ + count() - 1) % count();
    PEPNET_RETURN_IF_ERROR(Send(last, call, std::move(sum.message)));
    for (int k = 1; k < count(); ++k) {
      const int from = (index_ + k) % count();
      PEPNET_ASSIGN_OR_RETURN(const Piece piece,
                              ReceiveExactly(from, call, block(from).size_bytes()));
      if (piece.bytes() > 0) std::memcpy(block(from).data(), piece.data(), piece.bytes());
    }
    return absl::OkStatus();
  }

  Transport* const transport_;
  const Channel channel_;
  const std::vector<int> ranks_;  // transport rank by worker
  const double timeout_s_;
  int index_ = 0;
  uint64_t sequence_ = 0;  // calls begun
  FirstError first_error_;
};

}  // namespace

std::unique_ptr<Collective> MakeCollective(Transport* transport, Channel channel,
                                           std::vector<int> ranks, double timeout_s) {
  return std::make_unique<CollectiveOverTransport>(transport, channel, std::move(ranks), timeout_s);
}

}  // namespace pepnet
