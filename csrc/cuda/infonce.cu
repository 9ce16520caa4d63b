// The contrastive loss on a GPU: all but the three matrix products, which cuBLAS computes.
// A warp works on one frame.
#include <cuda_runtime.h>

#include "../infonce.h"
#include "warp.h"

namespace fairseq_ecg::cuda {
namespace {

// A hash of one channel; the sum over channels is a frame's fingerprint.
__device__ unsigned long long print_of(float value, int64_t channel) {
  const unsigned bits = __float_as_uint(value + 0.0f);  // the sum makes -0 and 0 alike
  unsigned long long hash = bits + (channel + 1) * 0x9e3779b97f4a7c15ull;
  hash = (hash ^ (hash >> 32)) * 0xd6e8feb86659fd93ull;
  return hash ^ (hash >> 32);
}

// One block per row.
__global__ void prepare_row(InfoNCE call, Workspace workspace) {
  const int lane = threadIdx.x % kWarp;
  const int warp = threadIdx.x / kWarp;
  const int warps = blockDim.x / kWarp;
  const int64_t first = blockIdx.x * call.frames;
  const float* const targets = call.targets + first * call.channels;
  int64_t* const fingerprints = workspace.fingerprints + first;

  for (int64_t i = warp; i < call.frames; i += warps) {
    const float* const x = call.predictions + (first + i) * call.channels;
    const float* const y = targets + i * call.channels;
    float xx = 0, yy = 0;
    unsigned long long print = 0;
    for (int64_t c = lane; c < call.channels; c += kWarp) {
      xx += x[c] * x[c];
      yy += y[c] * y[c];
      print += print_of(y[c], c);
    }
    xx = warp_sum(xx);
    yy = warp_sum(yy);
    print = warp_sum(print);
    if (lane == 0) {
      workspace.prediction_norms[first + i] = sqrtf(xx);
      workspace.target_norms[first + i] = sqrtf(yy);
      fingerprints[i] = static_cast<int64_t>(print);
    }
  }
  __syncthreads();

  for (int64_t i = warp; i < call.frames; i += warps) {
    int64_t name = i;
    for (int64_t start = 0; start < i && name == i; start += kWarp) {
      const int64_t j = start + lane;
      unsigned alike = __ballot_sync(kAllLanes, j < i && fingerprints[j] == fingerprints[i]);
      for (; alike != 0 && name == i; alike &= alike - 1) {
        const int64_t candidate = start + __ffs(alike) - 1;
        if (is_equal(targets + i * call.channels, targets + candidate * call.channels,
                     call.channels, lane)) {
          name = candidate;
        }
      }
    }
    if (lane == 0) workspace.names[first + i] = static_cast<int32_t>(name);
  }
}

// A warp counts how often each frame of its row is drawn for frame i. False if a negative is of
// another row.
__device__ bool count_draws(const InfoNCE& call, int64_t row, int64_t i, int lane, int* counts) {
  bool is_own_row = true;
  if (call.negatives != nullptr) {
    const int64_t first = row * call.frames;
    const int64_t* const given = call.negatives + (first + i) * call.draws;
    for (int64_t n = lane; n < call.draws; n += kWarp) {
      const int64_t j = given[n] - first;
      if (j >= 0 && j < call.frames) {
        atomicAdd(counts + j, 1);
      } else {
        is_own_row = false;
      }
    }
    return is_own_row;
  }
  const philox::Sequence sequence = philox::sequence(
      call.origins + row * philox::kOriginColumns, kNegatives, philox::kCommonLane);
  const uint32_t frames = static_cast<uint32_t>(call.frames);
  const int64_t begin = i * call.draws, end = begin + call.draws;
  for (int64_t block = begin / 4 + lane; block * 4 < end; block += kWarp) {
    const philox::Words words = philox::words(sequence, static_cast<uint32_t>(block));
    const uint32_t four[] = {words.x, words.y, words.z, words.w};
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if (block * 4 + k < begin || block * 4 + k >= end) continue;
      atomicAdd(counts + other_frame(four[k], static_cast<uint32_t>(i), frames), 1);
    }
  }
  return is_own_row;
}

// One warp per prediction; shared memory holds call.frames counts for each.
__global__ void weigh_frame(InfoNCE call, Workspace workspace) {
  extern __shared__ int shared_counts[];
  const int lane = threadIdx.x % kWarp;
  const int warp = threadIdx.x / kWarp;
  const int64_t position = static_cast<int64_t>(blockIdx.x) * (blockDim.x / kWarp) + warp;
  if (position >= call.rows * call.frames) return;
  const int64_t row = position / call.frames;
  const int64_t first = row * call.frames;
  const int64_t i = position - first;

  int* const counts = shared_counts + warp * call.frames;
  for (int64_t j = lane; j < call.frames; j += kWarp) counts[j] = 0;
  __syncwarp();
  const bool is_own_row = count_draws(call, row, i, lane, counts);
  float* const pairs = workspace.pairs + position * call.frames;
  const float* const norms = workspace.target_norms + first;
  const int32_t* const names = workspace.names + first;
  const float x_scale = 1 / divisor(workspace.prediction_norms[position]);
  const float positive = pairs[i] * x_scale / divisor(norms[i]) / call.temperature;
  __syncwarp();  // counts are complete, and all lanes have read pairs[i], which one of them changes

  bool not_below = false, below = false;
  float highest = positive;
  for (int64_t j = lane; j < call.frames; j += kWarp) {
    const bool equal = names[j] == names[i];
    below = below || (equal && counts[j] > 0);  // a left-out negative is minus infinity
    const int weight = j == i ? 1 : equal ? 0 : counts[j];
    const float logit = pairs[j] * x_scale / divisor(norms[j]) / call.temperature;
    if (weight > 0) {
      not_below = not_below || !(logit <= positive);  // NaN is not below
      below = below || logit < positive;
      highest = fmaxf(highest, logit);
    }
    counts[j] = weight;
    pairs[j] = logit;
  }
  highest = warp_max(highest);

  float total = 0;
  for (int64_t j = lane; j < call.frames; j += kWarp) {
    const float share = counts[j] > 0 ? counts[j] * expf(pairs[j] - highest) : 0;
    pairs[j] = share;
    total += share;
  }
  total = warp_sum(total);
  not_below = __any_sync(kAllLanes, not_below);
  below = __any_sync(kAllLanes, below);
  const bool is_sound = __all_sync(kAllLanes, is_own_row);
  if (lane == 0) {
    call.losses[position] = is_sound ? logf(total) - (positive - highest) : nanf("");
    call.hits[position] = below && !not_below;
  }
  if (call.by_predictions == nullptr) return;

  for (int64_t j = lane; j < call.frames; j += kWarp) {
    const float slope = pairs[j] / total - (j == i ? 1.0f : 0.0f);
    pairs[j] = slope * x_scale / divisor(norms[j]) / call.temperature;
  }
}

// One warp per prediction, then one per target.
__global__ void project_frame(InfoNCE call, Workspace workspace) {
  const int lane = threadIdx.x % kWarp;
  int64_t position =
      static_cast<int64_t>(blockIdx.x) * (blockDim.x / kWarp) + threadIdx.x / kWarp;
  const int64_t positions = call.rows * call.frames;
  if (position >= 2 * positions) return;
  const bool is_target = position >= positions;
  if (is_target) position -= positions;
  const float* const frame =
      (is_target ? call.targets : call.predictions) + position * call.channels;
  float* const gradient =
      (is_target ? call.by_targets : call.by_predictions) + position * call.channels;
  const float norm = (is_target ? workspace.target_norms : workspace.prediction_norms)[position];

  float product = 0;
  for (int64_t c = lane; c < call.channels; c += kWarp) product += gradient[c] * frame[c];
  // Below its least length a frame is divided by that, but autograd follows its true length.
  const float along = norm > 0 ? warp_sum(product) / divisor(norm) / norm : 0;
  for (int64_t c = lane; c < call.channels; c += kWarp) gradient[c] -= frame[c] * along;
}

}  // namespace

void prepare(const InfoNCE& call, const Workspace& workspace, CUstream_st* stream) {
  prepare_row<<<static_cast<unsigned>(call.rows), 1024, 0, stream>>>(call, workspace);
}

void weigh(const InfoNCE& call, const Workspace& workspace, CUstream_st* stream) {
  const int64_t fitting = kMostFrames / call.frames;
  const int64_t warps = fitting < 8 ? fitting : 8;
  weigh_frame<<<blocks_for(call.rows * call.frames, warps), static_cast<unsigned>(warps * kWarp),
                warps * call.frames * sizeof(int), stream>>>(call, workspace);
}

void project(const InfoNCE& call, const Workspace& workspace, CUstream_st* stream) {
  constexpr int kWarps = 8;
  project_frame<<<blocks_for(2 * call.rows * call.frames, kWarps), kWarps * kWarp, 0, stream>>>(
      call, workspace);
}

}  // namespace fairseq_ecg::cuda
