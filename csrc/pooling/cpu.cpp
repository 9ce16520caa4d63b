// Pooling on the CPU: frames are read once, in order; a row's sums stay in the first cache.
#include <algorithm>

#include "../common/dispatch.h"
#include "pooling.h"

namespace fairseq_ecg::cpu {
namespace {

INLINE void pool(const Pooling& call, int64_t begin, int64_t end) {
  const int64_t channels = call.channels;
  for (int64_t row = begin; row < end; ++row) {
    float* const __restrict__ means = call.means + row * channels;
    float* const __restrict__ counts = call.counts + row * channels;
    std::fill(means, means + channels, 0.0f);
    std::fill(counts, counts + channels, 0.0f);
    for (int64_t index = row * call.frames; index < (row + 1) * call.frames; ++index) {
      if (call.padded != nullptr && call.padded[index]) continue;
      const float* const __restrict__ x = call.x + index * channels;
      for (int64_t c = 0; c < channels; ++c) {
        means[c] += x[c];
        counts[c] += x[c] != 0 ? 1.0f : 0.0f;
      }
    }
    for (int64_t c = 0; c < channels; ++c) means[c] /= counts[c];
  }
}

}  // namespace

void mean_of_nonzero(const Pooling& call, int64_t begin, int64_t end) {
  return dispatch<Arithmetic::kExact>(VARIANTS(pool), call, begin, end);
}

}  // namespace fairseq_ecg::cpu
