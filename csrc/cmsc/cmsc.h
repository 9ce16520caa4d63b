// The patient contrastive loss: what the kernels take.
// fairseq_ecg/ops/cmsc/README.md derives what they compute.
#pragma once

#include <cstdint>
#include <memory>

struct CUstream_st;

namespace fairseq_ecg {

struct CMSC {
  const float* features;      // (rows, channels)
  const int64_t* patient_id;  // (rows,)
  const int64_t* segment;     // (rows,)
  float* loss;                // ()
  float* grad_features;       // (rows, channels), or null: no gradient
  int64_t rows;
  int64_t channels;
  float temperature;
  float eps;
};

namespace cpu {

// The members of a batch are its first segments followed by its second ones.
struct Workspace {
  // Finds the members; fills nothing else.
  explicit Workspace(const CMSC& call);

  int64_t firsts = 0;
  int64_t seconds = 0;
  int64_t pitch;                       // channels, and zeros up to a cache line
  std::unique_ptr<int64_t[]> members;  // (rows,), the row of each
  std::unique_ptr<float[]> units;      // (rows, pitch), features of length one
  std::unique_ptr<float[]> scales;     // (rows,), what they were divided by
  std::unique_ptr<float[]> pairs;      // (firsts, seconds), similarities, then dlogits
};

// For the members [begin, end), one after another: units and scales; similarities of first segments
// to all second ones; gradients of features.
void normalise(const CMSC& call, const Workspace& workspace, int64_t begin, int64_t end);
void compare(const CMSC& call, const Workspace& workspace, int64_t begin, int64_t end);
void differentiate(const CMSC& call, const Workspace& workspace, int64_t begin, int64_t end);

// Computes the loss from all similarities, and replaces them by gradients.
void weigh(const CMSC& call, const Workspace& workspace);

}  // namespace cpu

namespace cuda {

struct Workspace {
  float* pairs;         // (rows, rows), see below
  float* scales;        // (rows,), what features are divided by
  float* log_sums;      // (rows,), logarithm of the sum of exp(similarity) over the other segment
  float* losses;        // (rows,), of a row's positive pairs
  int32_t* n_positive;  // (rows,)
};

// Fills scales.
void measure(const CMSC& call, const Workspace& workspace, CUstream_st* stream);

// Computes the loss from pairs, which come as products of features and leave, where a gradient is
// wanted, as what sums of features are taken with for it.
void weigh(const CMSC& call, const Workspace& workspace, CUstream_st* stream);

}  // namespace cuda
}  // namespace fairseq_ecg
