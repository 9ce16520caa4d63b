// Random numbers of any counters on the CPU. Loops run over arrays of words, so that compilers
// vectorise them for each instruction set.
#include "../philox.h"
#include "dispatch.h"

#include <algorithm>

#define INLINE inline __attribute__((always_inline))

namespace fairseq_ecg::cpu {
namespace {

constexpr int64_t kCounters = 64;

// Columns of counters, then of their words.
struct Block {
  uint32_t x[kCounters], y[kCounters], z[kCounters], w[kCounters];
  uint32_t key0[kCounters], key1[kCounters];
};

INLINE void read(const RandomNumbers& call, int64_t first, int64_t count, Block& block) {
  const int64_t* const counters = call.counters + 4 * first;
  const int64_t* const seeds = call.seeds + first;
  for (int64_t i = 0; i < count; ++i) {
    block.x[i] = static_cast<uint32_t>(counters[4 * i]);
    block.y[i] = static_cast<uint32_t>(counters[4 * i + 1]);
    block.z[i] = static_cast<uint32_t>(counters[4 * i + 2]);
    block.w[i] = static_cast<uint32_t>(counters[4 * i + 3]);
    block.key0[i] = static_cast<uint32_t>(seeds[i]);
    block.key1[i] = static_cast<uint32_t>(static_cast<uint64_t>(seeds[i]) >> 32);
  }
}

INLINE void encrypt(Block& block) {
  for (int64_t i = 0; i < kCounters; ++i) {
    const philox::Words words = philox::philox({block.x[i], block.y[i], block.z[i], block.w[i]},
                                               block.key0[i], block.key1[i]);
    block.x[i] = words.x;
    block.y[i] = words.y;
    block.z[i] = words.z;
    block.w[i] = words.w;
  }
}

template <class Number, class Convert>
INLINE void write(const Block& block, int64_t count, Number* out, Convert convert) {
  for (int64_t i = 0; i < count; ++i) {
    convert({block.x[i], block.y[i], block.z[i], block.w[i]}, out + 4 * i);
  }
}

INLINE void run(const RandomNumbers& call, int64_t begin, int64_t end) {
  Block block = {};
  for (int64_t first = begin; first < end; first += kCounters) {
    const int64_t count = std::min(kCounters, end - first);
    read(call, first, count, block);
    encrypt(block);
    if (call.kind == RandomNumbers::kWords) {
      write(block, count, call.words + 4 * first, [](const philox::Words& words, int64_t* out) {
        out[0] = words.x;
        out[1] = words.y;
        out[2] = words.z;
        out[3] = words.w;
      });
    } else if (call.kind == RandomNumbers::kUniforms) {
      write(block, count, call.numbers + 4 * first, [](const philox::Words& words, float* out) {
        out[0] = philox::uniform(words.x);
        out[1] = philox::uniform(words.y);
        out[2] = philox::uniform(words.z);
        out[3] = philox::uniform(words.w);
      });
    } else {
      write(block, count, call.numbers + 4 * first, [](const philox::Words& words, float* out) {
        philox::normals(words.x, words.y, out[0], out[1]);
        philox::normals(words.z, words.w, out[2], out[3]);
      });
    }
  }
}

#if defined(__GNUC__) && defined(__x86_64__)
__attribute__((target("avx512f,fma"))) void run_avx512(const RandomNumbers& call, int64_t begin,
                                                       int64_t end) {
  run(call, begin, end);
}

__attribute__((target("avx2,fma"))) void run_avx2(const RandomNumbers& call, int64_t begin,
                                                  int64_t end) {
  run(call, begin, end);
}
#endif

}  // namespace

void random_numbers(const RandomNumbers& call, int64_t begin, int64_t end) {
  switch (instructions()) {
#if defined(__GNUC__) && defined(__x86_64__)
    case Instructions::kAVX512:
      return run_avx512(call, begin, end);
    case Instructions::kAVX2:
      return run_avx2(call, begin, end);
#endif
    default:
      return run(call, begin, end);
  }
}

}  // namespace fairseq_ecg::cpu
