// Gumbel product quantization: what the kernels take.
// fairseq_ecg/ops/quantize/README.md derives what they compute.
#pragma once

#include <cstdint>

struct CUstream_st;

namespace fairseq_ecg {

// What a perplexity adds to a probability before it takes the logarithm, as fairseq_signals.
constexpr float kLeastProbability = 1e-7f;

// Frames whose probabilities are summed before the sums are: the same for any number of threads.
constexpr int64_t kFramesOfPart = 32;

struct Quantization {
  const float* logits;    // (frames, groups, codewords)
  const float* codebook;  // (groups, codewords, channels)
  const float* noise;  // (frames, groups, codewords) exponentially distributed, or null: evaluation
  float* codes;        // (frames, groups, channels)
  int32_t* choices;    // (frames, groups), the chosen codewords, or -1: none, as logits are NaN
  float* perplexities;  // (2,), of the largest logits and of the mean softmax
  float* grad_probs;    // (groups, codewords), gradient of the latter with respect to any softmax
  float* sums;          // (parts, groups, codewords), work space
  int32_t* counts;      // (groups, codewords), work space; zero
  int64_t frames;
  int64_t groups;
  int64_t codewords;
  int64_t channels;
  int64_t parts;             // of kFramesOfPart frames, the last of fewer
  const float* temperature;  // (), where the logits are: nobody waits for it
};

struct GradLogits {
  const float* logits;  // (frames, groups, codewords)
  const float* noise;   // (frames, groups, codewords), or null: no grad_choices
  const float* grad_choices;  // (groups, frames, codewords), of the weights of codewords, or null
  const float* grad_probs;       // (groups, codewords)
  const float* grad_perplexity;  // (), or null: not wanted
  float* grad_logits;            // (frames, groups, codewords)
  int64_t frames;
  int64_t groups;
  int64_t codewords;
  const float* temperature;  // ()
};

struct GradCodebook {
  const int32_t* choices;   // (frames, groups)
  const float* grad_codes;  // (frames, groups, channels)
  float* grad_codebook;     // (groups, codewords, channels)
  int64_t frames;
  int64_t groups;
  int64_t codewords;
  int64_t channels;
};

namespace cpu {

// Chooses the codes of the parts [begin, end), sums their probabilities and counts largest logits.
void choose(const Quantization& call, int64_t begin, int64_t end);

// Computes perplexities and grad_probs from all parts.
void finish(const Quantization& call);

// Computes the gradient of the frames [begin, end).
void grad_logits(const GradLogits& call, int64_t begin, int64_t end);

// Computes the gradient of the codewords [begin, end) of groups * codewords.
void grad_codebook(const GradCodebook& call, int64_t begin, int64_t end);

}  // namespace cpu

namespace cuda {

constexpr int64_t kMostWidth = 12288;  // as many floats as a block's shared memory holds

void quantize(const Quantization& call, CUstream_st* stream);
void grad_logits(const GradLogits& call, CUstream_st* stream);
void grad_codebook(const GradCodebook& call, CUstream_st* stream);

}  // namespace cuda
}  // namespace fairseq_ecg
