// The contrastive losses on a GPU: all but the two matrix products, which cuBLAS computes. Products
// of features are symmetric, so that the similarities of a second segment to the first ones, too,
// are in a row.
#include <cuda_runtime.h>

#include "../common/cuda_warp.h"
#include "contrast.h"

namespace fairseq_ecg::cuda {
namespace {

constexpr int kThreads = 256;

template <class T>
__device__ T block_sum(T value) {
  __shared__ T shared[kThreads / kWarp];
  value = warp_sum(value);
  __syncthreads();  // the sum before has been read
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = value;
  __syncthreads();
  T total = 0;
  for (int warp = 0; warp < kThreads / kWarp; ++warp) total += shared[warp];
  return total;
}

// Whether two rows are contrasted: segments of either kind, or all rows with each other.
__device__ bool is_pair(const Contrast& call, int64_t i, int64_t j) {
  if (!call.has_segments) return i != j;
  const int64_t one = call.segment[i], other = call.segment[j];
  return (one == 0 && other == 1) || (one == 1 && other == 0);
}

__device__ bool is_alike(const Contrast& call, int64_t i, int64_t j) {
  return call.group[i] == call.group[j];
}

__device__ float sigmoid(float x) { return 1 / (1 + expf(-x)); }

__device__ float softplus(float x) { return fmaxf(x, 0) + log1pf(expf(-fabsf(x))); }

// The same bits from both sides of a pair: the loss of a lone one has no gradient.
__device__ float similarity(const Contrast& call, const Workspace& workspace, int64_t i, int64_t j) {
  const float first = workspace.scales[i < j ? i : j], second = workspace.scales[i < j ? j : i];
  return workspace.pairs[i * call.rows + j] / first / second / call.temperature;
}

// One warp per row.
__global__ void measure_rows(Contrast call, Workspace workspace) {
  const int64_t row = index_of_warp();
  if (row >= call.rows) return;
  const float* const features = call.features + row * call.channels;
  const int lane = threadIdx.x % kWarp;
  const float norm = sqrtf(dot(features, features, call.channels, lane));
  if (lane == 0) workspace.scales[row] = norm < call.eps ? call.eps : norm;
}

// One warp per row, which is contrasted with others.
__global__ void contrast_rows(Contrast call, Workspace workspace) {
  const int lane = threadIdx.x % kWarp;
  const int64_t i = index_of_warp();
  if (i >= call.rows) return;
  const bool sums_positives = call.has_segments;
  float highest = -INFINITY, positives = 0;
  float highest_negative = -INFINITY, lowest_negative = INFINITY;
  int n_positive = 0;
  for (int64_t j = lane; j < call.rows; j += kWarp) {
    if (!is_pair(call, i, j)) continue;
    const float logit = similarity(call, workspace, i, j);
    if (is_alike(call, i, j)) {
      positives += logit;
      ++n_positive;
    } else {
      highest_negative = fmaxf(highest_negative, logit);
      lowest_negative = fminf(lowest_negative, logit);
    }
    if (sums_positives || !is_alike(call, i, j)) highest = larger(highest, logit);
  }
  highest = warp_max_or_nan(highest);
  highest_negative = warp_max(highest_negative);
  lowest_negative = -warp_max(-lowest_negative);
  float total = 0;
  for (int64_t j = lane; j < call.rows; j += kWarp) {
    if (is_pair(call, i, j) && (sums_positives || !is_alike(call, i, j))) {
      total += expf(similarity(call, workspace, i, j) - highest);
    }
  }
  const float log_sum = highest + logf(warp_sum(total));
  float loss = 0, weight = 0;
  int n_highest = 0, n_level = 0;
  for (int64_t j = lane; j < call.rows; j += kWarp) {
    if (!is_pair(call, i, j) || !is_alike(call, i, j)) continue;
    const float logit = similarity(call, workspace, i, j);
    n_highest += logit >= highest_negative;
    n_level += logit >= highest_negative && logit <= lowest_negative;
    if (sums_positives) continue;
    loss += softplus(log_sum - logit);
    weight += sigmoid(log_sum - logit);
  }
  positives = warp_sum(positives);
  n_positive = warp_sum(n_positive);
  loss = warp_sum(loss);
  weight = warp_sum(weight);
  n_highest = warp_sum(n_highest);
  n_level = warp_sum(n_level);
  if (lane > 0) return;
  if (sums_positives) {
    loss = n_positive > 0 ? n_positive * log_sum - positives : 0;
    weight = n_positive;
  }
  workspace.log_sums[i] = log_sum;
  workspace.weights[i] = weight;
  workspace.losses[i] = loss;
  workspace.counts[i] = n_positive;
  workspace.counts[call.rows + i] = n_highest;
  workspace.counts[2 * call.rows + i] = n_level;
}

// The gradient of two rows' losses by their similarity.
__device__ float dlogit_of(const Contrast& call, const Workspace& workspace, int64_t i, int64_t j) {
  if (!is_pair(call, i, j)) return 0;
  const float logit = similarity(call, workspace, i, j);
  const float own = workspace.log_sums[i], other = workspace.log_sums[j];
  const bool is_positive = is_alike(call, i, j);
  if (is_positive && !call.has_segments) return -sigmoid(own - logit) - sigmoid(other - logit);
  const float dlogit = workspace.weights[i] * expf(logit - own) +
                       workspace.weights[j] * expf(logit - other);
  return is_positive ? dlogit - 2 : dlogit;
}

// One block per row, the first of which adds up losses and counts.
__global__ void differentiate_rows(Contrast call, Workspace workspace) {
  int64_t counted = 0;
  for (int64_t j = threadIdx.x; j < call.rows; j += kThreads) counted += workspace.counts[j];
  const int64_t count = block_sum(counted);  // every pair from both of its sides
  const int64_t divisor = call.has_segments ? count : 1;
  if (blockIdx.x == 0) {
    float loss = 0;
    int64_t n_highest = 0, n_level = 0;
    for (int64_t j = threadIdx.x; j < call.rows; j += kThreads) {
      loss += workspace.losses[j];
      n_highest += workspace.counts[call.rows + j];
      n_level += workspace.counts[2 * call.rows + j];
    }
    loss = block_sum(loss);
    n_highest = block_sum(n_highest);
    n_level = block_sum(n_level);
    if (threadIdx.x == 0) {
      *call.loss = loss / divisor;
      call.counts[0] = count;
      call.counts[1] = n_highest;
      call.counts[2] = n_level;
    }
  }
  if (call.grad_features == nullptr) return;

  const int64_t i = blockIdx.x;
  const float factor = 1 / (call.temperature * workspace.scales[i] * (divisor > 0 ? divisor : 1));
  for (int64_t j = threadIdx.x; j < call.rows; j += kThreads) {
    const float dlogit = dlogit_of(call, workspace, i, j);
    workspace.pairs[i * call.rows + j] = dlogit * factor / workspace.scales[j];
  }
}

constexpr int kWarps = 4;  // so that few rows still keep many processors busy

}  // namespace

void measure(const Contrast& call, const Workspace& workspace, CUstream_st* stream) {
  if (call.rows == 0) return;
  measure_rows<<<blocks_for(call.rows, kWarps), kWarps * kWarp, 0, stream>>>(call, workspace);
}

void weigh(const Contrast& call, const Workspace& workspace, CUstream_st* stream) {
  if (call.rows > 0) {
    contrast_rows<<<blocks_for(call.rows, kWarps), kWarps * kWarp, 0, stream>>>(call, workspace);
  }
  const bool one_block = call.grad_features == nullptr || call.rows == 0;  // loss and counts alone
  const unsigned blocks = one_block ? 1 : static_cast<unsigned>(call.rows);
  differentiate_rows<<<blocks, kThreads, 0, stream>>>(call, workspace);
}

}  // namespace fairseq_ecg::cuda
