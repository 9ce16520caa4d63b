// Pooling on a GPU. A block sums a warp's width of channels of one row; its warps share the frames.
#include <cuda_runtime.h>

#include "../common/cuda_warp.h"
#include "pooling.h"

namespace fairseq_ecg::cuda {
namespace {

constexpr int kWarps = 8;

__global__ void pool(Pooling call) {
  __shared__ float sums[kWarps][kWarp], counts[kWarps][kWarp];
  const int lane = threadIdx.x % kWarp;
  const int warp = threadIdx.x / kWarp;
  const int64_t row = blockIdx.x;
  const int64_t channel = static_cast<int64_t>(blockIdx.y) * kWarp + lane;
  float sum = 0, count = 0;
  if (channel < call.channels) {
    for (int64_t frame = warp; frame < call.frames; frame += kWarps) {
      const int64_t index = row * call.frames + frame;
      if (call.padded != nullptr && call.padded[index]) continue;
      const float x = call.x[index * call.channels + channel];
      sum += x;
      count += x != 0 ? 1.0f : 0.0f;
    }
  }
  sums[warp][lane] = sum;
  counts[warp][lane] = count;
  __syncthreads();
  if (warp > 0 || channel >= call.channels) return;
  for (int w = 1; w < kWarps; ++w) {
    sum += sums[w][lane];
    count += counts[w][lane];
  }
  call.means[row * call.channels + channel] = sum / count;
  call.counts[row * call.channels + channel] = count;
}

}  // namespace

void mean_of_nonzero(const Pooling& call, CUstream_st* stream) {
  if (call.rows == 0 || call.channels == 0) return;
  const dim3 blocks(static_cast<unsigned>(call.rows), blocks_for(call.channels, kWarp));
  pool<<<blocks, kWarps * kWarp, 0, stream>>>(call);
}

}  // namespace fairseq_ecg::cuda
