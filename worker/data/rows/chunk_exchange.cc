#include "worker/data/rows/chunk_exchange.h"

#include <arrow/array.h>
#include <arrow/buffer.h>
#include <arrow/io/file.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/reader.h>
#include <arrow/ipc/writer.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <thread>
#include <utility>

#include "common/process/trace.h"

namespace pepnet {
namespace {

constexpr uint32_t kMagic = 0x31434b43;  // "CKC1"
constexpr size_t kMaxText = 16384;       // of an error in one packet
constexpr std::chrono::milliseconds kRetry(20);
constexpr int kSeals =
    // Of rows on their way: nobody changes them any more.
    F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

// The name of a member's listener.
std::string ListenerName(const ReaderGroup& group, int index) {
  return absl::StrCat("pepnet-", group.name, "-", index, group.secrets.empty() ? "" : "-",
                      group.secrets.empty() ? "" : group.secrets[static_cast<size_t>(index)]);
}

struct Hello {
  uint32_t magic;
  uint32_t index;
};

// A chunk travels in one packet. Numbers stand as in memory: both ends are the same program.
//   | magic u32 | kind u32 | epoch i64 | turn i64 | file i64 | first_row i64 | row_count i64 |
//   | memory_bytes i64 | ends_turn i32 | error_code i32 | text of the error, up to 16 KiB |
struct ChunkHeader {
  uint32_t magic;
  uint32_t kind;
  int64_t epoch, turn, file, first_row, row_count, memory_bytes;
  int32_t ends_turn;
  int32_t error_code;
};

// Chunks travel as descriptors, of which Linux lets no more be under way, for all processes of a
// user, than one process may have open. The loaders of `count` members may have so many under way
// that nobody takes yet.
Status RaiseDescriptorLimit(int count) {
  const rlim_t needed =
      2 * static_cast<rlim_t>(count) * static_cast<rlim_t>(count - 1) * ChunkExchange::kUnclaimed;
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
    return SystemError("cannot read the limit of open files");
  }
  if (limit.rlim_cur >= needed || geteuid() == 0) return absl::OkStatus();
  const rlim_t before = limit.rlim_cur;
  limit.rlim_cur = limit.rlim_max;
  if (limit.rlim_max >= needed && setrlimit(RLIMIT_NOFILE, &limit) == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "this process may have ", before, " files open (at most ", limit.rlim_max, "), ", count,
      " workers of one host that share the reading need ", needed,
      ": raise the limit (ulimit -n), or let each worker read alone with --share_reader=off"));
}

// Memory of another process, unmapped with the object.
class MappedBuffer : public arrow::Buffer {
 public:
  MappedBuffer(const uint8_t* data, int64_t bytes) : arrow::Buffer(data, bytes) {}
  ~MappedBuffer() override { munmap(const_cast<uint8_t*>(data_), static_cast<size_t>(size_)); }
};

Status WriteRows(const arrow::RecordBatch& rows, int fd) {
  const auto write = [&]() -> arrow::Status {
    // Arrow closes its descriptor; programs that this process starts meanwhile do not get it.
    ARROW_ASSIGN_OR_RAISE(auto out,
                          arrow::io::FileOutputStream::Open(fcntl(fd, F_DUPFD_CLOEXEC, 0)));
    auto options = arrow::ipc::IpcWriteOptions::Defaults();
    // The columns begin on cache lines, as those that this process decodes itself.
    options.alignment = 64;
    options.use_threads = false;
    ARROW_ASSIGN_OR_RAISE(auto writer, arrow::ipc::MakeStreamWriter(out, rows.schema(), options));
    ARROW_RETURN_NOT_OK(writer->WriteRecordBatch(rows));
    ARROW_RETURN_NOT_OK(writer->Close());
    return out->Close();
  };
  const arrow::Status status = write();
  if (status.ok()) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "cannot put ", rows.num_rows(),
      " rows into memory shared with the other workers of this host: ", status.message(),
      "; give the host more memory, or let each worker read alone with --share_reader=off"));
}

