// The hardware on which mixed_precision "BF16" pays: GPUs, and CPUs with instructions for it.
// Elsewhere libtorch emulates bfloat16, many times slower than float32.
#pragma once

namespace pepnet {

// AVX512-BF16 or AMX-BF16.
bool CpuHasBf16();

}  // namespace pepnet
