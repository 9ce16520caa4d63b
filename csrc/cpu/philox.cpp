// Random numbers of any counters on the CPU.
#include "../philox.h"
#include "dispatch.h"
#include "philox_vectors.h"

#include <algorithm>
#include <cstring>

#define INLINE inline __attribute__((always_inline))

namespace fairseq_ecg::cpu {
namespace {

constexpr int64_t kCounters = 64;

// Columns of counters, then of their words in the lower halves.
struct Block {
  uint64_t x[kCounters], y[kCounters], z[kCounters], w[kCounters];
  uint64_t key0[kCounters], key1[kCounters];

  INLINE philox::Words words(int64_t i) const {
    return {static_cast<uint32_t>(x[i]), static_cast<uint32_t>(y[i]),
            static_cast<uint32_t>(z[i]), static_cast<uint32_t>(w[i])};
  }
};

INLINE void read(const RandomNumbers& call, int64_t first, int64_t count, Block& block) {
  const int64_t* const counters = call.counters + 4 * first;
  const int64_t* const seeds = call.seeds + first;
  for (int64_t i = 0; i < count; ++i) {
    block.x[i] = static_cast<uint64_t>(counters[4 * i]);
    block.y[i] = static_cast<uint64_t>(counters[4 * i + 1]);
    block.z[i] = static_cast<uint64_t>(counters[4 * i + 2]);
    block.w[i] = static_cast<uint64_t>(counters[4 * i + 3]);
    block.key0[i] = static_cast<uint64_t>(seeds[i]);
    block.key1[i] = static_cast<uint64_t>(seeds[i]) >> 32;
  }
}

template <int kWords>
INLINE void encrypt(Block& block) {
  for (int64_t i = 0; i < kCounters; i += kWords) {
    WordVectors<kWords> counters[1];
    auto& [x, y, z, w] = counters[0];
    typename WordRegister<kWords>::Type key0, key1;
    std::memcpy(&x, block.x + i, sizeof x);
    std::memcpy(&y, block.y + i, sizeof y);
    std::memcpy(&z, block.z + i, sizeof z);
    std::memcpy(&w, block.w + i, sizeof w);
    std::memcpy(&key0, block.key0 + i, sizeof key0);
    std::memcpy(&key1, block.key1 + i, sizeof key1);
    cpu::encrypt(counters, key0, key1);
    std::memcpy(block.x + i, &x, sizeof x);
    std::memcpy(block.y + i, &y, sizeof y);
    std::memcpy(block.z + i, &z, sizeof z);
    std::memcpy(block.w + i, &w, sizeof w);
  }
}

template <int kWords>
INLINE void run(const RandomNumbers& call, int64_t begin, int64_t end) {
  Block block = {};
  for (int64_t first = begin; first < end; first += kCounters) {
    const int64_t count = std::min(kCounters, end - first);
    read(call, first, count, block);
    encrypt<kWords>(block);
    int64_t* const out = call.words + 4 * first;
    float* const numbers = call.numbers + 4 * first;
    switch (call.kind) {
      case RandomNumbers::kWords:
        for (int64_t i = 0; i < count; ++i) {
          const philox::Words words = block.words(i);
          out[4 * i] = words.x;
          out[4 * i + 1] = words.y;
          out[4 * i + 2] = words.z;
          out[4 * i + 3] = words.w;
        }
        break;
      case RandomNumbers::kUniforms:
        for (int64_t i = 0; i < count; ++i) {
          const philox::Words words = block.words(i);
          numbers[4 * i] = philox::uniform(words.x);
          numbers[4 * i + 1] = philox::uniform(words.y);
          numbers[4 * i + 2] = philox::uniform(words.z);
          numbers[4 * i + 3] = philox::uniform(words.w);
        }
        break;
      case RandomNumbers::kNormals:
        for (int64_t i = 0; i < count; ++i) {
          const philox::Words words = block.words(i);
          philox::normals(words.x, words.y, numbers[4 * i], numbers[4 * i + 1]);
          philox::normals(words.z, words.w, numbers[4 * i + 2], numbers[4 * i + 3]);
        }
        break;
    }
  }
}

#if defined(__GNUC__) && defined(__x86_64__)
__attribute__((target("avx512f,fma"))) void run_avx512(const RandomNumbers& call, int64_t begin,
                                                       int64_t end) {
  run<8>(call, begin, end);
}

__attribute__((target("avx2,fma"))) void run_avx2(const RandomNumbers& call, int64_t begin,
                                                  int64_t end) {
  run<4>(call, begin, end);
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
      return run<2>(call, begin, end);
  }
}

}  // namespace fairseq_ecg::cpu