// Puts the rows of `chunk` into a memory file.
StatusOr<OwnedFd> MemoryOf(const SharedChunk& chunk, int64_t* bytes) {
  TraceScope scope("share rows");
  OwnedFd memory(memfd_create("pepnet-rows", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memory.valid()) return SystemError("cannot make shared memory for decoded rows");
  PEPNET_RETURN_IF_ERROR(WriteRows(*chunk.rows, memory.get()));
  // The memory is sealed before anybody sees it: takers check the rows once and then read them in
  // place, and a later write would go unchecked.
  if (fcntl(memory.get(), F_ADD_SEALS, kSeals) != 0) {
    return SystemError("cannot seal the memory of decoded rows");
  }
  *bytes = lseek(memory.get(), 0, SEEK_END);
  return memory;
}

std::string PacketOf(const SharedChunk& chunk, int64_t memory_bytes) {
  ChunkHeader header{};
  header.magic = kMagic;
  header.kind = static_cast<uint32_t>(chunk.kind);
  header.epoch = chunk.epoch;
  header.turn = chunk.turn;
  header.file = chunk.file;
  header.first_row = chunk.first_row;
  header.row_count = chunk.row_count;
  header.memory_bytes = memory_bytes;
  header.ends_turn = chunk.ends_turn ? 1 : 0;
  header.error_code = static_cast<int32_t>(chunk.error.code());
  std::string packet(reinterpret_cast<const char*>(&header), sizeof(header));
  packet.append(std::string(chunk.error.message()), 0, kMaxText);
  return packet;
}

bool ParsePacket(const std::string& packet, SharedChunk* chunk) {
  ChunkHeader header{};
  if (packet.size() < sizeof(header)) return false;
  std::memcpy(&header, packet.data(), sizeof(header));
  // The peer is a process of the same user, but not therefore of this program: every number is
  // checked before it sizes or indexes anything.
  if (header.magic != kMagic || header.kind > static_cast<uint32_t>(SharedChunk::Kind::kError)) {
    return false;
  }
  if (header.file < 0 || header.first_row < 0 || header.row_count < 0 || header.memory_bytes < 0) {
    return false;
  }
  if (header.row_count > INT64_MAX - header.first_row) return false;
  chunk->kind = static_cast<SharedChunk::Kind>(header.kind);
  chunk->ends_turn = header.ends_turn != 0;
  chunk->epoch = header.epoch;
  chunk->turn = header.turn;
  chunk->file = header.file;
  chunk->first_row = header.first_row;
  chunk->row_count = header.row_count;
  chunk->memory_bytes = header.memory_bytes;
  if (chunk->kind == SharedChunk::Kind::kError) {
    chunk->error =
        Status(static_cast<absl::StatusCode>(header.error_code), packet.substr(sizeof(header)));
    if (chunk->error.ok()) return false;
  }
  // Rows without memory, or memory without rows, are a broken packet.
  return (chunk->kind == SharedChunk::Kind::kRows) == chunk->memory.valid();
}

// Memory that may be mapped: it is as long as the packet says, and neither becomes shorter while it
// is read, which would end the process, nor changes after it was checked.
Status CheckMemory(int memory, int64_t bytes) {
  struct stat about {};
  if (fstat(memory, &about) != 0) {
    return SystemError("cannot look at rows that another worker of this host has decoded");
  }
  const int seals = S_ISREG(about.st_mode) ? fcntl(memory, F_GET_SEALS) : -1;
  if (bytes > 0 && about.st_size == bytes && seals >= 0 && (seals & kSeals) == kSeals) {
    return absl::OkStatus();
  }
  return absl::DataLossError(
      absl::StrCat("rows that another worker of this host has decoded are not sealed memory of ",
                   bytes, " bytes"));
}

// `type` with texts as bytes, also within lists, maps and dictionaries.
std::shared_ptr<arrow::DataType> WithoutTexts(const std::shared_ptr<arrow::DataType>& type) {
  if (type->id() == arrow::Type::STRING) return arrow::binary();
  if (type->id() == arrow::Type::LARGE_STRING) return arrow::large_binary();
  if (type->id() == arrow::Type::STRING_VIEW) return arrow::binary_view();
  const auto below = [&](int i) {
    return type->field(i)->WithType(WithoutTexts(type->field(i)->type()));
  };
  if (type->id() == arrow::Type::LIST) return arrow::list(below(0));
  if (type->id() == arrow::Type::LARGE_LIST) return arrow::large_list(below(0));
  if (type->id() == arrow::Type::MAP) return std::make_shared<arrow::MapType>(below(0));
  if (type->id() == arrow::Type::STRUCT) {
    arrow::FieldVector fields;
    for (int i = 0; i < type->num_fields(); ++i) fields.push_back(below(i));
    return arrow::struct_(fields);
  }
  if (type->id() != arrow::Type::DICTIONARY) return type;
  const auto& dictionary = static_cast<const arrow::DictionaryType&>(*type);
  return arrow::dictionary(dictionary.index_type(), WithoutTexts(dictionary.value_type()),
                           dictionary.ordered());
}

std::shared_ptr<arrow::ArrayData> WithoutTexts(const arrow::ArrayData& data) {
  std::shared_ptr<arrow::ArrayData> copy = data.Copy();
  copy->type = WithoutTexts(data.type);
  for (auto& child : copy->child_data) child = WithoutTexts(*child);
  if (copy->dictionary != nullptr) copy->dictionary = WithoutTexts(*copy->dictionary);
  return copy;
}

// Every offset and index of the columns lies within what it points into. Arrow's reader does not
// look. Texts count as bytes, because those of CSV files, and of Parquet files that others wrote,
// need not be UTF-8.
arrow::Status CheckRows(const arrow::RecordBatch& rows) {
  ARROW_RETURN_NOT_OK(rows.Validate());
  for (const auto& column : rows.columns()) {
    ARROW_RETURN_NOT_OK(arrow::MakeArray(WithoutTexts(*column->data()))->ValidateFull());
  }
  return arrow::Status::OK();
}

}  // namespace

