// The contrastive loss over a pool on the CPU: gathers of whole vectors, which are read where they
// are, and no atomic sums: a vector of the pool sums what the frames that use it give, in their
// order.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "../common/dispatch.h"
#include "../common/vectors.h"
#include "infonce_over_pool.h"

namespace fairseq_ecg::cpu {
namespace {

constexpr float kExcluded = -std::numeric_limits<float>::infinity();

template <int kLanes>
struct Kernel : Vectors<kLanes> {
  using Vector = Vectors<kLanes>;
  using Floats = typename Vector::Floats;
  using Vector::dot;
  using Vector::exp;
  using Vector::kTogether;
  using Vector::load;
  using Vector::load_first;
  using Vector::store;
  using Vector::sum;

  static INLINE bool is_equal(const float* one, const float* other, int64_t channels) {
    for (int64_t c = 0; c < channels; ++c) {
      if (one[c] != other[c]) return false;
    }
    return true;
  }

  // Adds kCount vectors, each times its weight, to a sum of so many whole registers.
  template <int kCount>
  static INLINE void add(const float* const* lines, const float* weights, int64_t channels,
                         float* total) {
    const int64_t whole = channels / kLanes * kLanes, rest = channels - whole;
    for (int64_t c = 0; c < whole; c += kLanes) {
      Floats here = load(total + c);
#pragma GCC unroll 8
      for (int k = 0; k < kCount; ++k) here += weights[k] * load(lines[k] + c);
      store(total + c, here);
    }
    if (rest == 0) return;
    Floats here = load(total + whole);
    for (int k = 0; k < kCount; ++k) here += weights[k] * load_first(lines[k] + whole, rest);
    store(total + whole, here);
  }

  // Adds lines of a matrix, each times its weight, to a sum.
  static INLINE void add_all(const float* matrix, const int64_t* which, const float* weights,
                             int64_t count, int64_t channels, float* total) {
    const float* lines[kTogether];
    int64_t n = 0;
    for (; n + kTogether <= count; n += kTogether) {
      for (int k = 0; k < kTogether; ++k) lines[k] = matrix + which[n + k] * channels;
      add<kTogether>(lines, weights + n, channels, total);
    }
    for (; n < count; ++n) {
      lines[0] = matrix + which[n] * channels;
      add<1>(lines, weights + n, channels, total);
    }
  }

  // Writes a gradient that is divided by the frame's length already, less what only changes that.
  static INLINE void project(const float* gradient, const float* frame, float norm,
                             int64_t channels, float* out) {
    const float factor = along(dot(gradient, frame, channels), norm);
    for (int64_t c = 0; c < channels; ++c) out[c] = gradient[c] - frame[c] * factor;
  }

  static INLINE void measure(const InfoNCEOverPool& call, int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const float* const z = call.pool + p * call.channels;
      call.pool_norms[p] = std::sqrt(dot(z, z, call.channels));
    }
  }

  // Writes the logits of a frame's negatives, what stands behind them excluded. Returns whether one
  // of them equals the target.
  static INLINE bool compare(const InfoNCEOverPool& call, const float* x, const float* y,
                             const int64_t* drawn, float scale, std::vector<float>& logits) {
    const float* lines[kTogether];
    bool has_equal = false;
    for (int64_t first = 0; first < call.samples; first += kTogether) {
      const int64_t count = std::min<int64_t>(call.samples - first, kTogether);
      for (int64_t k = 0; k < kTogether; ++k) {
        lines[k] = call.pool + drawn[first + std::min(k, count - 1)] * call.channels;
      }
      float products[kTogether];
      Vector::template dots<kTogether>(x, lines, call.channels, products);
      for (int64_t k = 0; k < count; ++k) {
        const bool equal = is_equal(lines[k], y, call.channels);
        has_equal |= equal;
        const float norm = divisor(call.pool_norms[drawn[first + k]]);
        logits[first + k] = equal ? kExcluded : products[k] * scale / norm;
      }
    }
    std::fill(logits.begin() + call.samples, logits.end(), kExcluded);
    return has_equal;
  }

