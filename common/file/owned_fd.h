// OwnedFd: a file descriptor that is closed with the object: on every way out of a function, also
// by an error.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <utility>

namespace pepnet {

class OwnedFd {
 public:
  OwnedFd() = default;
  // `fd`: what open() and its like return; negative: none.
  explicit OwnedFd(int fd) : fd_(fd) {}
  OwnedFd(OwnedFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  OwnedFd& operator=(OwnedFd&& other) noexcept {
    if (this != &other) {
      (void)Close();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~OwnedFd() { (void)Close(); }

  bool valid() const { return fd_ >= 0; }
  int get() const { return fd_; }  // -1 if there is none
  // Closes now. Returns 0, or the errno of close(), which may hold back an error of earlier writes
  // until then.
  int Close() {
    const int fd = std::exchange(fd_, -1);
    return fd < 0 || ::close(fd) == 0 ? 0 : errno;
  }

 private:
  int fd_ = -1;
};

}  // namespace pepnet
