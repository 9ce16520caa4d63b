// What CPU kernels share: vectors of 4, 8 or 16 numbers, which the compiler turns into the
// registers that there are, and the layout of matrices.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "inline.h"

namespace fairseq_ecg::cpu {

// Lines of matrices start at multiples of this many floats.
constexpr int64_t kCacheLine = 16;

INLINE int64_t rounded_up(int64_t number, int64_t step) {
  return (number + step - 1) / step * step;
}

// Pads a line to an odd number of cache lines, so that the same column of many lines does not
// compete for the same set of them.
inline int64_t pitch_of(int64_t width) {
  return (rounded_up(width, kCacheLine) / kCacheLine | 1) * kCacheLine;
}

template <int kLanes>
struct Registers;

template <>
struct Registers<4> {
  typedef float Floats __attribute__((vector_size(16)));
  typedef int32_t Ints __attribute__((vector_size(16)));
};

template <>
struct Registers<8> {
  typedef float Floats __attribute__((vector_size(32)));
  typedef int32_t Ints __attribute__((vector_size(32)));
};

template <>
struct Registers<16> {
  typedef float Floats __attribute__((vector_size(64)));
  typedef int32_t Ints __attribute__((vector_size(64)));
};

template <int kLanes>
struct Vectors {
  using Floats = typename Registers<kLanes>::Floats;
  using Ints = typename Registers<kLanes>::Ints;

  // As many sums as hide the time that one addition takes.
  static constexpr int kTogether = 8;

  static INLINE Floats load(const float* from) {
    Floats floats;
    std::memcpy(&floats, from, sizeof floats);
    return floats;
  }

  // The first numbers of a vector, zeros behind them.
  static INLINE Floats load_first(const float* from, int64_t count) {
    Floats floats = {};
    std::memcpy(&floats, from, count * sizeof(float));
    return floats;
  }

  static INLINE void store(float* to, const Floats& floats) {
    std::memcpy(to, &floats, sizeof floats);
  }

  static INLINE Floats all(float value) { return value - Floats{}; }

  static INLINE float sum(const Floats& floats) {
    float total = 0;
    for (int lane = 0; lane < kLanes; ++lane) total += floats[lane];
    return total;
  }

  static INLINE float max(const Floats& floats) {
    float highest = floats[0];
    for (int lane = 1; lane < kLanes; ++lane) highest = std::max(highest, floats[lane]);
    return highest;
  }

  static INLINE bool any(const Ints& mask) {
    int32_t bits = 0;
    for (int lane = 0; lane < kLanes; ++lane) bits |= mask[lane];
    return bits != 0;
  }

  // Products of one line with kCount others.
  template <int kCount>
  static INLINE void dots(const float* one, const float* const* others, int64_t width, float* out) {
    const int64_t whole = width / kLanes * kLanes, rest = width - whole;
    Floats products[kCount] = {};
    for (int64_t c = 0; c < whole; c += kLanes) {
      const Floats factor = load(one + c);
#pragma GCC unroll 8
      for (int k = 0; k < kCount; ++k) products[k] += factor * load(others[k] + c);
    }
    if (rest != 0) {
      const Floats factor = load_first(one + whole, rest);
      for (int k = 0; k < kCount; ++k) products[k] += factor * load_first(others[k] + whole, rest);
    }
#pragma GCC unroll 8
    for (int k = 0; k < kCount; ++k) out[k] = sum(products[k]);
  }

  static INLINE float dot(const float* one, const float* other, int64_t width) {
    float product;
    dots<1>(one, &other, width, &product);
    return product;
  }

  // e^power for powers <= 0 to 2 ulp; below -87, where floats end, e^-87. NaN stays NaN.
  static INLINE Floats exp(const Floats& power) {
    const Floats x = power < -87.0f ? all(-87.0f) : power;
    // Adding 1.5 * 2^23 leaves the rounded number in the lowest bits.
    const Floats shifted = x * 1.44269504088896341f + 12582912.0f;
    const Floats whole = shifted - 12582912.0f;
    const Floats r = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
    Floats series = all(1.9875691500e-4f);
    series = series * r + 1.3981999507e-3f;
    series = series * r + 8.3334519073e-3f;
    series = series * r + 4.1665795894e-2f;
    series = series * r + 1.6666665459e-1f;
    series = series * r + 5.0000001201e-1f;
    series = series * r * r + r + 1.0f;
    return series * (Floats)(((Ints)shifted << 23) + (127 << 23));
  }
};

}  // namespace fairseq_ecg::cpu
