// The patient contrastive loss on a GPU: all but the two matrix products, which cuBLAS computes.
// Products of features are symmetric, so that the similarities of a second segment to the first
// ones, too, are in a row.
#include <cuda_runtime.h>

#include "../common/cuda_warp.h"
#include "cmsc.h"

namespace fairseq_ecg::cuda {
namespace {

constexpr int kThreads = 256;

template <class T>
__device__ T block_sum(T value) {
  __shared__ T shared[kThreads / kWarp];
  value = warp_sum(value);
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = value;
  __syncthreads();
  T total = 0;
  for (int warp = 0; warp < kThreads / kWarp; ++warp) total += shared[warp];
  return total;
}

__device__ bool is_opposite(int64_t one, int64_t other) {
  return (one == 0 && other == 1) || (one == 1 && other == 0);
}

// The same bits from both sides of a pair: the loss of a lone one has no gradient.
__device__ float similarity(const CMSC& call, const Workspace& workspace, int64_t i, int64_t j) {
  const float first = workspace.scales[i < j ? i : j], second = workspace.scales[i < j ? j : i];
  return workspace.pairs[i * call.rows + j] / first / second / call.temperature;
}

// One warp per row.
__global__ void measure_rows(CMSC call, Workspace workspace) {
  const int64_t row = index_of_warp();
  if (row >= call.rows) return;
  const float* const features = call.features + row * call.channels;
  const float norm = sqrtf(dot(features, features, call.channels, threadIdx.x % kWarp));
  workspace.scales[row] = norm < call.eps ? call.eps : norm;
}

// One warp per row, which is contrasted with the rows of the other segment.
__global__ void contrast_rows(CMSC call, Workspace workspace) {
  const int lane = threadIdx.x % kWarp;
  const int64_t i = index_of_warp();
  if (i >= call.rows) return;
  float highest = -INFINITY, positives = 0;
  int n_positive = 0;
  for (int64_t j = lane; j < call.rows; j += kWarp) {
    if (!is_opposite(call.segment[i], call.segment[j])) continue;
    const float logit = similarity(call, workspace, i, j);
    highest = larger(highest, logit);
    if (call.patient_id[i] == call.patient_id[j]) {
      positives += logit;
      ++n_positive;
    }
  }
  highest = warp_max_or_nan(highest);
  float total = 0;
  for (int64_t j = lane; j < call.rows; j += kWarp) {
    if (is_opposite(call.segment[i], call.segment[j])) {
      total += expf(similarity(call, workspace, i, j) - highest);
    }
  }
  const float log_sum = highest + logf(warp_sum(total));
  positives = warp_sum(positives);
  n_positive = warp_sum(n_positive);
  if (lane > 0) return;
  workspace.log_sums[i] = log_sum;
  workspace.losses[i] = n_positive > 0 ? n_positive * log_sum - positives : 0;
  workspace.n_positive[i] = n_positive;
}

// One block per row; the first one also adds up the loss.
__global__ void differentiate_rows(CMSC call, Workspace workspace) {
  int counted = 0;
  for (int64_t j = threadIdx.x; j < call.rows; j += kThreads) counted += workspace.n_positive[j];
  const int count = block_sum(counted);  // every pair from both of its sides
  if (blockIdx.x == 0) {
    float loss = 0;
    for (int64_t j = threadIdx.x; j < call.rows; j += kThreads) loss += workspace.losses[j];
    loss = block_sum(loss);
    if (threadIdx.x == 0) *call.loss = loss / count;
  }
  if (call.grad_features == nullptr) return;

  const int64_t i = blockIdx.x;
  const float factor = 1 / (call.temperature * workspace.scales[i] * (count > 0 ? count : 1));
  for (int64_t j = threadIdx.x; j < call.rows; j += kThreads) {
    float dlogit = 0;
    if (is_opposite(call.segment[i], call.segment[j])) {
      const float logit = similarity(call, workspace, i, j);
      dlogit = workspace.n_positive[i] * expf(logit - workspace.log_sums[i]) +
               workspace.n_positive[j] * expf(logit - workspace.log_sums[j]);
      if (call.patient_id[i] == call.patient_id[j]) dlogit -= 2;
    }
    workspace.pairs[i * call.rows + j] = dlogit * factor / workspace.scales[j];
  }
}

constexpr int kWarps = 4;  // so that few rows still keep many processors busy

}  // namespace

void measure(const CMSC& call, const Workspace& workspace, CUstream_st* stream) {
  measure_rows<<<blocks_for(call.rows, kWarps), kWarps * kWarp, 0, stream>>>(call, workspace);
}

void weigh(const CMSC& call, const Workspace& workspace, CUstream_st* stream) {
  contrast_rows<<<blocks_for(call.rows, kWarps), kWarps * kWarp, 0, stream>>>(call, workspace);
  const unsigned blocks = call.grad_features == nullptr ? 1 : static_cast<unsigned>(call.rows);
  differentiate_rows<<<blocks, kThreads, 0, stream>>>(call, workspace);
}

}  // namespace fairseq_ecg::cuda
