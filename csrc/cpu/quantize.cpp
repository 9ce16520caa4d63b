// Gumbel product quantization on the CPU: a frame's logits are read once and stay in cache.
//
// One template is compiled for several instruction sets, as the length of vectors depends on them.
#include "../quantize.h"
#include "../philox.h"
#include "dispatch.h"
#include "vectors.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

namespace fairseq_ecg::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// A line of numbers, one for each word, that ends in a filling up to whole vectors.
struct Line {
  Line(int64_t words, float filling)
      : words(words),
        width((words + kPlace - 1) / kPlace * kPlace),
        filling(filling),
        memory(new float[width]),
        data(memory.get()) {}

  INLINE void read(const float* from) const {
    std::memcpy(data, from, words * sizeof(float));
    end();
  }

  INLINE void clear() const { std::fill(data, data + width, 0.0f); }

  INLINE void end() const { std::fill(data + words, data + width, filling); }

  int64_t words;
  int64_t width;
  float filling;
  std::unique_ptr<float[]> memory;
  float* data;
};

INLINE void perturb(const Line& logits, const float* draws, float temperature,
                    const Line& perturbed) {
  for (int64_t v = 0; v < logits.words; ++v) {
    // Minus the logarithm of an exponentially distributed number is Gumbel noise.
    perturbed.data[v] = (logits.data[v] - philox::logarithm(draws[v])) / temperature;
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
    int32_t word;
  };

  // The first of the largest; NaN is above everything.
  static INLINE Largest largest(const Line& line) {
    Ints places;
    for (int lane = 0; lane < kLanes; ++lane) places[lane] = lane;
    Floats highest = all(-kInfinity);
    Ints words = places, is_nan = {};
    for (int64_t v = 0; v < line.width; v += kLanes) {
      const Floats x = load(line.data + v);
      const Ints is_above = x > highest;
      highest = is_above ? x : highest;
      words = is_above ? places : words;
      is_nan |= x != x;
      places += kLanes;
    }
    if (any(is_nan)) {
      int32_t word = 0;
      while (!std::isnan(line.data[word])) ++word;
      return {kNaN, word};
    }
    Largest result{highest[0], words[0]};
    for (int lane = 1; lane < kLanes; ++lane) {
      const bool is_first = highest[lane] == result.value && words[lane] < result.word;
      if (highest[lane] > result.value || is_first) result = {highest[lane], words[lane]};
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
    const int64_t words = call.words, channels = call.channels;
    const Line logits(words, -kInfinity), perturbed(words, -kInfinity);
    for (int64_t part = begin; part < end; ++part) {
      float* const sums = call.sums + part * call.groups * words;
      std::fill(sums, sums + call.groups * words, 0.0f);
      const int64_t last = std::min((part + 1) * kFramesOfPart, call.frames);
      for (int64_t place = part * kFramesOfPart * call.groups; place < last * call.groups;
           ++place) {
        const int64_t group = place % call.groups;
        logits.read(call.logits + place * words);
        const Largest hardest = largest(logits);
        __atomic_fetch_add(call.counts + group * words + hardest.word, 1, __ATOMIC_RELAXED);
        int32_t choice = hardest.word;
        if (call.draws != nullptr) {
          perturb(logits, call.draws + place * words, *call.temperature, perturbed);
          const Largest chosen = largest(perturbed);
          choice = std::isfinite(chosen.value) ? chosen.word : -1;
        }
        const float factor = 1 / exponentiate(logits, hardest.value);
        float* const group_sums = sums + group * words;
        for (int64_t v = 0; v < words; ++v) group_sums[v] += logits.data[v] * factor;

        call.choices[place] = choice;
        float* const code = call.codes + place * channels;
        if (choice < 0) {
          std::fill(code, code + channels, kNaN);
        } else {
          std::memcpy(code, call.codebook + (group * words + choice) * channels,
                      channels * sizeof(float));
        }
      }
    }
  }

  // Adds to a gradient what comes through the softmax of a line whose terms have these slopes.
  static INLINE void differentiate(const Line& line, const Line& slopes, float scale,
                                   const Line& gradient) {
    const float total = exponentiate(line, largest(line).value);
    Floats products = {};
    for (int64_t v = 0; v < line.width; v += kLanes) {
      products += load(line.data + v) * load(slopes.data + v);
    }
    const float mean = sum(products) / total;
    const float factor = scale / total;
    for (int64_t v = 0; v < line.width; v += kLanes) {
      const Floats slope = load(slopes.data + v) - mean;
      const Floats added = load(line.data + v) * slope * factor;
      store(gradient.data + v, load(gradient.data + v) + added);
    }
  }

  static INLINE void by_logits(const ByLogits& call, int64_t begin, int64_t end) {
    const int64_t words = call.words;
    const Line logits(words, -kInfinity), perturbed(words, -kInfinity), slopes(words, 0);
    const Line gradient(words, 0);
    for (int64_t place = begin * call.groups; place < end * call.groups; ++place) {
      const int64_t group = place % call.groups;
      logits.read(call.logits + place * words);
      gradient.clear();
      if (call.draws != nullptr) {
        perturb(logits, call.draws + place * words, *call.temperature, perturbed);
        const int64_t position = group * call.frames + place / call.groups;
        slopes.read(call.by_choices + position * words);
        differentiate(perturbed, slopes, 1 / *call.temperature, gradient);
      }
      if (call.by_perplexity != nullptr) {
        slopes.read(call.slopes + group * words);
        differentiate(logits, slopes, *call.by_perplexity, gradient);
      }
      std::memcpy(call.by_logits + place * words, gradient.data, words * sizeof(float));
    }
  }
};

#if defined(__GNUC__) && defined(__x86_64__)
__attribute__((target("avx512f,fma"))) void choose_avx512(const Quantization& call, int64_t begin,
                                                          int64_t end) {
  Kernel<16>::choose(call, begin, end);
}

__attribute__((target("avx2,fma"))) void choose_avx2(const Quantization& call, int64_t begin,
                                                     int64_t end) {
  Kernel<8>::choose(call, begin, end);
}

__attribute__((target("avx512f,fma"))) void by_logits_avx512(const ByLogits& call, int64_t begin,
                                                             int64_t end) {
  Kernel<16>::by_logits(call, begin, end);
}

__attribute__((target("avx2,fma"))) void by_logits_avx2(const ByLogits& call, int64_t begin,
                                                        int64_t end) {
  Kernel<8>::by_logits(call, begin, end);
}
#endif

// exp of the entropy of a mean choice, and if wanted its slopes by the choices of any frame.
float perplexity(const float* mean, int64_t words, int64_t frames, float* slopes) {
  double entropy = 0;
  for (int64_t v = 0; v < words; ++v) {
    entropy -= mean[v] * std::log(mean[v] + kLeastProbability);
  }
  const float result = static_cast<float>(std::exp(entropy));
  if (slopes != nullptr) {
    for (int64_t v = 0; v < words; ++v) {
      const float shifted = mean[v] + kLeastProbability;
      slopes[v] = -result * (std::log(shifted) + mean[v] / shifted) / frames;
    }
  }
  return result;
}

}  // namespace

