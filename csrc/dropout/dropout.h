// Dropout whose random numbers are Philox's, so that they need not be kept for the backward pass.
#pragma once

#include <cstdint>

namespace fairseq_ecg {

struct Dropout {
  const void* input;
  const void* residual;  // added to what is left of the input, or null
  void* output;
  int64_t numbers;
  bool is_bfloat16;  // else float32
  uint64_t seed;
  double probability;  // of a zero, from 0 up to but not 1
};

namespace cpu {

// Numbers are worked on in chunks of so many.
constexpr int64_t kDropoutChunk = 64;

// Computes the chunks [begin, end).
void dropout(const Dropout& call, int64_t begin, int64_t end);

}  // namespace cpu
}  // namespace fairseq_ecg
