// The contrastive losses over pairs of a batch's rows: what the kernels take.
// fairseq_ecg/ops/contrast/README.md derives what they compute.
#pragma once

#include <cstdint>
#include <memory>

struct CUstream_st;

namespace fairseq_ecg {

constexpr int kCounts = 3;

struct Contrast {
  const float* features;   // (rows, channels)
  const int64_t* group;    // (rows,)
  const int64_t* segment;  // (rows,), read only if has_segments
  float* loss;             // ()
  int64_t* counts;         // (kCounts,), positive pairs; those that no negative pair exceeds; those
                           // of them that exceed no negative pair
  float* grad_features;    // (rows, channels), or null: no gradient
  int64_t rows;
  int64_t channels;
  float temperature;
  float eps;
  bool has_segments;  // otherwise every row is contrasted with every other one
};

namespace cpu {

// The members of a batch: its first segments followed by its second ones, or all rows.
struct Workspace {
  // Finds the members; fills nothing else.
  explicit Workspace(const Contrast& call);

  int64_t present() const { return first_column + columns; }

  int64_t lines = 0;                   // members, from the first one on, that have a line of pairs
  int64_t columns = 0;                 // members that have a column
  int64_t first_column = 0;            // the member of the first of these
  int64_t pitch;                       // channels, and zeros up to a cache line
  std::unique_ptr<int64_t[]> members;  // (rows,), the row of each
  std::unique_ptr<float[]> units;      // (rows, pitch), features of length one
  std::unique_ptr<float[]> scales;     // (rows,), what they were divided by
  std::unique_ptr<float[]> pairs;      // (lines, columns), similarities, then dlogits
};

// For the members [begin, end), one after another: units and scales; lines of similarities;
// gradients of features.
void normalise(const Contrast& call, const Workspace& workspace, int64_t begin, int64_t end);
void compare(const Contrast& call, const Workspace& workspace, int64_t begin, int64_t end);
void differentiate(const Contrast& call, const Workspace& workspace, int64_t begin, int64_t end);

// Computes loss and counts from all similarities, and replaces them by gradients.
void weigh(const Contrast& call, const Workspace& workspace);

}  // namespace cpu

namespace cuda {

struct Workspace {
  float* pairs;     // (rows, rows), see below
  float* scales;    // (rows,), what features are divided by
  float* log_sums;  // (rows,), logarithm of the sum of exp(similarity) of a row
  float* weights;   // (rows,), how many times that sum counts for the gradient
  float* losses;    // (rows,), of a row's positive pairs
  int32_t* counts;  // (kCounts, rows), of a row
};

// Fills scales.
void measure(const Contrast& call, const Workspace& workspace, CUstream_st* stream);

// Computes loss and counts from pairs, which come as products of features and leave, where a
// gradient is wanted, as what sums of features are taken with for it.
void weigh(const Contrast& call, const Workspace& workspace, CUstream_st* stream);

}  // namespace cuda
}  // namespace fairseq_ecg
