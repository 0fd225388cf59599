// KeepFreedMemory: the process keeps memory that it has freed, up to 256 MB, instead of giving it
// back at once. Messages of megabytes are made and freed in every step; memory that comes from the
// system each time is found and cleared page by page.
//
// Called once, by main(), before anything else. Single blocks of more than 32 MB (tables) still go
// back when they are freed.
#pragma once

#include <malloc.h>

namespace pepnet {

inline void KeepFreedMemory() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 256 << 20);
}

}  // namespace pepnet
