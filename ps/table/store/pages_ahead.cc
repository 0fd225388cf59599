#include "ps/table/store/pages_ahead.h"

#include <sys/mman.h>

#include <algorithm>

#include "common/base/threads.h"

namespace pepnet {
namespace {

constexpr uintptr_t kPageBytes = 4096;
// The destructor waits for one piece at most.
constexpr uintptr_t kPieceBytes = uintptr_t{2} << 20;

}  // namespace

PagesAhead::PagesAhead(std::vector<std::span<uint8_t>> memory) {
  if (memory.empty()) return;
  thread_ = StartThread("pages", [this, memory = std::move(memory)] { Run(memory); });
}

PagesAhead::~PagesAhead() {
  stopped_ = true;
  if (thread_.joinable()) thread_.join();
}

void PagesAhead::Run(const std::vector<std::span<uint8_t>>& memory) {
#ifdef MADV_POPULATE_WRITE
  for (const std::span<uint8_t> part : memory) {
    // Whole pages within the part: what its first and last page hold beside it is not ours to take.
    const auto start = reinterpret_cast<uintptr_t>(part.data());
    const uintptr_t end = (start + part.size()) / kPageBytes * kPageBytes;
    for (uintptr_t at = (start + kPageBytes - 1) / kPageBytes * kPageBytes; at < end;) {
      if (stopped_) return;
      // Pieces end at multiples of 2 MiB, where large pages do.
      const uintptr_t next = std::min(end, at / kPieceBytes * kPieceBytes + kPieceBytes);
      if (madvise(reinterpret_cast<void*>(at), next - at, MADV_POPULATE_WRITE) != 0) return;
      at = next;
    }
  }
#else
  static_cast<void>(memory);
#endif
}

}  // namespace pepnet