Status SharedChunk::Open() {
  if (rows != nullptr) return absl::OkStatus();
  PEPNET_RETURN_IF_ERROR(CheckMemory(memory.get(), memory_bytes));
  // MAP_POPULATE maps all pages at once: every row of the chunk will be read, and a page fault each
  // would cost more.
  void* data = mmap(nullptr, static_cast<size_t>(memory_bytes), PROT_READ,
                    MAP_SHARED | MAP_POPULATE, memory.get(), 0);
  if (data == MAP_FAILED) {
    return SystemError("cannot map rows that another worker of this host has decoded");
  }
  // The mapping keeps the memory; a descriptor for each mapped chunk would run into the limit.
  memory = OwnedFd();
  const auto buffer =
      std::make_shared<MappedBuffer>(static_cast<const uint8_t*>(data), memory_bytes);
  const auto read = [&]() -> arrow::Status {
    // A worker of this program writes aligned numbers. Others could not be read where they are.
    arrow::ipc::IpcReadOptions options = arrow::ipc::IpcReadOptions::Defaults();
    options.ensure_alignment = arrow::ipc::Alignment::kDataTypeSpecificAlignment;
    ARROW_ASSIGN_OR_RAISE(auto reader,
                          arrow::ipc::RecordBatchStreamReader::Open(
                              std::make_shared<arrow::io::BufferReader>(buffer), options));
    ARROW_RETURN_NOT_OK(reader->ReadNext(&rows));
    // The rows are checked once, here: what reads the columns afterwards trusts their offsets and
    // indices.
    return rows == nullptr ? arrow::Status::OK() : CheckRows(*rows);
  };
  const arrow::Status status = read();
  if (!status.ok() || rows == nullptr || rows->num_rows() != row_count) {
    const int64_t found = status.ok() && rows != nullptr ? rows->num_rows() : 0;
    rows = nullptr;
    return absl::DataLossError(absl::StrCat(
        "rows that another worker of this host has decoded cannot be read: ",
        status.ok() ? absl::StrCat("expected ", row_count, ", found ", found) : status.message()));
  }
  return absl::OkStatus();
}

ChunkExchange::ChunkExchange(const ReaderGroup& group)
    : group_(group),
      stop_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      claim_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

ChunkExchange::~ChunkExchange() = default;

StatusOr<std::unique_ptr<ChunkExchange>> ChunkExchange::Join(const ReaderGroup& group) {
  std::unique_ptr<ChunkExchange> exchange(new ChunkExchange(group));
  PEPNET_RETURN_IF_ERROR(RaiseDescriptorLimit(group.count()));
  if (!exchange->stop_.valid() || !exchange->claim_.valid()) {
    return SystemError("cannot make an eventfd");
  }
  PEPNET_RETURN_IF_ERROR(exchange->Connect());
  return exchange;
}

