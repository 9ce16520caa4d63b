// The random numbers of all kernels: Philox4x32-10 and what its words are turned into.
// fairseq_ecg/ops/philox/README.md states the contract and derives the polynomials.
//
// Floating point is single additions and multiplications, never fused, square roots and integers:
// every backend computes the same bits. The host compiles with -ffp-contract=off.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "inline.h"

namespace fairseq_ecg::philox {

struct Words {
  uint32_t x, y, z, w;
};

// Columns of a row of origins: where the random numbers of one segment start.
constexpr int64_t kSeed = 0, kEpoch = 1, kRecord = 2, kSegment = 3, kOriginColumns = 4;

// The lane of what a recording has but once.
constexpr uint32_t kCommonLane = 255;

// One sequence of random numbers; four of them share a block.
struct Sequence {
  uint32_t key[2];
  uint32_t record;
  uint32_t epoch;
  uint32_t purpose;  // segment, stream and lane
};

// The sequence of a seed alone, and of one of its records.
INLINE Sequence sequence(uint64_t seed, uint32_t record = 0) {
  return {{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)}, record, 0, 0};
}

INLINE Sequence sequence(const int64_t* origin, uint32_t stream, uint32_t lane) {
  const uint64_t seed = static_cast<uint64_t>(origin[kSeed]);
  return {{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)},
          static_cast<uint32_t>(origin[kRecord]),
          static_cast<uint32_t>(origin[kEpoch]),
          static_cast<uint32_t>(origin[kSegment]) << 16 | stream << 8 | lane};
}

INLINE uint32_t high_product(uint32_t a, uint32_t b) {
  return static_cast<uint32_t>(static_cast<uint64_t>(a) * b >> 32);
}

// Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
INLINE Words philox(Words counter, uint32_t key0, uint32_t key1) {
  UNROLL
  for (int round = 0; round < 10; ++round) {
    const uint32_t high0 = high_product(0xd2511f53u, counter.x), low0 = 0xd2511f53u * counter.x;
    const uint32_t high1 = high_product(0xcd9e8d57u, counter.z), low1 = 0xcd9e8d57u * counter.z;
    counter = {high1 ^ counter.y ^ key0, low1, high0 ^ counter.w ^ key1, low0};
    key0 += 0x9e3779b9u;
    key1 += 0xbb67ae85u;
  }
  return counter;
}

// The numbers 4 * block to 4 * block + 3 of a sequence.
INLINE Words words(const Sequence& from, uint32_t block) {
  return philox({block, from.record, from.epoch, from.purpose}, from.key[0], from.key[1]);
}

INLINE float product(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}

INLINE float sum(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fadd_rn(a, b);
#else
  return a + b;
#endif
}

INLINE float root(float a) {
#ifdef __CUDA_ARCH__
  return __fsqrt_rn(a);
#else
  return std::sqrt(a);
#endif
}

INLINE uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

INLINE float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

// Uniform in [0, 1), a multiple of 2^-24.
INLINE float uniform(uint32_t word) {
  return product(static_cast<float>(static_cast<int32_t>(word >> 8)), 0x1p-24f);
}

// Writes the words of a block as they are, or as uniform numbers.
template <class T>
INLINE void write(const Words& words, T* four) {
  four[0] = words.x;
  four[1] = words.y;
  four[2] = words.z;
  four[3] = words.w;
}

INLINE void write_uniforms(const Words& words, float* four) {
  four[0] = uniform(words.x);
  four[1] = uniform(words.y);
  four[2] = uniform(words.z);
  four[3] = uniform(words.w);
}

// Uniform among 0 to count - 1.
INLINE uint32_t below(uint32_t word, uint32_t count) { return high_product(word, count); }

// ln of a number in (0, 1].
INLINE float logarithm(float value) {
  // value = mantissa * 2^exponent, the mantissa between sqrt(1/2) and sqrt(2).
  const int32_t shifted = static_cast<int32_t>(bits_of(value) + (0x3f800000u - 0x3f3504f3u));
  const float exponent = static_cast<float>((shifted >> 23) - 127);
  const float f = sum(float_of((shifted & 0x7fffff) + 0x3f3504f3u), -1.0f);
  const float square = product(f, f);
  float series = 7.0376836292e-2f;
  series = sum(product(series, f), -1.1514610310e-1f);
  series = sum(product(series, f), 1.1676998740e-1f);
  series = sum(product(series, f), -1.2420140846e-1f);
  series = sum(product(series, f), 1.4249322787e-1f);
  series = sum(product(series, f), -1.6668057665e-1f);
  series = sum(product(series, f), 2.0000714765e-1f);
  series = sum(product(series, f), -2.4999993993e-1f);
  series = sum(product(series, f), 3.3333331174e-1f);
  series = product(product(series, f), square);
  series = sum(series, product(exponent, -2.12194440e-4f));
  series = sum(series, product(square, -0.5f));
  return sum(sum(f, series), product(exponent, 0.693359375f));
}

// Cosine and sine of an angle of so many quarter turns and x radians more, |x| at most pi / 4.
INLINE void circle(uint32_t quarter, float x, float& cosine, float& sine) {
  const float z = product(x, x);
  float s = sum(product(z, -1.9515295891e-4f), 8.3321608736e-3f);
  s = sum(product(s, z), -1.6666654611e-1f);
  s = sum(product(product(s, z), x), x);
  float c = sum(product(z, 2.443315711809948e-5f), -1.388731625493765e-3f);
  c = sum(product(c, z), 4.166664568298827e-2f);
  c = sum(sum(product(product(c, z), z), product(z, -0.5f)), 1.0f);
  const bool swapped = quarter & 1;
  const float near_cosine = swapped ? s : c, near_sine = swapped ? c : s;
  cosine = float_of(bits_of(near_cosine) ^ ((quarter + 1) & 2) << 30);
  sine = float_of(bits_of(near_sine) ^ (quarter & 2) << 30);
}

// Cosine and sine of so many turns of 2^-24, from 0 to 2^24.
INLINE void circle(uint32_t turns, float& cosine, float& sine) {
  const uint32_t quarter = (turns + (1u << 21)) >> 22;
  const int32_t rest = static_cast<int32_t>(turns) - static_cast<int32_t>(quarter << 22);
  const float x = product(static_cast<float>(rest), 3.7450704e-7f);  // 2 pi 2^-24
  circle(quarter, x, cosine, sine);
}

// Two standard normal numbers (Box and Muller, 1958).
INLINE void normals(uint32_t one, uint32_t other, float& first, float& second) {
  const float u = product(static_cast<float>(static_cast<int32_t>((one >> 8) + 1)), 0x1p-24f);
  const float radius = root(product(logarithm(u), -2.0f));
  float cosine, sine;
  circle(other >> 8, cosine, sine);
  first = product(radius, cosine);
  second = product(radius, sine);
}

INLINE void write_normals(const Words& words, float* four) {
  normals(words.x, words.y, four[0], four[1]);
  normals(words.z, words.w, four[2], four[3]);
}

}  // namespace fairseq_ecg::philox