void choose(const Quantization& call, int64_t begin, int64_t end) {
  switch (instructions()) {
#if defined(__GNUC__) && defined(__x86_64__)
    case Instructions::kAVX512:
      return choose_avx512(call, begin, end);
    case Instructions::kAVX2:
      return choose_avx2(call, begin, end);
#endif
    default:
      return Kernel<4>::choose(call, begin, end);
  }
}

void finish(const Quantization& call) {
  const int64_t words = call.words;
  const std::unique_ptr<float[]> mean(new float[words]);
  call.perplexities[0] = call.perplexities[1] = 0;
  for (int64_t group = 0; group < call.groups; ++group) {
    for (int64_t v = 0; v < words; ++v) {
      mean[v] = static_cast<float>(call.counts[group * words + v]) / call.frames;
    }
    call.perplexities[0] += perplexity(mean.get(), words, call.frames, nullptr);
    std::fill(mean.get(), mean.get() + words, 0.0f);
    for (int64_t part = 0; part < call.parts; ++part) {
      const float* const sums = call.sums + (part * call.groups + group) * words;
      for (int64_t v = 0; v < words; ++v) mean[v] += sums[v];
    }
    for (int64_t v = 0; v < words; ++v) mean[v] /= call.frames;
    call.perplexities[1] +=
        perplexity(mean.get(), words, call.frames, call.slopes + group * words);
  }
}

void by_logits(const ByLogits& call, int64_t begin, int64_t end) {
  switch (instructions()) {
#if defined(__GNUC__) && defined(__x86_64__)
    case Instructions::kAVX512:
      return by_logits_avx512(call, begin, end);
    case Instructions::kAVX2:
      return by_logits_avx2(call, begin, end);
#endif
    default:
      return Kernel<4>::by_logits(call, begin, end);
  }
}

void by_codebook(const ByCodebook& call, int64_t begin, int64_t end) {
  const int64_t channels = call.channels;
  std::fill(call.by_codebook + begin * channels, call.by_codebook + end * channels, 0.0f);
  for (int64_t group = begin / call.words; group * call.words < end; ++group) {
    const int64_t first = group * call.words;
    for (int64_t frame = 0; frame < call.frames; ++frame) {
      const int64_t place = frame * call.groups + group;
      const float* const gradient = call.by_codes + place * channels;
      const int64_t word = first + call.choices[place];
      if (word < first) {  // a frame without a choice has taken a NaN share in every word
        float* const from = call.by_codebook + std::max(begin, first) * channels;
        std::fill(from, call.by_codebook + std::min(end, first + call.words) * channels, kNaN);
      } else if (begin <= word && word < end) {
        float* const sums = call.by_codebook + word * channels;
        for (int64_t c = 0; c < channels; ++c) sums[c] += gradient[c];
      }
    }
  }
}

}  // namespace fairseq_ecg::cpu
