// Random numbers of any counters on a GPU, one thread for each counter.
#include <cuda_runtime.h>

#include "philox.h"

namespace fairseq_ecg::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void random_numbers_of(RandomNumbers call) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (row >= call.rows) return;
  const int64_t* const counter = call.counters + 4 * row;
  const uint64_t seed = static_cast<uint64_t>(call.seeds[row]);
  const philox::Words words =
      philox::philox({static_cast<uint32_t>(counter[0]), static_cast<uint32_t>(counter[1]),
                      static_cast<uint32_t>(counter[2]), static_cast<uint32_t>(counter[3])},
                     static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
  switch (call.kind) {
    case RandomNumbers::kWords:
      return philox::write(words, call.words + 4 * row);
    case RandomNumbers::kUniforms:
      return philox::write_uniforms(words, call.numbers + 4 * row);
    case RandomNumbers::kNormals:
      return philox::write_normals(words, call.numbers + 4 * row);
  }
}

}  // namespace

void random_numbers(const RandomNumbers& call, CUstream_st* stream) {
  const unsigned blocks = static_cast<unsigned>((call.rows + kThreads - 1) / kThreads);
  random_numbers_of<<<blocks, kThreads, 0, stream>>>(call);
}

}  // namespace fairseq_ecg::cuda
