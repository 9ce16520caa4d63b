// The mean over the frames in which a channel is not zero: what the kernels take.
// fairseq_ecg/ops/pooling/README.md says what they compute.
#pragma once

#include <cstdint>

struct CUstream_st;

namespace fairseq_ecg {

struct Pooling {
  const float* x;      // (rows, frames, channels)
  const bool* padded;  // (rows, frames), or null: no frame is
  float* means;        // (rows, channels)
  float* counts;       // (rows, channels), frames that count
  int64_t rows;
  int64_t frames;
  int64_t channels;
};

namespace cpu {

// Pools the rows [begin, end).
void mean_of_nonzero(const Pooling& call, int64_t begin, int64_t end);

}  // namespace cpu

namespace cuda {

void mean_of_nonzero(const Pooling& call, CUstream_st* stream);

}  // namespace cuda
}  // namespace fairseq_ecg
