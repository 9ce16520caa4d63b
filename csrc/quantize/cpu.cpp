// Gumbel product quantization on the CPU: a frame's logits are read once and stay in cache.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

#include "../common/dispatch.h"
#include "../common/philox.h"
#include "../common/vectors.h"
#include "quantize.h"

namespace fairseq_ecg::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// A line of numbers, one for each codeword, that ends in a filling up to whole vectors.
struct Line {
  Line(int64_t codewords, float filling)
      : codewords(codewords),
        width(rounded_up(codewords, kCacheLine)),
        filling(filling),
        memory(new float[width]),
        data(memory.get()) {}

  INLINE void read(const float* from) const {
    std::memcpy(data, from, codewords * sizeof(float));
    end();
  }

  INLINE void clear() const { std::fill(data, data + width, 0.0f); }

  INLINE void end() const { std::fill(data + codewords, data + width, filling); }

  int64_t codewords;
  int64_t width;
  float filling;
  std::unique_ptr<float[]> memory;
  float* data;
};

INLINE void perturb(const Line& logits, const float* noise, float temperature,
                    const Line& perturbed) {
  for (int64_t v = 0; v < logits.codewords; ++v) {
    // Minus the logarithm of an exponentially distributed number is Gumbel noise.
    perturbed.data[v] = (logits.data[v] - philox::logarithm(noise[v])) / temperature;
  }
  perturbed.end();
}

template <int kLanes>
struct Kernel : Vectors<kLanes> {
  using Vector = Vectors<kLanes>;
  using Floats = typename Vector::Floats;
  using Ints = typename Vector::Ints;
  using Vector::all;
  using Vector::any;
  using Vector::exp;
  using Vector::load;
  using Vector::store;
  using Vector::sum;

  struct Largest {
    float value;
    int32_t codeword;
  };

  // The first of the largest; NaN is above everything.
  static INLINE Largest largest(const Line& line) {
    Ints indices;
    for (int lane = 0; lane < kLanes; ++lane) indices[lane] = lane;
    Floats highest = all(-kInfinity);
    Ints codewords = indices, is_nan = {};
    for (int64_t v = 0; v < line.width; v += kLanes) {
      const Floats x = load(line.data + v);
      const Ints is_above = x > highest;
      highest = is_above ? x : highest;
      codewords = is_above ? indices : codewords;
      is_nan |= x != x;
      indices += kLanes;
    }
    if (any(is_nan)) {
      int32_t codeword = 0;
      while (!std::isnan(line.data[codeword])) ++codeword;
      return {kNaN, codeword};
    }
    Largest result{highest[0], codewords[0]};
    for (int lane = 1; lane < kLanes; ++lane) {
      const bool is_first = highest[lane] == result.value && codewords[lane] < result.codeword;
      if (highest[lane] > result.value || is_first) result = {highest[lane], codewords[lane]};
    }
    return result;
  }

  // Turns a line into the terms of its softmax, and returns their sum.
  static INLINE float exponentiate(const Line& line, float highest) {
    Floats total = {};
    for (int64_t v = 0; v < line.width; v += kLanes) {
      const Floats term = exp(load(line.data + v) - highest);
      store(line.data + v, term);
      total += term;
    }
    return sum(total);
  }

  static INLINE void choose(const Quantization& call, int64_t begin, int64_t end) {
    const int64_t codewords = call.codewords, channels = call.channels;
    const Line logits(codewords, -kInfinity), perturbed(codewords, -kInfinity);
    for (int64_t part = begin; part < end; ++part) {
      float* const sums = call.sums + part * call.groups * codewords;
      std::fill(sums, sums + call.groups * codewords, 0.0f);
      const int64_t last = std::min((part + 1) * kFramesOfPart, call.frames);
      for (int64_t index = part * kFramesOfPart * call.groups; index < last * call.groups;
           ++index) {
        const int64_t group = index % call.groups;
        logits.read(call.logits + index * codewords);
        const Largest hardest = largest(logits);
        __atomic_fetch_add(call.counts + group * codewords + hardest.codeword, 1, __ATOMIC_RELAXED);
        int32_t choice = hardest.codeword;
        if (call.noise != nullptr) {
          perturb(logits, call.noise + index * codewords, *call.temperature, perturbed);
          const Largest chosen = largest(perturbed);
          choice = std::isfinite(chosen.value) ? chosen.codeword : -1;
        }
        const float factor = 1 / exponentiate(logits, hardest.value);
        float* const group_sums = sums + group * codewords;
        for (int64_t v = 0; v < codewords; ++v) group_sums[v] += logits.data[v] * factor;

        call.choices[index] = choice;
        float* const code = call.codes + index * channels;
        if (choice < 0) {
          std::fill(code, code + channels, kNaN);
        } else {
          std::memcpy(code, call.codebook + (group * codewords + choice) * channels,
                      channels * sizeof(float));
        }
      }
    }
  }

