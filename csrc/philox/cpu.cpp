// Random numbers of any counters on the CPU.
#include <algorithm>
#include <cstring>

#include "../common/dispatch.h"
#include "../common/philox_vectors.h"
#include "philox.h"

namespace fairseq_ecg::cpu {
namespace {

constexpr int64_t kCounters = 64;

// Columns of counters, then of their words in the lower halves.
struct Block {
  uint64_t x[kCounters], y[kCounters], z[kCounters], w[kCounters];
  uint64_t key0[kCounters], key1[kCounters];

  INLINE philox::Words words(int64_t i) const {
    return {static_cast<uint32_t>(x[i]), static_cast<uint32_t>(y[i]), static_cast<uint32_t>(z[i]),
            static_cast<uint32_t>(w[i])};
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
        for (int64_t i = 0; i < count; ++i) philox::write(block.words(i), out + 4 * i);
        break;
      case RandomNumbers::kUniforms:
        for (int64_t i = 0; i < count; ++i) philox::write_uniforms(block.words(i), numbers + 4 * i);
        break;
      case RandomNumbers::kNormals:
        for (int64_t i = 0; i < count; ++i) philox::write_normals(block.words(i), numbers + 4 * i);
        break;
    }
  }
}

}  // namespace

void random_numbers(const RandomNumbers& call, int64_t begin, int64_t end) {
  return dispatch<Arithmetic::kExact>(VARIANTS(run<kLanes / 2>), call, begin, end);
}

}  // namespace fairseq_ecg::cpu
