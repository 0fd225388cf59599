// Things that another worker of the host may give in place of decoded rows: packets of any bytes,
// with or without a descriptor, which may be rows in shared memory, no rows, no memory, or shorter
// than the packet says.
//
// An input: a byte for what comes with the packet, the packet's length and bytes, and then the
// file's contents. The header of the packet is set right where a bit says so, or the search would
// hardly get past it.
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "tests/fuzz/fuzz_job.h"
#include "tests/fuzz/fuzz_support.h"
#include "worker/data/rows/chunk_exchange.h"

namespace pepnet {
namespace {

// As worker/data/rows/chunk_exchange.cc sends it.
struct Hello {
  uint32_t magic = 0x31434b43, index = 1;
};
struct Header {
  uint32_t magic = 0x31434b43, kind = 0;
  int64_t epoch = 0, turn = 0, file = 0, first_row = 0, row_count = 0, memory_bytes = 0;
  int32_t ends_turn = 0, error_code = 0;
};

template <typename T>
std::string BytesOf(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

// An exchange of two members, of which the second one is ours to speak for.
class HostilePeer {
 public:
  HostilePeer() {
    ReaderGroup group;
    group.name = absl::StrCat("fuzz-", getpid());
    group.members = {"worker 0", "worker 1"};
    group.timeout_s = 30;
    auto listener = FdListener::Listen(absl::StrCat("pepnet-", group.name, "-1"), 2);
    Expect(listener.ok(), "the peer can listen");
    std::thread peer([&] {
      while (!to_member_.open()) {
        auto connected =
            FdChannel::Connect(absl::StrCat("pepnet-", group.name, "-0"), BytesOf(Hello()));
        Expect(connected.ok(), "the peer can connect");
        if (connected->has_value()) to_member_ = *std::move(*connected);
      }
      while (!from_member_.open()) {
        auto accepted = listener->Accept(std::chrono::milliseconds(100));
        Expect(accepted.ok(), "the peer can accept");
        if (accepted->has_value()) from_member_ = *std::move(*accepted);
      }
    });
    auto exchange = ChunkExchange::Join(group);
    peer.join();
    Expect(exchange.ok(), "the exchange stands");
    exchange_ = *std::move(exchange);
  }

  // The member's reading of a packet.
  StatusOr<SharedChunk> Give(const std::string& packet, int fd) {
    Expect(from_member_.Send(packet, fd) == 0, "the packet can be sent");
    StatusOr<SharedChunk> taken = exchange_->Take(1);
    char claim = 0;  // of a chunk that was taken
    while (recv(from_member_.fd(), &claim, 1, MSG_DONTWAIT) == 1) {
    }
    return taken;
  }

 private:
  FdChannel to_member_, from_member_;
  std::unique_ptr<ChunkExchange> exchange_;
};

void ReadRows(SharedChunk* chunk) {
  static const JobConfig kConfig = MakeFuzzJob(DatasetType::kParquet, false);
  static const std::unique_ptr<BatchDecoder> kDecoder = [] {
    return *BatchDecoder::Create(kConfig, {}, DatasetType::kParquet,
                                 PlanColumns(kConfig, LabelSet::kAll, {}), nullptr);
  }();
  const Status opened = chunk->Open();
  ExpectClear(opened);
  if (!opened.ok()) return;
  Expect(chunk->rows->num_rows() == chunk->row_count, "as many rows as the packet says");
  if (chunk->rows->num_columns() !=
      static_cast<int>(PlanColumns(kConfig, LabelSet::kAll, {}).names.size()))
    return;
  const RowChunk rows{chunk->rows, std::make_shared<const std::string>("a.parquet"),
                      chunk->first_row, nullptr};
  ExpectClear(DecodeChunk(rows, kConfig, *kDecoder));
}

}  // namespace
}  // namespace pepnet

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pepnet;
  static HostilePeer peer;
  FuzzInput input(data, size);
  const auto form = input.Take<uint8_t>();
  const auto packet_bytes = input.Take<uint8_t>();
  std::string packet = input.TakeBytes(packet_bytes);
  const std::string contents = input.TakeRest();
  if ((form & 1) != 0) {
    Header header;
    std::memcpy(&header, packet.data(), std::min(packet.size(), sizeof(header)));
    header.magic = Header().magic;
    if ((form & 2) != 0) header.kind = 0;
    if ((form & 4) != 0) header.memory_bytes = static_cast<int64_t>(contents.size());
    packet = BytesOf(header) + packet.substr(std::min(packet.size(), sizeof(header)));
  }
  const MemoryFile memory(contents);
  const OwnedFd no_memory(eventfd(0, EFD_CLOEXEC));
  const int fd = (form & 8) != 0 ? -1 : (form & 16) != 0 ? no_memory.get() : memory.fd();
  if ((form & 32) == 0) fcntl(memory.fd(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
  StatusOr<SharedChunk> chunk = peer.Give(packet, fd);
  ExpectClear(chunk.status());
  if (!chunk.ok()) return 0;
  if (chunk->kind == SharedChunk::Kind::kError) {
    Expect(!chunk->error.ok(), "an error chunk holds an error");
  }
  if (chunk->kind == SharedChunk::Kind::kRows) ReadRows(&*chunk);
  return 0;
}