// The time that the members have been waited for.
class ChunkExchange::Patience {
 public:
  explicit Patience(const ReaderGroup& group) : group_(group) {}
  // OK while a wait for `member` may go on.
  Status MayWaitFor(int member) const {
    if (group_.lost != nullptr) PEPNET_RETURN_IF_ERROR(group_.lost());
    const double waited = std::chrono::duration<double>(Clock::now() - start_).count();
    if (waited < group_.timeout_s) return absl::OkStatus();
    return absl::DeadlineExceededError(
        absl::StrCat("waited ", absl::SixDigits(waited), " s for ", group_.members[member],
                     ", on this host, to share the reading of the input files; --share_reader=off "
                     "lets each worker "
                     "read alone"));
  }

 private:
  using Clock = std::chrono::steady_clock;
  const ReaderGroup& group_;
  const Clock::time_point start_ = Clock::now();
};

Status ChunkExchange::Connect() {
  const Patience patience(group_);
  // Listening comes before connecting. Every member does both in this order, so each finds the
  // others' listeners sooner or later, and no order of starting can make a circle of waits.
  PEPNET_ASSIGN_OR_RETURN(FdListener listener,
                          FdListener::Listen(ListenerName(group_, group_.index), group_.count()));
  givers_.resize(group_.members.size());
  takers_.resize(group_.members.size());
  PEPNET_RETURN_IF_ERROR(FindGivers(patience));
  return AwaitTakers(patience, &listener);
}

Status ChunkExchange::FindGivers(const Patience& patience) {
  const Hello hello{kMagic, static_cast<uint32_t>(group_.index)};
  const std::string packet(reinterpret_cast<const char*>(&hello), sizeof(hello));
  for (int member = 0; member < group_.count(); ++member) {
    while (member != group_.index && !givers_[member].open()) {
      PEPNET_ASSIGN_OR_RETURN(std::optional<FdChannel> channel,
                              FdChannel::Connect(ListenerName(group_, member), packet));
      if (channel.has_value()) {
        givers_[member] = *std::move(channel);
        break;
      }
      PEPNET_RETURN_IF_ERROR(patience.MayWaitFor(member));  // it does not listen yet
      std::this_thread::sleep_for(kRetry);
    }
  }
  return absl::OkStatus();
}

Status ChunkExchange::AwaitTakers(const Patience& patience, FdListener* listener) {
  const auto missing = [&] {
    for (int member = 0; member < group_.count(); ++member) {
      if (member != group_.index && !takers_[member].channel.open()) return member;
    }
    return -1;
  };
  for (int member = missing(); member >= 0; member = missing()) {
    PEPNET_RETURN_IF_ERROR(patience.MayWaitFor(member));
    PEPNET_ASSIGN_OR_RETURN(std::optional<FdChannel> channel, listener->Accept(kRetry));
    // A connection that says nothing, or something else, is dropped: the name may be found by a
    // stranger.
    if (!channel.has_value() || !Readable(channel->fd(), kRetry * 10)) continue;
    Hello hello{};
    if (recv(channel->fd(), &hello, sizeof(hello), 0) != sizeof(hello) || hello.magic != kMagic ||
        hello.index >= takers_.size()) {
      continue;
    }
    takers_[hello.index].channel = *std::move(channel);
  }
  return absl::OkStatus();
}

Status ChunkExchange::Give(SharedChunk chunk) {
  OwnedFd memory;
  int64_t bytes = 0;
  if (chunk.kind == SharedChunk::Kind::kRows) {
    StatusOr<OwnedFd> made = MemoryOf(chunk, &bytes);
    if (made.ok()) {
      memory = std::move(made).value();
    } else {  // the others learn why, too
      chunk.kind = SharedChunk::Kind::kError;
      chunk.error = made.status();
    }
  }
  // The rows are copied before the wait, so that takers use that time to claim what they have been
  // given.
  PEPNET_RETURN_IF_ERROR(WaitForClaims());
  const std::string packet = PacketOf(chunk, bytes);
  for (Taker& taker : takers_) {
    if (!taker.channel.open()) continue;
    int error = taker.channel.Send(packet, memory.get());
    // Linux counts the descriptors on their way of all processes of a user. They become fewer when
    // others take theirs; a lack of memory passes as well.
    while (error == ETOOMANYREFS || error == ENOBUFS || error == ENOMEM) {
      if (Readable(stop_.get(), kRetry)) return Cancelled();
      error = taker.channel.Send(packet, memory.get());
    }
    if (error == EPIPE || error == ECONNRESET) {
      taker.channel.Close();  // it has gone, and needs no rows
    } else if (error != 0) {
      errno = error;
      return SystemError("cannot give rows to the other workers of this host");
    }
  }
  ++given_;
  Status status = chunk.error;
  {
    // Last: what this member takes itself, all others can take (see SharedRows).
    MutexLock lock(&mutex_);
    own_.push_back(std::move(chunk));
  }
  changed_.NotifyAll();
  return status;
}

