// What both kernels of the contrastive loss on a GPU have in common: a warp's work on one frame.
#pragma once

#include <cuda_runtime.h>

#include "../common/cuda_warp.h"
#include "infonce.h"

namespace fairseq_ecg::cuda {

// A hash of one channel; the sum over channels is a frame's fingerprint.
__device__ inline unsigned long long print_of(float value, int64_t channel) {
  const unsigned bits = __float_as_uint(value + 0.0f);  // the sum makes -0 and 0 alike
  unsigned long long hash = bits + (channel + 1) * 0x9e3779b97f4a7c15ull;
  hash = (hash ^ (hash >> 32)) * 0xd6e8feb86659fd93ull;
  return hash ^ (hash >> 32);
}

// The first of a row's targets that equals target i, of those with its fingerprint.
__device__ inline int32_t name_of(const float* targets, const int64_t* fingerprints, int64_t i,
                                  int64_t channels, int lane) {
  for (int64_t start = 0; start < i; start += kWarp) {
    const int64_t j = start + lane;
    unsigned alike = __ballot_sync(kAllLanes, j < i && fingerprints[j] == fingerprints[i]);
    for (; alike != 0; alike &= alike - 1) {
      const int64_t candidate = start + __ffs(alike) - 1;
      if (is_equal(targets + i * channels, targets + candidate * channels, channels, lane)) {
        return static_cast<int32_t>(candidate);
      }
    }
  }
  return static_cast<int32_t>(i);
}

// A warp counts how often each frame of its row is drawn for frame i. False if a negative is of
// another row.
__device__ inline bool count_draws(const InfoNCE& call, int64_t row, int64_t i, int lane,
                                   int* counts) {
  bool is_own_row = true;
  if (call.negatives != nullptr) {
    const int64_t first = row * call.frames;
    const int64_t* const given = call.negatives + (first + i) * call.samples;
    for (int64_t n = lane; n < call.samples; n += kWarp) {
      const int64_t j = given[n] - first;
      if (j >= 0 && j < call.frames) {
        atomicAdd(counts + j, 1);
      } else {
        is_own_row = false;
      }
    }
    return is_own_row;
  }
  const philox::Sequence sequence = philox::sequence(call.origins + row * philox::kOriginColumns,
                                                     kNegatives, philox::kCommonLane);
  const uint32_t frames = static_cast<uint32_t>(call.frames);
  const int64_t begin = i * call.samples, end = begin + call.samples;
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

// Computes the loss of frame i and whether it is correct from its products with the row's targets,
// and with gradients the dlogits: what sums of targets are taken with for grad_predictions, and
// transposed sums of predictions for grad_targets. Without gradients it leaves anything there.
// Norms and names are the row's; counts has a number for each of its frames. The loss is NaN if a
// negative is of another row.
__device__ inline void weigh_one(const InfoNCE& call, int64_t row, int64_t i, int lane, int* counts,
                                 const float* products, float* dlogits, float x_norm,
                                 const float* norms, const int32_t* names) {
  for (int64_t j = lane; j < call.frames; j += kWarp) counts[j] = 0;
  __syncwarp();
  const bool is_own_row = count_draws(call, row, i, lane, counts);
  const float x_scale = 1 / divisor(x_norm);
  const float positive = products[i] * x_scale / divisor(norms[i]) / call.temperature;
  // Counts are complete, and all lanes have read products[i], which may be dlogits[i].
  __syncwarp();

  bool not_below = false, below = false;
  float highest = positive;
  for (int64_t j = lane; j < call.frames; j += kWarp) {
    const bool equal = names[j] == names[i];
    below = below || (equal && counts[j] > 0);  // a left-out negative is minus infinity
    const int weight = j == i ? 1 : equal ? 0 : counts[j];
    const float logit = products[j] * x_scale / divisor(norms[j]) / call.temperature;
    if (weight > 0) {
      not_below = not_below || !(logit <= positive);  // NaN is not below
      below = below || logit < positive;
      highest = fmaxf(highest, logit);
    }
    counts[j] = weight;
    dlogits[j] = logit;
  }
  highest = warp_max(highest);

  float total = 0;
  for (int64_t j = lane; j < call.frames; j += kWarp) {
    const float share = counts[j] > 0 ? counts[j] * expf(dlogits[j] - highest) : 0;
    dlogits[j] = share;
    total += share;
  }
  total = warp_sum(total);
  not_below = __any_sync(kAllLanes, not_below);
  below = __any_sync(kAllLanes, below);
  const bool is_sound = __all_sync(kAllLanes, is_own_row);
  if (lane == 0) {
    const int64_t position = row * call.frames + i;
    call.losses[position] = is_sound ? logf(total) - (positive - highest) : nanf("");
    call.correct[position] = below && !not_below;
  }
  if (call.grad_predictions == nullptr) return;

  for (int64_t j = lane; j < call.frames; j += kWarp) {
    const float dlogit = dlogits[j] / total - (j == i ? 1.0f : 0.0f);
    dlogits[j] = dlogit * x_scale / divisor(norms[j]) / call.temperature;
  }
}

}  // namespace fairseq_ecg::cuda
