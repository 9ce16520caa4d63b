// Random numbers of any counters: what the kernels take.
// fairseq_ecg/ops/philox/README.md states the contract.
#pragma once

#include <cstdint>

#include "../common/philox.h"

struct CUstream_st;

namespace fairseq_ecg {

// What fairseq_ecg_c::random_numbers computes: four numbers for each counter.
struct RandomNumbers {
  enum Kind : int64_t { kWords, kUniforms, kNormals };

  const int64_t* counters;  // (rows, 4), 32 bits each
  const int64_t* seeds;     // (rows,)
  int64_t* words;           // (rows, 4), or null
  float* numbers;           // (rows, 4), or null for words
  int64_t rows;
  Kind kind;
};

namespace cpu {

// Computes the rows [begin, end).
void random_numbers(const RandomNumbers& call, int64_t begin, int64_t end);

}  // namespace cpu

namespace cuda {

void random_numbers(const RandomNumbers& call, CUstream_st* stream);

}  // namespace cuda
}  // namespace fairseq_ecg