bool ChunkExchange::TooManyUnclaimed() {
  for (const Taker& taker : takers_) {
    // A member that has gone claims nothing more and holds nobody up.
    if (taker.channel.open() && given_ - taker.claimed >= kUnclaimed) return true;
  }
  MutexLock lock(&mutex_);
  return given_ - own_claimed_ >= kUnclaimed;
}

Status ChunkExchange::WaitForClaims() {
  while (true) {
    std::vector<pollfd> entries = {{stop_.get(), POLLIN, 0}, {claim_.get(), POLLIN, 0}};
    for (const Taker& taker : takers_) entries.push_back({taker.channel.fd(), POLLIN, 0});
    // The claims so far are looked at before the poll: without a reason to wait, it only collects
    // claims that have come.
    const bool wait = TooManyUnclaimed();
    if (poll(entries.data(), entries.size(), wait ? -1 : 0) < 0 && errno != EINTR) {
      return SystemError("poll");
    }
    if (entries[0].revents != 0) return Cancelled();
    if (entries[1].revents != 0) {
      uint64_t ignored = 0;
      if (read(claim_.get(), &ignored, sizeof(ignored)) < 0 && errno != EAGAIN) {
        return SystemError("eventfd");
      }
    }
    for (size_t t = 0; t < takers_.size(); ++t) {
      if (entries[2 + t].revents == 0 || !takers_[t].channel.open()) continue;
      char claim = 0;
      // One claim is one byte. Several may have come; the loop takes one of each member a round.
      const ssize_t got = recv(takers_[t].channel.fd(), &claim, 1, MSG_DONTWAIT);
      if (got == 1) {
        ++takers_[t].claimed;
      } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
        takers_[t].channel.Close();
      }
    }
    if (!TooManyUnclaimed()) return absl::OkStatus();
  }
}

StatusOr<SharedChunk> ChunkExchange::Take(int member) {
  if (member == group_.index) {
    MutexLock lock(&mutex_);
    while (!stopped_ && own_.empty()) changed_.Wait(&mutex_);
    if (stopped_) return Cancelled();
    SharedChunk chunk = std::move(own_.front());
    own_.pop_front();
    ++own_claimed_;
    lock.Unlock();
    const uint64_t one = 1;
    // WaitForClaims() sleeps in poll() and is woken by this, as by the others' bytes.
    if (write(claim_.get(), &one, sizeof(one)) < 0 && errno != EAGAIN) {
      return SystemError("eventfd");
    }
    return chunk;
  }
  FdChannel& giver = givers_[member];
  pollfd entries[] = {{stop_.get(), POLLIN, 0}, {giver.fd(), POLLIN, 0}};
  while (poll(entries, 2, -1) < 0) {
    if (errno != EINTR) return SystemError("poll");
  }
  // Stop() wins over a chunk that has come: the caller is leaving.
  if (entries[0].revents != 0) return Cancelled();
  SharedChunk chunk;
  std::string packet;
  PEPNET_ASSIGN_OR_RETURN(const bool received,
                          giver.Receive(sizeof(ChunkHeader) + kMaxText, &packet, &chunk.memory));
  if (!received) {
    return absl::AbortedError(absl::StrCat(group_.members[member], ", on this host, has gone"));
  }
  if (!ParsePacket(packet, &chunk)) {
    return absl::DataLossError(absl::StrCat("a packet of ", packet.size(), " bytes from ",
                                            group_.members[member],
                                            ", on this host, is not a valid chunk of rows"));
  }
  const char claim = 1;
  // The claim is sent at once and not when the rows are used up: it says that the descriptor has
  // been received, which is what the bound counts.
  send(giver.fd(), &claim, 1, MSG_NOSIGNAL);  // a disconnected peer needs no claim
  return chunk;
}

void ChunkExchange::Stop() {
  {
    MutexLock lock(&mutex_);
    stopped_ = true;
  }
  changed_.NotifyAll();
  const uint64_t one = 1;
  if (write(stop_.get(), &one, sizeof(one)) < 0) return;  // it is readable already
}

}  // namespace pepnet
