#include "worker/data/rows/chunk_exchange.h"

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
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include "common/process/trace.h"

namespace pepnet {
namespace {

constexpr uint32_t kMagic = 0x31434b43;  // "CKC1"
constexpr size_t kMaxText = 16384;       // of an error in one packet
constexpr std::chrono::milliseconds kRetry(20);

struct Hello {
  uint32_t magic;
  uint32_t index;
};

struct ChunkHeader {
  uint32_t magic;
  uint32_t kind;
  int64_t epoch, turn, file, first_row, row_count, memory_bytes;
  int32_t ends_turn;
  int32_t error_code;
};

Status SystemError(const std::string& what) {
  return absl::UnavailableError(absl::StrCat(what, ": ", std::strerror(errno)));
}

// Chunks travel as descriptors, of which Linux lets no more be under way, for all processes of a user, than one process may have
// open. The loaders of `count` members may have so many under way that nobody takes yet.
Status RaiseDescriptorLimit(int count) {
  const rlim_t needed = 2 * static_cast<rlim_t>(count) * static_cast<rlim_t>(count - 1) * ChunkExchange::kUnclaimed;
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return SystemError("cannot read the limit of open files");
  if (limit.rlim_cur >= needed || geteuid() == 0) return absl::OkStatus();
  const rlim_t before = limit.rlim_cur;
  limit.rlim_cur = limit.rlim_max;
  if (limit.rlim_max >= needed && setrlimit(RLIMIT_NOFILE, &limit) == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("this process may have ", before, " files open (at most ", limit.rlim_max, "), ", count,
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
    ARROW_ASSIGN_OR_RAISE(auto out, arrow::io::FileOutputStream::Open(dup(fd)));  // closes its descriptor
    auto options = arrow::ipc::IpcWriteOptions::Defaults();
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
      "cannot put ", rows.num_rows(), " rows into memory shared with the other workers of this host: ",
      status.message(), "; give the host more memory, or let each worker read alone with --share_reader=off"));
}

// Puts the rows of `chunk` into a memory file.
StatusOr<OwnedFd> MemoryOf(const SharedChunk& chunk, int64_t* bytes) {
  TraceScope scope("share rows");
  OwnedFd memory(memfd_create("pepnet-rows", MFD_CLOEXEC));
  if (memory.get() < 0) return SystemError("cannot make shared memory for decoded rows");
  PEPNET_RETURN_IF_ERROR(WriteRows(*chunk.rows, memory.get()));
  *bytes = lseek(memory.get(), 0, SEEK_END);
  return memory;
}

sockaddr_un AddressOf(const ReaderGroup& group, int index, socklen_t* length) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = absl::StrCat("pepnet-", group.name, "-", index);
  const size_t size = std::min(name.size(), sizeof(address.sun_path) - 1);
  std::memcpy(address.sun_path + 1, name.data(), size);  // the leading zero byte makes the name abstract
  *length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + size);
  return address;
}

bool OfThisUser(int socket) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == geteuid();
}

// Waits until `fd` can be read; false once nothing came within `wait`.
bool Readable(int fd, std::chrono::milliseconds wait) {
  pollfd entry{fd, POLLIN, 0};
  return poll(&entry, 1, static_cast<int>(wait.count())) > 0;
}

