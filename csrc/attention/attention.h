// Self-attention with dropout on its weights: what the kernels take.
// fairseq_ecg/ops/attention/README.md derives what they compute.
#pragma once

#include <cstdint>

namespace fairseq_ecg {

// A tensor (rows, frames, heads * channels) whose channels are neighbours.
struct Frames {
  const void* data;
  int64_t row;    // distance between two rows
  int64_t frame;  // distance between two frames
};

struct Attention {
  Frames queries;
  Frames keys;
  Frames values;
  const bool* padding;  // (rows, frames), or null: no frame is
  int64_t rows;
  int64_t frames;
  int64_t heads;
  int64_t channels;    // of a head
  bool is_bfloat16;    // else float32
  double probability;  // of a zero among the weights, from 0 up to but not 1
};

// The weights of a query but for a factor, those that are dropped negative.
struct Weights {
  float* shares;   // (rows, heads, frames, weights_pitch(frames)), or null: not kept
  float* factors;  // (rows, heads, frames), or null with shares
};

// Lines of shares are whole cache lines, which no two threads write to.
inline int64_t weights_pitch(int64_t frames) { return (frames + 15) / 16 * 16; }

// Written contiguous, (rows, frames, heads * channels).
struct AttentionGradients {
  void* grad_queries;
  void* grad_keys;
  void* grad_values;
};

namespace cpu {

// Computes the output, contiguous as gradients are, of [begin, end) of the rows' heads, and their weights.
void attention(const Attention& call, uint64_t seed, const Weights& weights, void* output,
               int64_t begin, int64_t end);

// Computes their gradients from the one by the output.
void attention_backward(const Attention& call, const Weights& weights, const Frames& grad_output,
                        const AttentionGradients& gradients, int64_t begin, int64_t end);

}  // namespace cpu
}  // namespace fairseq_ecg
