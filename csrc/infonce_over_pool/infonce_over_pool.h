// The contrastive loss over negatives from a pool: what the kernels take.
// fairseq_ecg/ops/infonce_over_pool/README.md derives what they compute.
#pragma once

#include <cstdint>

#include "../infonce/infonce.h"

namespace fairseq_ecg {

struct InfoNCEOverPool {
  const float* predictions;  // (frames, channels)
  const float* targets;      // (frames, channels)
  const float* pool;         // (pool_frames, channels)
  const int64_t* negatives;  // (frames, samples), indices into the pool
  float* losses;             // (frames,)
  bool* correct;             // (frames,)
  float* grad_predictions;   // (frames, channels), or null: no gradients
  float* grad_targets;       // (frames, channels), or null: no gradients
  float* grad_pool;          // (pool_frames, channels), or null: no gradients
  float* pool_norms;         // (pool_frames,), kept between the stages
  float* dlogits;            // (frames, samples), weights of predictions in grad_pool
  int64_t frames;
  int64_t channels;
  int64_t pool_frames;
  int64_t samples;
  float temperature;
};

namespace cpu {

// The first stage: lengths of the vectors [begin, end) of the pool.
void measure_pool(const InfoNCEOverPool& call, int64_t begin, int64_t end);

// The second: all of the frames [begin, end), whose negatives are in the pool.
void contrast_with_pool(const InfoNCEOverPool& call, int64_t begin, int64_t end);

// Which frames have each vector of the pool as a negative, and with what gradients.
struct Uses {
  const int64_t* starts;  // (pool_frames + 1,), where each vector's begin
  const int64_t* frames;  // (frames * samples,)
  const float* dlogits;   // (frames * samples,), weights of those frames' predictions
};

// The third: the gradients of the vectors [begin, end) of the pool.
void differentiate_pool(const InfoNCEOverPool& call, const Uses& uses, int64_t begin, int64_t end);

}  // namespace cpu

namespace cuda {

// The stages as on the CPU, each for all its lines. The loss of a frame with a negative that is not
// in the pool is NaN.
void measure_pool(const InfoNCEOverPool& call, CUstream_st* stream);
void contrast_with_pool(const InfoNCEOverPool& call, CUstream_st* stream);

// samples are indices of call.negatives in the order of the vectors they mean; those of a vector
// stand between two successive ones of the pool_frames + 1 starts.
void differentiate_pool(const InfoNCEOverPool& call, const int64_t* starts, const int64_t* samples,
                        CUstream_st* stream);

}  // namespace cuda
}  // namespace fairseq_ecg
