#include "tests/fuzz/fuzz_support.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace pepnet {
namespace {

constexpr size_t kMaxMessageBytes = 8192;

}  // namespace

std::string FuzzInput::TakeBytes(size_t bytes) {
  bytes = bytes < size_ ? bytes : size_;
  std::string taken(reinterpret_cast<const char*>(data_), bytes);
  Advance(bytes);
  return taken;
}

MemoryFile::MemoryFile(const std::string& contents)
    : fd_(memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING)) {
  size_t written = 0;
  while (fd_.valid() && written < contents.size()) {
    const ssize_t count = write(fd_.get(), contents.data() + written, contents.size() - written);
    if (count <= 0) break;
    written += static_cast<size_t>(count);
  }
  Expect(fd_.valid() && written == contents.size(), "a file in memory can be made");
}

std::string MemoryFile::name() const { return std::to_string(fd_.get()); }

std::string MemoryFile::path() const { return absl::StrCat(directory(), "/", name()); }

void ExpectClear(const Status& status) {
  if (status.ok()) return;
  const size_t bytes = status.message().size();
  if (bytes > 0 && bytes <= kMaxMessageBytes) return;
  std::fprintf(stderr, "an error message of %zu bytes, expected 1 to %zu: %.200s\n", bytes,
               kMaxMessageBytes, std::string(status.message()).c_str());
  std::abort();
}

void Expect(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "expected: %s\n", what);
  std::abort();
}

}  // namespace pepnet
