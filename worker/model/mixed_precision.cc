#include "worker/model/mixed_precision.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace pepnet {

bool CpuHasBf16() {
#if defined(__x86_64__)
  // __builtin_cpu_supports() also asks whether the system saves the registers. Every CPU with
  // AMX-BF16 has AVX512.
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx512f")) return false;
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  const bool avx512_bf16 =
      __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax >> 5 & 1) != 0;
  const bool amx_bf16 =
      __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (edx >> 22 & 1) != 0;
  return avx512_bf16 || amx_bf16;
#else
  return false;
#endif
}

}  // namespace pepnet
