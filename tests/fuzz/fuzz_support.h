// The common part of the fuzz targets: an input taken apart, a file without a place, and what every
// refusal must look like.
//
// A target is a file NAME_fuzz.cc with LLVMFuzzerTestOneInput(). It is deterministic, knows nothing
// of the inputs before, and leaves no files behind. Its corpus is tests/fuzz/corpus/NAME. Two
// programs are made of it: libFuzzer's (preset `fuzz`, scripts/fuzz.sh) and, in every test build,
// one with replay_main.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "common/base/status.h"
#include "common/file/owned_fd.h"

namespace pepnet {

// Takes values from the front of an input. Behind its end everything is zero or empty.
class FuzzInput {
 public:
  FuzzInput(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  bool empty() const { return size_ == 0; }
  // An integer or enum of the input's bytes, little-endian.
  template <typename T>
  T Take() {
    T value{};
    const size_t bytes = sizeof(T) < size_ ? sizeof(T) : size_;
    if (bytes > 0) std::memcpy(&value, data_, bytes);  // data_ may be null where there is nothing
    Advance(bytes);
    return value;
  }
  // At most `bytes` of what is left.
  std::string TakeBytes(size_t bytes);
  std::string TakeRest() { return TakeBytes(size_); }

 private:
  void Advance(size_t bytes) {
    data_ += bytes;
    size_ -= bytes;
  }
  const uint8_t* data_;
  size_t size_;
};

// A regular file in memory for interfaces that take a path; it goes with the object.
class MemoryFile {
 public:
  // Ends the process if there is no memory.
  explicit MemoryFile(const std::string& contents);
  int fd() const { return fd_.get(); }
  // The path is directory() + "/" + name().
  static const char* directory() { return "/proc/self/fd"; }
  std::string name() const;
  std::string path() const;

 private:
  OwnedFd fd_;
};

// Ends the process, which is a finding, unless `status` is OK or one sentence: not empty, and of a
// length that can be read.
void ExpectClear(const Status& status);
// Ends the process, which is a finding, if `holds` is false; `what` says what should have held.
void Expect(bool holds, const char* what);

}  // namespace pepnet
