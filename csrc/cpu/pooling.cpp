// Pooling on the CPU: frames are read once, in order; a row's sums stay in the first cache.
#include "../pooling.h"
#include "dispatch.h"
#include "vectors.h"

#include <algorithm>

namespace fairseq_ecg::cpu {
namespace {

INLINE void pool(const Pooling& call, int64_t begin, int64_t end) {
  const int64_t channels = call.channels;
  for (int64_t row = begin; row < end; ++row) {
    float* const __restrict__ means = call.means + row * channels;
    float* const __restrict__ counts = call.counts + row * channels;
    std::fill(means, means + channels, 0.0f);
    std::fill(counts, counts + channels, 0.0f);
    for (int64_t place = row * call.frames; place < (row + 1) * call.frames; ++place) {
      if (call.padded != nullptr && call.padded[place]) continue;
      const float* const __restrict__ x = call.x + place * channels;
      for (int64_t c = 0; c < channels; ++c) {
        means[c] += x[c];
        counts[c] += x[c] != 0 ? 1.0f : 0.0f;
      }
    }
    for (int64_t c = 0; c < channels; ++c) means[c] /= counts[c];
  }
}

#if defined(__GNUC__) && defined(__x86_64__)
__attribute__((target("avx512f"))) void pool_avx512(const Pooling& call, int64_t begin,
                                                    int64_t end) {
  pool(call, begin, end);
}

__attribute__((target("avx2"))) void pool_avx2(const Pooling& call, int64_t begin, int64_t end) {
  pool(call, begin, end);
}
#endif

}  // namespace

void mean_of_nonzero(const Pooling& call, int64_t begin, int64_t end) {
  switch (instructions()) {
#if defined(__GNUC__) && defined(__x86_64__)
    case Instructions::kAVX512:
      return pool_avx512(call, begin, end);
    case Instructions::kAVX2:
      return pool_avx2(call, begin, end);
#endif
    default:
      return pool(call, begin, end);
  }
}

}  // namespace fairseq_ecg::cpu
