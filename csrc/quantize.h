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
  const float* logits;    // (frames, groups, words)
  const float* codebook;  // (groups, words, channels)
  const float* draws;     // (frames, groups, words) exponentially distributed, or null: evaluation
  float* codes;           // (frames, groups, channels)
  int32_t* choices;       // (frames, groups), the chosen words, or -1: none, as logits are NaN
  float* perplexities;    // (2,), of the largest logits and of the mean softmax
  float* slopes;          // (groups, words), of the latter by the softmax of any frame
  float* sums;            // (parts, groups, words), work space
  int32_t* counts;        // (groups, words), work space; zero
  int64_t frames;
  int64_t groups;
  int64_t words;
  int64_t channels;
  int64_t parts;             // of kFramesOfPart frames, the last of fewer
  const float* temperature;  // (), where the logits are: nobody waits for it
};

struct ByLogits {
  const float* logits;         // (frames, groups, words)
  const float* draws;          // (frames, groups, words), or null: no gradient by the choice
  const float* by_choices;     // (groups, frames, words), gradient by the weights of words, or null
  const float* slopes;         // (groups, words)
  const float* by_perplexity;  // (), or null: no gradient by the perplexity
  float* by_logits;            // (frames, groups, words)
  int64_t frames;
  int64_t groups;
  int64_t words;
  const float* temperature;  // ()
};

struct ByCodebook {
  const int32_t* choices;  // (frames, groups)
  const float* by_codes;   // (frames, groups, channels)
  float* by_codebook;      // (groups, words, channels)
  int64_t frames;
  int64_t groups;
  int64_t words;
  int64_t channels;
};

namespace cpu {

// Chooses the codes of the parts [begin, end), sums their probabilities and counts largest logits.
void choose(const Quantization& call, int64_t begin, int64_t end);

// Computes perplexities and slopes from all parts.
void finish(const Quantization& call);

// Computes the gradient of the frames [begin, end).
void by_logits(const ByLogits& call, int64_t begin, int64_t end);

// Computes the gradient of the words [begin, end) of groups * words.
void by_codebook(const ByCodebook& call, int64_t begin, int64_t end);

}  // namespace cpu

namespace cuda {

constexpr int64_t kMostWidth = 12288;  // as many floats as a block's shared memory holds

void quantize(const Quantization& call, CUstream_st* stream);
void by_logits(const ByLogits& call, CUstream_st* stream);
void by_codebook(const ByCodebook& call, CUstream_st* stream);

}  // namespace cuda
}  // namespace fairseq_ecg
