// The contrastive loss over a pool on a GPU. A warp works on a frame, or on a vector of the pool.
#include <cuda_runtime.h>

#include "../infonce_over_pool.h"
#include "warp.h"

namespace fairseq_ecg::cuda {
namespace {

constexpr int kWarps = 8;     // of a block
constexpr int kChannels = 8;  // that a lane sums at once

__device__ int64_t index_of_warp() {
  return static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
}

__device__ float dot(const float* one, const float* other, int64_t channels, int lane) {
  float product = 0;
  for (int64_t c = lane; c < channels; c += kWarp) product += one[c] * other[c];
  return warp_sum(product);
}

struct Term {
  const float* line;
  float weight;
};

// Adds the terms [begin, end), lines times their weights, to a line.
template <class TermOf>
__device__ void add_terms(int64_t begin, int64_t end, TermOf term_of, int64_t channels, int lane,
                          float* line) {
  for (int64_t first = lane; first < channels; first += kChannels * kWarp) {
    float sums[kChannels] = {};
    for (int64_t k = begin; k < end; ++k) {
      const Term term = term_of(k);
      if (term.weight == 0) continue;  // its line may be no line at all
#pragma unroll
      for (int u = 0; u < kChannels; ++u) {
        const int64_t c = first + u * kWarp;
        if (c < channels) sums[u] += term.weight * term.line[c];
      }
    }
#pragma unroll
    for (int u = 0; u < kChannels; ++u) {
      const int64_t c = first + u * kWarp;
      if (c < channels) line[c] += sums[u];
    }
  }
}

// Takes from a gradient, which is divided by the frame's length already, what only changes that.
// Each lane has written the channels it reads.
__device__ void project(float* gradient, const float* frame, float norm, int64_t channels,
                        int lane) {
  const float product = dot(gradient, frame, channels, lane);
  // Below its least length a frame is divided by that, but autograd follows its true length.
  const float along = norm > 0 ? product / divisor(norm) / norm : 0;
  for (int64_t c = lane; c < channels; c += kWarp) gradient[c] -= frame[c] * along;
}

__global__ void measure_vector(InfoNCEOverPool call) {
  const int lane = threadIdx.x % kWarp;
  const int64_t p = index_of_warp();
  if (p >= call.pool_frames) return;
  const float* const z = call.pool + p * call.channels;
  const float norm = sqrtf(dot(z, z, call.channels, lane));
  if (lane == 0) call.pool_norms[p] = norm;
}

// Writes the logits of a frame's negatives where its slopes will be, minus infinity for those that
// equal the target. False if a negative is not in the pool.
__device__ bool compare(const InfoNCEOverPool& call, const float* x, const float* y,
                        const int64_t* drawn, float scale, int lane, float* logits) {
  bool is_inside = true;
  for (int64_t n = 0; n < call.draws; ++n) {
    const int64_t p = drawn[n];
    if (p < 0 || p >= call.pool_frames) {
      is_inside = false;
      if (lane == 0) logits[n] = -INFINITY;
      continue;
    }
    const float* const z = call.pool + p * call.channels;
    const float product = dot(x, z, call.channels, lane);
    const bool is_excluded = is_equal(z, y, call.channels, lane);
    if (lane == 0) {
      logits[n] = is_excluded ? -INFINITY : product * scale / divisor(call.pool_norms[p]);
    }
  }
  __syncwarp();  // all lanes read what the first one wrote
  return is_inside;
}

__global__ void contrast_frame(InfoNCEOverPool call) {
  const int lane = threadIdx.x % kWarp;
  const int64_t i = index_of_warp();
  if (i >= call.frames) return;
  const int64_t channels = call.channels;
  const float* const x = call.predictions + i * channels;
  const float* const y = call.targets + i * channels;
  const int64_t* const drawn = call.negatives + i * call.draws;
  float* const slopes = call.slopes + i * call.draws;

  const float x_norm = sqrtf(dot(x, x, channels, lane));
  const float y_norm = sqrtf(dot(y, y, channels, lane));
  const float scale = 1 / divisor(x_norm) / call.temperature;
  const float positive = dot(x, y, channels, lane) * scale / divisor(y_norm);
  const bool is_inside = compare(call, x, y, drawn, scale, lane, slopes);

  bool not_below = false, below = false;
  float highest = positive;
  for (int64_t n = lane; n < call.draws; n += kWarp) {
    not_below = not_below || !(slopes[n] <= positive);  // NaN is not below
    below = below || slopes[n] < positive;
    highest = fmaxf(highest, slopes[n]);
  }
  highest = warp_max(highest);
  float others = 0;
  for (int64_t n = lane; n < call.draws; n += kWarp) {
    const float share = expf(slopes[n] - highest);
    slopes[n] = share;
    others += share;
  }
  others = warp_sum(others);
  const float total = others + expf(positive - highest);
  not_below = __any_sync(kAllLanes, not_below);
  below = __any_sync(kAllLanes, below);
  if (lane == 0) {
    call.losses[i] = is_inside ? logf(total) - (positive - highest) : nanf("");
    call.hits[i] = below && !not_below;
  }
  if (call.by_predictions == nullptr) return;

  for (int64_t n = lane; n < call.draws; n += kWarp) {
    const bool is_excluded = slopes[n] == 0;
    slopes[n] = is_excluded ? 0 : slopes[n] / total * scale / divisor(call.pool_norms[drawn[n]]);
  }
  __syncwarp();
  // What the other shares add up to: nothing is lost where the positive's is nearly one.
  const float of_target = -others / total * scale / divisor(y_norm);
  float* const by_prediction = call.by_predictions + i * channels;
  float* const by_target = call.by_targets + i * channels;
  for (int64_t c = lane; c < channels; c += kWarp) {
    by_prediction[c] = of_target * y[c];
    by_target[c] = of_target * x[c];
  }
  const auto negative = [&](int64_t n) {
    return Term{call.pool + drawn[n] * channels, slopes[n]};
  };
  add_terms(0, call.draws, negative, channels, lane, by_prediction);
  project(by_prediction, x, x_norm, channels, lane);
  project(by_target, y, y_norm, channels, lane);
}

__global__ void differentiate_vector(InfoNCEOverPool call, const int64_t* starts,
                                     const int64_t* draws) {
  const int lane = threadIdx.x % kWarp;
  const int64_t p = index_of_warp();
  if (p >= call.pool_frames) return;
  float* const by_vector = call.by_pool + p * call.channels;
  for (int64_t c = lane; c < call.channels; c += kWarp) by_vector[c] = 0;
  const auto drawer = [&](int64_t k) {
    const int64_t frame = draws[k] / call.draws;
    return Term{call.predictions + frame * call.channels, call.slopes[draws[k]]};
  };
  add_terms(starts[p], starts[p + 1], drawer, call.channels, lane, by_vector);
  project(by_vector, call.pool + p * call.channels, call.pool_norms[p], call.channels, lane);
}

}  // namespace

void measure_pool(const InfoNCEOverPool& call, CUstream_st* stream) {
  if (call.pool_frames == 0) return;
  measure_vector<<<blocks_for(call.pool_frames, kWarps), kWarps * kWarp, 0, stream>>>(call);
}

void contrast_with_pool(const InfoNCEOverPool& call, CUstream_st* stream) {
  contrast_frame<<<blocks_for(call.frames, kWarps), kWarps * kWarp, 0, stream>>>(call);
}

void differentiate_pool(const InfoNCEOverPool& call, const int64_t* starts, const int64_t* draws,
                        CUstream_st* stream) {
  if (call.pool_frames == 0) return;
  differentiate_vector<<<blocks_for(call.pool_frames, kWarps), kWarps * kWarp, 0, stream>>>(
      call, starts, draws);
}

}  // namespace fairseq_ecg::cuda