  // Adds to a gradient what comes through the softmax of a line whose terms have these grad_probs.
  static INLINE void differentiate(const Line& line, const Line& grad_probs, float scale,
                                   const Line& gradient) {
    const float total = exponentiate(line, largest(line).value);
    Floats products = {};
    for (int64_t v = 0; v < line.width; v += kLanes) {
      products += load(line.data + v) * load(grad_probs.data + v);
    }
    const float mean = sum(products) / total;
    const float factor = scale / total;
    for (int64_t v = 0; v < line.width; v += kLanes) {
      const Floats centred = load(grad_probs.data + v) - mean;
      const Floats added = load(line.data + v) * centred * factor;
      store(gradient.data + v, load(gradient.data + v) + added);
    }
  }

  static INLINE void grad_logits(const GradLogits& call, int64_t begin, int64_t end) {
    const int64_t codewords = call.codewords;
    const Line logits(codewords, -kInfinity), perturbed(codewords, -kInfinity),
        grad_probs(codewords, 0);
    const Line gradient(codewords, 0);
    for (int64_t index = begin * call.groups; index < end * call.groups; ++index) {
      const int64_t group = index % call.groups;
      logits.read(call.logits + index * codewords);
      gradient.clear();
      if (call.noise != nullptr) {
        perturb(logits, call.noise + index * codewords, *call.temperature, perturbed);
        const int64_t position = group * call.frames + index / call.groups;
        grad_probs.read(call.grad_choices + position * codewords);
        differentiate(perturbed, grad_probs, 1 / *call.temperature, gradient);
      }
      if (call.grad_perplexity != nullptr) {
        grad_probs.read(call.grad_probs + group * codewords);
        differentiate(logits, grad_probs, *call.grad_perplexity, gradient);
      }
      std::memcpy(call.grad_logits + index * codewords, gradient.data, codewords * sizeof(float));
    }
  }
};

// exp of the entropy of a mean choice, and if wanted its gradient, the same for any frame.
float perplexity(const float* mean, int64_t codewords, int64_t frames, float* grad_probs) {
  double entropy = 0;
  for (int64_t v = 0; v < codewords; ++v) {
    entropy -= mean[v] * std::log(mean[v] + kLeastProbability);
  }
  const float result = static_cast<float>(std::exp(entropy));
  if (grad_probs != nullptr) {
    for (int64_t v = 0; v < codewords; ++v) {
      const float shifted = mean[v] + kLeastProbability;
      grad_probs[v] = -result * (std::log(shifted) + mean[v] / shifted) / frames;
    }
  }
  return result;
}

}  // namespace

void choose(const Quantization& call, int64_t begin, int64_t end) {
  return dispatch<Arithmetic::kExact>(VARIANTS(Kernel<kLanes>::choose), call, begin, end);
}

void finish(const Quantization& call) {
  const int64_t codewords = call.codewords;
  const std::unique_ptr<float[]> mean(new float[codewords]);
  call.perplexities[0] = call.perplexities[1] = 0;
  for (int64_t group = 0; group < call.groups; ++group) {
    for (int64_t v = 0; v < codewords; ++v) {
      mean[v] = static_cast<float>(call.counts[group * codewords + v]) / call.frames;
    }
    call.perplexities[0] += perplexity(mean.get(), codewords, call.frames, nullptr);
    std::fill(mean.get(), mean.get() + codewords, 0.0f);
    for (int64_t part = 0; part < call.parts; ++part) {
      const float* const sums = call.sums + (part * call.groups + group) * codewords;
      for (int64_t v = 0; v < codewords; ++v) mean[v] += sums[v];
    }
    for (int64_t v = 0; v < codewords; ++v) mean[v] /= call.frames;
    call.perplexities[1] +=
        perplexity(mean.get(), codewords, call.frames, call.grad_probs + group * codewords);
  }
}

void grad_logits(const GradLogits& call, int64_t begin, int64_t end) {
  return dispatch<Arithmetic::kExact>(VARIANTS(Kernel<kLanes>::grad_logits), call, begin, end);
}

void grad_codebook(const GradCodebook& call, int64_t begin, int64_t end) {
  const int64_t channels = call.channels;
  std::fill(call.grad_codebook + begin * channels, call.grad_codebook + end * channels, 0.0f);
  for (int64_t group = begin / call.codewords; group * call.codewords < end; ++group) {
    const int64_t first = group * call.codewords;
    for (int64_t frame = 0; frame < call.frames; ++frame) {
      const int64_t index = frame * call.groups + group;
      const float* const gradient = call.grad_codes + index * channels;
      const int64_t codeword = first + call.choices[index];
      if (codeword < first) {  // a frame without a choice has taken a NaN share in every codeword
        float* const from = call.grad_codebook + std::max(begin, first) * channels;
        std::fill(from, call.grad_codebook + std::min(end, first + call.codewords) * channels,
                  kNaN);
      } else if (begin <= codeword && codeword < end) {
        float* const sums = call.grad_codebook + codeword * channels;
        for (int64_t c = 0; c < channels; ++c) sums[c] += gradient[c];
      }
    }
  }
}

}  // namespace fairseq_ecg::cpu
