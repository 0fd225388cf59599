// FdChannel: packets between two processes of one host and user, each with up to one file
// descriptor, over a Unix socket.
//
// Names:    are abstract: they stand in no file system and go with the listener. Both ends belong
//           to the same user, or the connection is not made.
// Packets:  arrive whole and in order (SOCK_SEQPACKET).
// Threads:  one sends and one receives at a time.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>

#include "common/base/status.h"
#include "common/file/owned_fd.h"

namespace pepnet {

// Waits until `fd` can be read; false once nothing came within `wait`.
bool Readable(int fd, std::chrono::milliseconds wait);
// Unavailable, "<what>: <text of errno>".
Status SystemError(const std::string& what);

class FdChannel {
 public:
  FdChannel() = default;  // closed
  // Connects to the listener `name` and sends `hello`. nullopt if no process of this user listens
  // there yet, or it cannot take more at the moment: try again.
  static StatusOr<std::optional<FdChannel>> Connect(const std::string& name,
                                                    const std::string& hello);

  bool open() const { return socket_.valid(); }
  void Close() { (void)socket_.Close(); }
  int fd() const { return socket_.get(); }  // for poll(); -1 if closed

  // Sends one packet, with a descriptor if fd >= 0. Returns 0, or errno: EPIPE and ECONNRESET if
  // the peer has gone.
  int Send(const std::string& packet, int fd);
  // Waits for one packet of at most max_bytes (more are cut off) and the descriptor that came with
  // it, if one did. False if the peer has gone.
  StatusOr<bool> Receive(size_t max_bytes, std::string* packet, OwnedFd* fd);

 private:
  friend class FdListener;
  explicit FdChannel(OwnedFd socket) : socket_(std::move(socket)) {}
  OwnedFd socket_;
};

class FdListener {
 public:
  // `waiting`: how many connections may wait for Accept().
  static StatusOr<FdListener> Listen(const std::string& name, int waiting);
  // The next connection of a process of this user; nullopt if none came within `wait`.
  StatusOr<std::optional<FdChannel>> Accept(std::chrono::milliseconds wait);

 private:
  explicit FdListener(OwnedFd socket) : socket_(std::move(socket)) {}
  OwnedFd socket_;
};

}  // namespace pepnet
