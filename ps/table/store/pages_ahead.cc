#include "ps/table/store/pages_ahead.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "common/base/threads.h"

namespace pepnet {

#ifdef MADV_POPULATE_WRITE  // headers of glibc before 2.35 do not have it

PagesAhead::PagesAhead(std::vector<std::span<uint8_t>> memory) {
  if (memory.empty()) return;
  // Without a thread the memory is cleared when it is written, as ever.
  static_cast<void>(Caught([&] {
    thread_ = StartThread("pages", [this, memory = std::move(memory)] { Run(memory); });
    return absl::OkStatus();
  }));
}

void PagesAhead::Run(const std::vector<std::span<uint8_t>>& memory) {
  // The destructor waits for one piece at most. Pieces end where large pages do.
  constexpr uintptr_t kPieceBytes = uintptr_t{2} << 20;
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  for (const std::span<uint8_t> part : memory) {
    // Whole pages within the part: what its first and last page hold beside it is not ours to take.
    const auto start = reinterpret_cast<uintptr_t>(part.data());
    const uintptr_t end = (start + part.size()) / page * page;
    for (uintptr_t at = (start + page - 1) / page * page; at < end;) {
      if (stopped_) return;
      const uintptr_t next = std::min(end, at / kPieceBytes * kPieceBytes + kPieceBytes);
      if (madvise(reinterpret_cast<void*>(at), next - at, MADV_POPULATE_WRITE) != 0) return;
      at = next;
    }
  }
}

#else

PagesAhead::PagesAhead(std::vector<std::span<uint8_t>>) {}
void PagesAhead::Run(const std::vector<std::span<uint8_t>>&) {}

#endif

PagesAhead::~PagesAhead() {
  stopped_ = true;
  if (thread_.joinable()) thread_.join();
}

}  // namespace pepnet
