#include <algorithm>
#include <cmath>
#include <cstring>

#include "../common/dispatch.h"
#include "../common/numbers.h"
#include "../common/philox_vectors.h"
#include "dropout.h"

namespace fairseq_ecg::cpu {
namespace {

// Number i of a chunk depends on word i / kBlocks of the chunk's block i % kBlocks.
constexpr int kBlocks = kDropoutChunk / 4;

template <class T, bool kAdds>
INLINE void apply(const uint32_t* words, uint32_t threshold, float scale, int64_t count,
                  const T* input, const T* residual, T* output) {
  for (int64_t i = 0; i < count; ++i) {
    const float kept = words[i] >= threshold ? read(input[i]) * scale : 0.0f;
    write(kAdds ? read(residual[i]) + kept : kept, output[i]);
  }
}

template <int kWords, class T, bool kAdds>
INLINE void run_on(const Dropout& call, int64_t begin, int64_t end) {
  const auto* const input = static_cast<const T*>(call.input);
  const auto* const residual = static_cast<const T*>(call.residual);
  auto* const output = static_cast<T*>(call.output);
  const auto threshold = static_cast<uint32_t>(std::llround(call.probability * 0x1p32));
  const auto scale = static_cast<float>(1 / (1 - call.probability));
  const philox::Sequence sequence = philox::sequence(call.seed);
  for (int64_t chunk = begin; chunk < end; ++chunk) {
    uint32_t words[4][kBlocks];
    for (int block = 0; block < kBlocks; block += 2 * kWords) {
      write_words<kWords>(sequence, static_cast<uint32_t>(chunk * kBlocks + block),
                          words[0] + block, words[1] + block, words[2] + block, words[3] + block);
    }
    const int64_t first = chunk * kDropoutChunk;
    const T* const added = kAdds ? residual + first : nullptr;
    if (first + kDropoutChunk <= call.numbers) {
      apply<T, kAdds>(words[0], threshold, scale, kDropoutChunk, input + first, added,
                      output + first);
    } else {
      apply<T, kAdds>(words[0], threshold, scale, call.numbers - first, input + first, added,
                      output + first);
    }
  }
}

template <int kWords>
INLINE void run(const Dropout& call, int64_t begin, int64_t end) {
  const bool adds = call.residual != nullptr;
  if (call.is_bfloat16) {
    adds ? run_on<kWords, BFloat16, true>(call, begin, end)
         : run_on<kWords, BFloat16, false>(call, begin, end);
  } else {
    adds ? run_on<kWords, float, true>(call, begin, end)
         : run_on<kWords, float, false>(call, begin, end);
  }
}

}  // namespace

void dropout(const Dropout& call, int64_t begin, int64_t end) {
  return dispatch<Arithmetic::kExact>(VARIANTS(run<kLanes / 2>), call, begin, end);
}

}  // namespace fairseq_ecg::cpu
