// What the lanes of a warp do together.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cosine.h"

namespace fairseq_ecg::cuda {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

// Blocks of so many warps that give each task a warp.
inline unsigned blocks_for(int64_t warps, int64_t warps_of_block) {
  return static_cast<unsigned>((warps + warps_of_block - 1) / warps_of_block);
}

// The task of the own warp.
__device__ inline int64_t index_of_warp() {
  return static_cast<int64_t>(blockIdx.x) * (blockDim.x / kWarp) + threadIdx.x / kWarp;
}

template <class T>
__device__ inline T warp_sum(T value) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, distance);
  }
  return value;
}

// NaN only if all values are.
__device__ inline float warp_max(float value) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, distance));
  }
  return value;
}

// NaN if one of the values is, else the largest.
__device__ inline float larger(float one, float other) {
  return isnan(other) || other > one ? other : one;
}

__device__ inline float warp_max_or_nan(float value) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value = larger(value, __shfl_xor_sync(kAllLanes, value, distance));
  }
  return value;
}

__device__ inline bool is_equal(const float* one, const float* other, int64_t channels, int lane) {
  bool equal = true;
  for (int64_t c = lane; c < channels; c += kWarp) equal = equal && one[c] == other[c];
  return __all_sync(kAllLanes, equal);
}

__device__ inline float dot(const float* one, const float* other, int64_t channels, int lane) {
  float product = 0;
  for (int64_t c = lane; c < channels; c += kWarp) product += one[c] * other[c];
  return warp_sum(product);
}

// Takes from a vector's gradient, which is divided by its length already, what only changes that.
// Each lane has written the channels it reads.
__device__ inline void project(float* gradient, const float* vector, float norm, int64_t channels,
                               int lane) {
  const float factor = along(dot(gradient, vector, channels, lane), norm);
  for (int64_t c = lane; c < channels; c += kWarp) gradient[c] -= vector[c] * factor;
}

}  // namespace fairseq_ecg::cuda
