// The contrastive loss over all pairs of a row's frames: what the kernels take.
// fairseq_ecg/ops/infonce/README.md derives what they compute.
#pragma once

#include <cstdint>

#include "../common/cosine.h"
#include "../common/philox.h"

struct CUstream_st;

namespace fairseq_ecg {

// Stream.NEGATIVES of fairseq_ecg/ops/philox.
constexpr uint32_t kNegatives = 1;

// Which of the other frames of a row a random word means as a negative of frame i.
INLINE uint32_t other_frame(uint32_t word, uint32_t i, uint32_t frames) {
  const uint32_t drawn = philox::below(word, frames - 1);
  return drawn + (drawn >= i);
}

struct InfoNCE {
  const float* predictions;  // (rows, frames, channels)
  const float* targets;      // (rows, frames, channels)
  const int64_t*
      negatives;           // (rows, frames, samples), indices into all rows' frames, or null: drawn
  const int64_t* origins;  // (rows, philox::kOriginColumns), or null: given
  float* losses;           // (rows, frames)
  bool* correct;           // (rows, frames)
  float* grad_predictions;  // (rows, frames, channels), or null: no gradients
  float* grad_targets;      // (rows, frames, channels), or null with grad_predictions
  int64_t rows;
  int64_t frames;
  int64_t channels;
  int64_t samples;
  float temperature;
};

namespace cpu {

// Computes the rows [begin, end). False if one of their negatives is of another row.
bool infonce(const InfoNCE& call, int64_t begin, int64_t end);

}  // namespace cpu

namespace cuda {

constexpr int64_t kMostFrames = 12288;  // as many counts as a block's shared memory holds

struct InfoNCEWorkspace {
  float* pairs;             // (rows, frames, frames), see below
  float* prediction_norms;  // (rows, frames)
  float* target_norms;      // (rows, frames)
  int64_t* fingerprints;    // (rows, frames), equal for equal targets and rarely for others
  int32_t* names;           // (rows, frames), equal for a row's equal targets alone
};

// Fills all of the workspace but pairs.
void prepare(const InfoNCE& call, const InfoNCEWorkspace& workspace, CUstream_st* stream);

// Computes losses and correct from pairs, which come as products of predictions (lines) and targets
// (columns) and leave as what sums of targets are taken with for grad_predictions, and transposed
// sums of predictions for grad_targets. The loss of a frame with a negative of another row is NaN.
void weigh(const InfoNCE& call, const InfoNCEWorkspace& workspace, CUstream_st* stream);

// Whether a multiprocessor's memory holds all pairs of a row, and vectors of four numbers can be
// read. Then fused() does everything in one launch, and needs no workspace.
bool fits(const InfoNCE& call);
void fused(const InfoNCE& call, CUstream_st* stream);

// Takes from the gradients, which come as those sums, what only changes a frame's length.
void project(const InfoNCE& call, const InfoNCEWorkspace& workspace, CUstream_st* stream);

}  // namespace cuda
}  // namespace fairseq_ecg
