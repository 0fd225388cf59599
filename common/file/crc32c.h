// CRC-32C (Castagnoli), as in iSCSI and LevelDB; hardware instruction where the CPU has it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pepnet {

// Extends `crc` (0 for the empty string) by `bytes` bytes.
uint32_t ExtendCrc32c(uint32_t crc, const void* data, size_t bytes);
// The same without the instruction: what other CPUs run, and what tests compare with.
uint32_t ExtendCrc32cPortable(uint32_t crc, const void* data, size_t bytes);

}  // namespace pepnet
