// The contrastive loss over a pool on a GPU. A warp works on a frame, or on a vector of the pool.
#include <cuda_runtime.h>

#include "../common/cuda_warp.h"
#include "infonce_over_pool.h"

namespace fairseq_ecg::cuda {
namespace {

constexpr int kWarps = 8;     // of a block
constexpr int kChannels = 8;  // that a lane sums at once

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

__global__ void measure_vector(InfoNCEOverPool call) {
  const int lane = threadIdx.x % kWarp;
  const int64_t p = index_of_warp();
  if (p >= call.pool_frames) return;
  const float* const z = call.pool + p * call.channels;
  const float norm = sqrtf(dot(z, z, call.channels, lane));
  if (lane == 0) call.pool_norms[p] = norm;
}

// Writes the logits of a frame's negatives where its dlogits will be, minus infinity for those that
// equal the target. False if a negative is not in the pool.
__device__ bool compare(const InfoNCEOverPool& call, const float* x, const float* y,
                        const int64_t* drawn, float scale, int lane, float* logits) {
  bool is_inside = true;
  for (int64_t n = 0; n < call.samples; ++n) {
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
  const int64_t* const drawn = call.negatives + i * call.samples;
  float* const dlogits = call.dlogits + i * call.samples;

  const float x_norm = sqrtf(dot(x, x, channels, lane));
  const float y_norm = sqrtf(dot(y, y, channels, lane));
  const float scale = 1 / divisor(x_norm) / call.temperature;
  const float positive = dot(x, y, channels, lane) * scale / divisor(y_norm);
  const bool is_inside = compare(call, x, y, drawn, scale, lane, dlogits);

  bool not_below = false, below = false;
  float highest = positive;
  for (int64_t n = lane; n < call.samples; n += kWarp) {
    not_below = not_below || !(dlogits[n] <= positive);  // NaN is not below
    below = below || dlogits[n] < positive;
    highest = fmaxf(highest, dlogits[n]);
  }
  highest = warp_max(highest);
  float others = 0;
  for (int64_t n = lane; n < call.samples; n += kWarp) {
    const float share = expf(dlogits[n] - highest);
    dlogits[n] = share;
    others += share;
  }
  others = warp_sum(others);
  const float total = others + expf(positive - highest);
  not_below = __any_sync(kAllLanes, not_below);
  below = __any_sync(kAllLanes, below);
  if (lane == 0) {
    call.losses[i] = is_inside ? logf(total) - (positive - highest) : nanf("");
    call.correct[i] = below && !not_below;
  }
  if (call.grad_predictions == nullptr) return;

  for (int64_t n = lane; n < call.samples; n += kWarp) {
    const bool is_excluded = dlogits[n] == 0;
    dlogits[n] = is_excluded ? 0 : dlogits[n] / total * scale / divisor(call.pool_norms[drawn[n]]);
  }
  __syncwarp();
  // What the other shares add up to: nothing is lost where the positive's is nearly one.
  const float of_target = -others / total * scale / divisor(y_norm);
  float* const grad_prediction = call.grad_predictions + i * channels;
  float* const grad_target = call.grad_targets + i * channels;
  for (int64_t c = lane; c < channels; c += kWarp) {
    grad_prediction[c] = of_target * y[c];
    grad_target[c] = of_target * x[c];
  }
  const auto negative = [&](int64_t n) {
    return Term{call.pool + drawn[n] * channels, dlogits[n]};
  };
  add_terms(0, call.samples, negative, channels, lane, grad_prediction);
  project(grad_prediction, x, x_norm, channels, lane);
  project(grad_target, y, y_norm, channels, lane);
}

__global__ void differentiate_vector(InfoNCEOverPool call, const int64_t* starts,
                                     const int64_t* samples) {
  const int lane = threadIdx.x % kWarp;
  const int64_t p = index_of_warp();
  if (p >= call.pool_frames) return;
  float* const grad_vector = call.grad_pool + p * call.channels;
  for (int64_t c = lane; c < call.channels; c += kWarp) grad_vector[c] = 0;
  const auto user = [&](int64_t k) {
    const int64_t frame = samples[k] / call.samples;
    return Term{call.predictions + frame * call.channels, call.dlogits[samples[k]]};
  };
  add_terms(starts[p], starts[p + 1], user, call.channels, lane, grad_vector);
  project(grad_vector, call.pool + p * call.channels, call.pool_norms[p], call.channels, lane);
}

}  // namespace

void measure_pool(const InfoNCEOverPool& call, CUstream_st* stream) {
  if (call.pool_frames == 0) return;
  measure_vector<<<blocks_for(call.pool_frames, kWarps), kWarps * kWarp, 0, stream>>>(call);
}

void contrast_with_pool(const InfoNCEOverPool& call, CUstream_st* stream) {
  contrast_frame<<<blocks_for(call.frames, kWarps), kWarps * kWarp, 0, stream>>>(call);
}

void differentiate_pool(const InfoNCEOverPool& call, const int64_t* starts, const int64_t* samples,
                        CUstream_st* stream) {
  if (call.pool_frames == 0) return;
  differentiate_vector<<<blocks_for(call.pool_frames, kWarps), kWarps * kWarp, 0, stream>>>(
      call, starts, samples);
}

}  // namespace fairseq_ecg::cuda
