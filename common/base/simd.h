// PEPNET_SIMD_CLONES: compiles a function once for every x86-64 and once for AVX2; the loader
// picks. Values do not depend on the choice: the loops are element by element, and contraction to
// multiply-add is off in the whole build.
#pragma once

// The sanitizers' runtimes are not up yet when the loader asks which clone to take.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(PEPNET_SANITIZED)
#define PEPNET_SIMD_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define PEPNET_SIMD_CLONES
#endif

// For the bodies that clones share: each clone needs its own copy.
#define PEPNET_SIMD_INLINE [[gnu::always_inline]] inline
