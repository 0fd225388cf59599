#include "worker/data/rows/fd_channel.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace pepnet {
namespace {

struct Address {
  sockaddr_un address{};
  socklen_t length = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }
};

Address AddressOf(const std::string& name) {
  Address result;
  result.address.sun_family = AF_UNIX;
  // A name that is too long is cut alike on both ends, so they still meet.
  const size_t size = std::min(name.size(), sizeof(result.address.sun_path) - 1);
  // The leading zero byte makes the name abstract.
  std::memcpy(result.address.sun_path + 1, name.data(), size);
  result.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + size);
  return result;
}

// The kernel vouches for the peer's user; nothing that the peer sends does.
bool OfThisUser(int socket) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == geteuid();
}

}  // namespace

bool Readable(int fd, std::chrono::milliseconds wait) {
  pollfd entry{fd, POLLIN, 0};
  return poll(&entry, 1, static_cast<int>(wait.count())) > 0;
}

Status SystemError(const std::string& what) {
  return absl::UnavailableError(absl::StrCat(what, ": ", std::strerror(errno)));
}

StatusOr<std::optional<FdChannel>> FdChannel::Connect(const std::string& name,
                                                      const std::string& hello) {
  const Address address = AddressOf(name);
  // The socket does not block until it is connected: a full queue of the listener must not hold the
  // caller. All three failures mean "try again": nobody listens yet, a stranger listens, or the
  // listener has gone.
  FdChannel channel(OwnedFd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)));
  if (!channel.open()) return SystemError("cannot make a socket");
  if (connect(channel.fd(), address.get(), address.length) != 0 || !OfThisUser(channel.fd()) ||
      channel.Send(hello, -1) != 0) {
    return std::nullopt;
  }
  if (fcntl(channel.fd(), F_SETFL, 0) != 0) return SystemError("cannot set up a socket");
  return channel;
}

int FdChannel::Send(const std::string& packet, int fd) {
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
    // With MSG_NOSIGNAL a peer that has gone is an error to handle, not a signal that ends the
    // process.
    sent = sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return errno;
  return sent == static_cast<ssize_t>(packet.size()) ? 0 : EIO;  // packets are sent whole
}

StatusOr<bool> FdChannel::Receive(size_t max_bytes, std::string* packet, OwnedFd* fd) {
  packet->resize(max_bytes);
  iovec part{packet->data(), packet->size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ssize_t got = 0;
  // A member that closes with claims unread resets the connection, which is reported once, before
  // the packets that still wait.
  do {
    // With MSG_CMSG_CLOEXEC a program that is started at this moment does not inherit the
    // descriptor.
    got = recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && (errno == EINTR || errno == ECONNRESET));
  if (got < 0) return SystemError("cannot receive rows of another worker");
  for (cmsghdr* head = CMSG_FIRSTHDR(&message); got > 0 && head != nullptr;
       head = CMSG_NXTHDR(&message, head)) {
    if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
    // There is room for a second one, for alignment: what a peer puts there is closed, or it would
    // stay open for ever.
    const size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int received = -1;
      std::memcpy(&received, CMSG_DATA(head) + i * sizeof(int), sizeof(int));
      OwnedFd owned(received);
      if (i == 0) *fd = std::move(owned);
    }
  }
  packet->resize(static_cast<size_t>(got));
  return got > 0;
}

StatusOr<FdListener> FdListener::Listen(const std::string& name, int waiting) {
  FdListener listener(OwnedFd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)));
  if (!listener.socket_.valid()) return SystemError("cannot make a socket");
  const Address address = AddressOf(name);
  if (bind(listener.socket_.get(), address.get(), address.length) != 0 ||
      listen(listener.socket_.get(), waiting) != 0) {
    return SystemError("cannot listen for the other workers of this host");
  }
  return listener;
}

StatusOr<std::optional<FdChannel>> FdListener::Accept(std::chrono::milliseconds wait) {
  if (!Readable(socket_.get(), wait)) return std::nullopt;
  FdChannel channel(OwnedFd(accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC)));
  // A lack of descriptors is for the user to mend; all other failures are those of one connection.
  if (!channel.open() && (errno == EMFILE || errno == ENFILE)) {
    return SystemError("cannot take the connection of another worker of this host");
  }
  if (!channel.open() || !OfThisUser(channel.fd())) return std::nullopt;
  return channel;
}

}  // namespace pepnet