// Sends one packet, with a descriptor if fd >= 0. Returns 0, or errno.
int SendPacket(int socket, const std::string& packet, int fd) {
  iovec part{const_cast<char*>(packet.data()), packet.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  if (fd >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(head), &fd, sizeof(int));
  }
  ssize_t sent = 0;
  do {
    sent = sendmsg(socket, &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return errno;
  return sent == static_cast<ssize_t>(packet.size()) ? 0 : EIO;  // packets are sent whole
}

// Receives one packet and the descriptor that came with it. False if the peer has gone.
StatusOr<bool> ReceivePacket(int socket, std::string* packet, OwnedFd* fd) {
  packet->resize(sizeof(ChunkHeader) + kMaxText);
  iovec part{packet->data(), packet->size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ssize_t got = 0;
  // Whoever closes with claims unread resets the connection, which is reported once, before the packets that still wait.
  do {
    got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && (errno == EINTR || errno == ECONNRESET));
  if (got < 0) return SystemError("cannot receive rows of another worker");
  for (cmsghdr* head = CMSG_FIRSTHDR(&message); got > 0 && head != nullptr; head = CMSG_NXTHDR(&message, head)) {
    if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
    int received = -1;
    std::memcpy(&received, CMSG_DATA(head), sizeof(int));
    *fd = OwnedFd(received);
  }
  packet->resize(static_cast<size_t>(got));
  return got > 0;
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
  if (header.magic != kMagic) return false;
  chunk->kind = static_cast<SharedChunk::Kind>(header.kind);
  chunk->ends_turn = header.ends_turn != 0;
  chunk->epoch = header.epoch;
  chunk->turn = header.turn;
  chunk->file = header.file;
  chunk->first_row = header.first_row;
  chunk->row_count = header.row_count;
  chunk->memory_bytes = header.memory_bytes;
  if (chunk->kind == SharedChunk::Kind::kError) {
    chunk->error = Status(static_cast<absl::StatusCode>(header.error_code), packet.substr(sizeof(header)));
  }
  return (chunk->kind == SharedChunk::Kind::kRows) == (chunk->memory.get() >= 0);
}

}  // namespace

OwnedFd& OwnedFd::operator=(OwnedFd&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

OwnedFd::~OwnedFd() {
  if (fd_ >= 0) close(fd_);
}

Status SharedChunk::Open() {
  if (rows != nullptr) return absl::OkStatus();
  void* data = mmap(nullptr, static_cast<size_t>(memory_bytes), PROT_READ, MAP_SHARED | MAP_POPULATE, memory.get(), 0);
  if (data == MAP_FAILED) return SystemError("cannot map rows that another worker of this host has decoded");
  memory = OwnedFd();
  const auto buffer = std::make_shared<MappedBuffer>(static_cast<const uint8_t*>(data), memory_bytes);
  const auto read = [&]() -> arrow::Status {
    ARROW_ASSIGN_OR_RAISE(auto reader,
                          arrow::ipc::RecordBatchStreamReader::Open(std::make_shared<arrow::io::BufferReader>(buffer)));
    return reader->ReadNext(&rows);
  };
  const arrow::Status status = read();
  if (!status.ok() || rows == nullptr || rows->num_rows() != row_count) {
    return absl::DataLossError(
        absl::StrCat("rows that another worker of this host has decoded cannot be read: ", status.message()));
  }
  return absl::OkStatus();
}

ChunkExchange::ChunkExchange(const ReaderGroup& group)
    : group_(group), stop_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), claim_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

ChunkExchange::~ChunkExchange() = default;

StatusOr<std::unique_ptr<ChunkExchange>> ChunkExchange::Join(const ReaderGroup& group) {
  std::unique_ptr<ChunkExchange> exchange(new ChunkExchange(group));
  PEPNET_RETURN_IF_ERROR(RaiseDescriptorLimit(group.count()));
  if (exchange->stop_.get() < 0 || exchange->claim_.get() < 0) return SystemError("cannot make an eventfd");
  PEPNET_RETURN_IF_ERROR(exchange->Connect());
  return exchange;
}

Status ChunkExchange::Connect() {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  // OK while a wait for `member` may go on.
  const auto may_wait = [&](int member) -> Status {
    if (group_.lost != nullptr) PEPNET_RETURN_IF_ERROR(group_.lost());
    const double waited = std::chrono::duration<double>(Clock::now() - start).count();
    if (waited < group_.timeout_s) return absl::OkStatus();
    return absl::DeadlineExceededError(
        absl::StrCat("waited ", absl::SixDigits(waited), " s for ", group_.members[member],
                     ", on this host, to share the reading of the input files; --share_reader=off lets each worker "
                     "read alone"));
  };
  const OwnedFd listener(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (listener.get() < 0) return SystemError("cannot make a socket");
  socklen_t length = 0;
  const sockaddr_un own = AddressOf(group_, group_.index, &length);
  if (bind(listener.get(), reinterpret_cast<const sockaddr*>(&own), length) != 0 ||
      listen(listener.get(), group_.count()) != 0) {
    return SystemError("cannot listen for the other workers of this host");
  }
  givers_.resize(group_.members.size());
  takers_.resize(group_.members.size());
  for (int member = 0; member < group_.count(); ++member) {
    if (member == group_.index) continue;
    const sockaddr_un address = AddressOf(group_, member, &length);
    while (true) {
      // Not blocking until it stands: a full queue of the listener must not hold the wait.
      OwnedFd connection(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      if (connection.get() < 0) return SystemError("cannot make a socket");
      const Hello hello{kMagic, static_cast<uint32_t>(group_.index)};
      if (connect(connection.get(), reinterpret_cast<const sockaddr*>(&address), length) == 0 &&
          OfThisUser(connection.get()) &&
          SendPacket(connection.get(), std::string(reinterpret_cast<const char*>(&hello), sizeof(hello)), -1) == 0) {
        if (fcntl(connection.get(), F_SETFL, 0) != 0) return SystemError("cannot set up a socket");
        givers_[member] = std::move(connection);
        break;
      }
      PEPNET_RETURN_IF_ERROR(may_wait(member));  // it does not listen yet
      std::this_thread::sleep_for(kRetry);
    }
  }
  const auto missing = [&] {
    for (int member = 0; member < group_.count(); ++member) {
      if (member != group_.index && takers_[member].socket.get() < 0) return member;
    }
    return -1;
  };
  for (int member = missing(); member >= 0; member = missing()) {
    PEPNET_RETURN_IF_ERROR(may_wait(member));
    if (!Readable(listener.get(), kRetry)) continue;
    OwnedFd connection(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (connection.get() < 0 && (errno == EMFILE || errno == ENFILE)) {
      return SystemError("cannot take the connection of another worker of this host");
    }
    if (connection.get() < 0 || !OfThisUser(connection.get()) || !Readable(connection.get(), kRetry * 10)) continue;
    Hello hello{};
    if (recv(connection.get(), &hello, sizeof(hello), 0) != sizeof(hello) || hello.magic != kMagic ||
        hello.index >= takers_.size()) {
      continue;
    }
    takers_[hello.index].socket = std::move(connection);
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
  PEPNET_RETURN_IF_ERROR(WaitForClaims());
  const std::string packet = PacketOf(chunk, bytes);
  for (Taker& taker : takers_) {
    if (taker.socket.get() < 0) continue;
    int error = SendPacket(taker.socket.get(), packet, memory.get());
    // Linux counts the descriptors on their way of all processes of a user. They become fewer when others take theirs.
    while (error == ETOOMANYREFS || error == ENOBUFS || error == ENOMEM) {
      if (Readable(stop_.get(), kRetry)) return Cancelled();
      error = SendPacket(taker.socket.get(), packet, memory.get());
    }
    if (error == EPIPE || error == ECONNRESET) {
      taker.socket = OwnedFd();  // it has gone, and needs no rows
    } else if (error != 0) {
      errno = error;
      return SystemError("cannot give rows to the other workers of this host");
    }
  }
  ++given_;
  const Status status = chunk.error;
  {
    // Last: what this member takes itself, all others can take (see SharedRows).
    const std::lock_guard<std::mutex> lock(mutex_);
    own_.push_back(std::move(chunk));
  }
  changed_.notify_all();
  return status;
}

bool ChunkExchange::TooManyUnclaimed() {
  for (const Taker& taker : takers_) {
    if (taker.socket.get() >= 0 && given_ - taker.claimed >= kUnclaimed) return true;
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  return given_ - own_claimed_ >= kUnclaimed;
}

Status ChunkExchange::WaitForClaims() {
  while (true) {
    std::vector<pollfd> entries = {{stop_.get(), POLLIN, 0}, {claim_.get(), POLLIN, 0}};
    for (const Taker& taker : takers_) entries.push_back({taker.socket.get(), POLLIN, 0});
    const bool wait = TooManyUnclaimed();
    if (poll(entries.data(), entries.size(), wait ? -1 : 0) < 0 && errno != EINTR) return SystemError("poll");
    if (entries[0].revents != 0) return Cancelled();
    if (entries[1].revents != 0) {
      uint64_t ignored = 0;
      if (read(claim_.get(), &ignored, sizeof(ignored)) < 0 && errno != EAGAIN) return SystemError("eventfd");
    }
    for (size_t t = 0; t < takers_.size(); ++t) {
      if (entries[2 + t].revents == 0 || takers_[t].socket.get() < 0) continue;
      char claim = 0;
      const ssize_t got = recv(takers_[t].socket.get(), &claim, 1, MSG_DONTWAIT);
      if (got == 1) {
        ++takers_[t].claimed;
      } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
        takers_[t].socket = OwnedFd();
      }
    }
    if (!TooManyUnclaimed()) return absl::OkStatus();
  }
}

StatusOr<SharedChunk> ChunkExchange::Take(int member) {
  if (member == group_.index) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return stopped_ || !own_.empty(); });
    if (stopped_) return Cancelled();
    SharedChunk chunk = std::move(own_.front());
    own_.pop_front();
    ++own_claimed_;
    lock.unlock();
    const uint64_t one = 1;
    if (write(claim_.get(), &one, sizeof(one)) < 0 && errno != EAGAIN) return SystemError("eventfd");
    return chunk;
  }
  const int socket = givers_[member].get();
  pollfd entries[] = {{stop_.get(), POLLIN, 0}, {socket, POLLIN, 0}};
  while (poll(entries, 2, -1) < 0) {
    if (errno != EINTR) return SystemError("poll");
  }
  if (entries[0].revents != 0) return Cancelled();
  SharedChunk chunk;
  std::string packet;
  PEPNET_ASSIGN_OR_RETURN(const bool received, ReceivePacket(socket, &packet, &chunk.memory));
  if (!received) {
    return absl::AbortedError(absl::StrCat(group_.members[member], ", on this host, has gone"));
  }
  if (!ParsePacket(packet, &chunk)) {
    return absl::DataLossError(absl::StrCat("a packet of ", packet.size(), " bytes from ", group_.members[member],
                                            ", on this host, is no chunk of rows"));
  }
  const char claim = 1;
  send(socket, &claim, 1, MSG_NOSIGNAL);  // who has gone needs no claims
  return chunk;
}

void ChunkExchange::Stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopped_ = true;
  }
  changed_.notify_all();
  const uint64_t one = 1;
  if (write(stop_.get(), &one, sizeof(one)) < 0) return;  // it is readable already
}

}  // namespace pepnet
