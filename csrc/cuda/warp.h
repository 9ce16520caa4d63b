// What the lanes of a warp do together.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace fairseq_ecg::cuda {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

template <class T>
__device__ inline T warp_sum(T value) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, distance);
  }
  return value;
}

__device__ inline float warp_max(float value) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, distance));
  }
  return value;
}

__device__ inline bool is_equal(const float* one, const float* other, int64_t channels, int lane) {
  bool equal = true;
  for (int64_t c = lane; c < channels; c += kWarp) equal = equal && one[c] == other[c];
  return __all_sync(kAllLanes, equal);
}

// Blocks of so many warps that give each task a warp.
inline unsigned blocks_for(int64_t warps, int64_t warps_of_block) {
  return static_cast<unsigned>((warps + warps_of_block - 1) / warps_of_block);
}

}  // namespace fairseq_ecg::cuda