  static INLINE void contrast(const InfoNCEOverPool& call, int64_t begin, int64_t end) {
    const int64_t channels = call.channels;
    std::vector<float> logits(rounded_up(call.samples, kLanes)),
        total(rounded_up(channels, kLanes));
    for (int64_t i = begin; i < end; ++i) {
      const float* const x = call.predictions + i * channels;
      const float* const y = call.targets + i * channels;
      const int64_t* const drawn = call.negatives + i * call.samples;
      const float x_norm = std::sqrt(dot(x, x, channels));
      const float y_norm = std::sqrt(dot(y, y, channels));
      const float scale = 1 / divisor(x_norm) / call.temperature;
      const float positive = dot(x, y, channels) * scale / divisor(y_norm);
      const bool has_equal = compare(call, x, y, drawn, scale, logits);

      bool is_highest = true, is_above = has_equal;
      float shift = positive;
      for (int64_t n = 0; n < call.samples; ++n) {
        is_highest &= logits[n] <= positive;  // NaN is not below
        is_above |= logits[n] < positive;
        shift = std::max(shift, logits[n]);
      }
      call.correct[i] = is_highest && is_above;

      Floats shares = {};
      for (size_t n = 0; n < logits.size(); n += kLanes) {
        const Floats logit = load(&logits[n]);
        const Floats share = logit == kExcluded ? Floats{} : exp(logit - shift);
        store(&logits[n], share);
        shares += share;
      }
      const float of_positive = std::exp(positive - shift);
      const float sum_of_shares = sum(shares) + of_positive;
      call.losses[i] = std::log(sum_of_shares) - (positive - shift);
      if (call.grad_predictions == nullptr) continue;

      float* const dlogits = call.dlogits + i * call.samples;
      for (int64_t n = 0; n < call.samples; ++n) {
        dlogits[n] = logits[n] / sum_of_shares * scale / divisor(call.pool_norms[drawn[n]]);
      }
      // What the other shares add up to: nothing is lost where the positive's is nearly one.
      const float of_target = -sum(shares) / sum_of_shares * scale / divisor(y_norm);
      for (int64_t c = 0; c < channels; ++c) total[c] = of_target * y[c];
      add_all(call.pool, drawn, dlogits, call.samples, channels, total.data());
      project(total.data(), x, x_norm, channels, call.grad_predictions + i * channels);
      for (int64_t c = 0; c < channels; ++c) total[c] = of_target * x[c];
      project(total.data(), y, y_norm, channels, call.grad_targets + i * channels);
    }
  }

  static INLINE void differentiate(const InfoNCEOverPool& call, const Uses& uses, int64_t begin,
                                   int64_t end) {
    std::vector<float> total(rounded_up(call.channels, kLanes));
    for (int64_t p = begin; p < end; ++p) {
      const int64_t first = uses.starts[p];
      std::fill(total.begin(), total.end(), 0.0f);
      add_all(call.predictions, uses.frames + first, uses.dlogits + first,
              uses.starts[p + 1] - first, call.channels, total.data());
      project(total.data(), call.pool + p * call.channels, call.pool_norms[p], call.channels,
              call.grad_pool + p * call.channels);
    }
  }
};

}  // namespace

void measure_pool(const InfoNCEOverPool& call, int64_t begin, int64_t end) {
  dispatch<Arithmetic::kFused>(VARIANTS(Kernel<kLanes>::measure), call, begin, end);
}

void contrast_with_pool(const InfoNCEOverPool& call, int64_t begin, int64_t end) {
  dispatch<Arithmetic::kFused>(VARIANTS(Kernel<kLanes>::contrast), call, begin, end);
}

void differentiate_pool(const InfoNCEOverPool& call, const Uses& uses, int64_t begin, int64_t end) {
  dispatch<Arithmetic::kFused>(VARIANTS(Kernel<kLanes>::differentiate), call, uses, begin, end);
}

}  // namespace fairseq_ecg::cpu
