// Cosine similarity: vectors divided by their lengths, and its gradients.
#pragma once

#include "inline.h"

namespace fairseq_ecg {

// What a vector is divided by at least, as in torch.nn.functional.cosine_similarity.
constexpr float kLeastLength = 1e-8f;

// NaN stays NaN.
INLINE float divisor(float norm) { return norm < kLeastLength ? kLeastLength : norm; }

// How much of a vector to take from its gradient, which is divided by its length already: what only
// changes the length. product is that of both. Below its least length a vector is divided by that,
// but autograd follows its true length.
INLINE float along(float product, float norm) {
  return norm > 0 ? product / divisor(norm) / norm : 0;
}

}  // namespace fairseq_ecg
