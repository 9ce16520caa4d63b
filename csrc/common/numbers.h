// Numbers as tensors hold them: read into float32 and written from it.
#pragma once

#include <cstdint>

#include "philox.h"

namespace fairseq_ecg::cpu {

struct BFloat16 {
  uint16_t bits;
};

INLINE float read(float number) { return number; }

INLINE float read(BFloat16 number) {
  return philox::float_of(static_cast<uint32_t>(number.bits) << 16);
}

INLINE void write(float number, float& to) { to = number; }

// Rounds to the nearest, to even between two; NaN stays NaN.
INLINE void write(float number, BFloat16& to) {
  const uint32_t bits = philox::bits_of(number);
  const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  to.bits = static_cast<uint16_t>(number == number ? rounded : 0x7fc0);
}

}  // namespace fairseq_ecg::cpu
