// Kernels in one variant for each instruction set. Which one runs is decided by the processor at
// run time, not by the one that compiled.
//
// target_clones would not do, because the length of vectors and the tile of a matrix product depend
// on the registers that there are.
#pragma once

#include <type_traits>

#include "inline.h"

#if defined(__GNUC__) && defined(__x86_64__)
#define FAIRSEQ_ECG_X86
#endif

namespace fairseq_ecg::cpu {

enum class Instructions { kBase, kAVX2, kAVX512 };  // AVX2 comes with FMA, AVX-512 with both

// What this processor has, at most what the environment variable FAIRSEQ_ECG_CPU (base, avx2 or
// avx512) allows.
Instructions instructions();

// Whether a multiplication and an addition may become one instruction. The build allows it nowhere,
// because random numbers are promised bit by bit; kernels of which no bits are promised may.
enum class Arithmetic { kExact, kFused };

#define FAIRSEQ_ECG_VARIANT(name, lanes, ...)                                            \
  template <class Kernel, class... Arguments>                                            \
  __attribute__((__VA_ARGS__)) auto name(Kernel kernel, const Arguments&... arguments) { \
    return kernel(std::integral_constant<int, lanes>{}, arguments...);                   \
  }

#ifdef FAIRSEQ_ECG_X86
#ifdef __clang__
#define FAIRSEQ_ECG_FUSED(set) target(set)
#else
#define FAIRSEQ_ECG_FUSED(set) target(set), optimize("fp-contract=fast")
#endif
FAIRSEQ_ECG_VARIANT(exact_avx2, 8, target("avx2,fma"))
FAIRSEQ_ECG_VARIANT(exact_avx512, 16, target("avx512f,fma"))
FAIRSEQ_ECG_VARIANT(fused_avx2, 8, FAIRSEQ_ECG_FUSED("avx2,fma"))
FAIRSEQ_ECG_VARIANT(fused_avx512, 16, FAIRSEQ_ECG_FUSED("avx512f,fma"))
#undef FAIRSEQ_ECG_FUSED
#endif
#undef FAIRSEQ_ECG_VARIANT

// A function for dispatch(): one that depends on kLanes, how many floats a register holds.
#define VARIANTS(...)                                                       \
  [](auto lanes, const auto&... arguments) __attribute__((always_inline)) { \
    [[maybe_unused]] constexpr int kLanes = lanes;                          \
    return __VA_ARGS__(arguments...);                                       \
  }

// Calls the variant of a kernel for this processor.
template <Arithmetic kArithmetic, class Kernel, class... Arguments>
INLINE auto dispatch(Kernel kernel, const Arguments&... arguments) {
  switch (instructions()) {
#ifdef FAIRSEQ_ECG_X86
    case Instructions::kAVX512:
      if constexpr (kArithmetic == Arithmetic::kFused) return fused_avx512(kernel, arguments...);
      return exact_avx512(kernel, arguments...);
    case Instructions::kAVX2:
      if constexpr (kArithmetic == Arithmetic::kFused) return fused_avx2(kernel, arguments...);
      return exact_avx2(kernel, arguments...);
#endif
    default:
      return kernel(std::integral_constant<int, 4>{}, arguments...);
  }
}

}  // namespace fairseq_ecg::cpu
