// The patient contrastive loss on the CPU, over the pairs of a first and a second segment alone.
//
// One template is compiled for several instruction sets, as the length of vectors depends on them.
#include "../cmsc.h"
#include "dispatch.h"
#include "vectors.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

namespace fairseq_ecg::cpu {
namespace {

template <int kLanes>
struct Kernel : Vectors<kLanes> {
  using Vector = Vectors<kLanes>;
  using Floats = typename Vector::Floats;
  using Vector::load;
  using Vector::store;
  using Vector::sum;

  static INLINE float product(const float* one, const float* other, int64_t pitch) {
    Floats products = {};
    for (int64_t c = 0; c < pitch; c += kLanes) products += load(one + c) * load(other + c);
    return sum(products);
  }

  static INLINE void normalise(const CMSC& call, const Workspace& workspace, int64_t begin,
                               int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      float* const unit = workspace.units + i * workspace.pitch;
      std::memcpy(unit, call.features + workspace.members[i] * call.channels,
                  call.channels * sizeof(float));
      std::fill(unit + call.channels, unit + workspace.pitch, 0.0f);
      const float norm = std::sqrt(product(unit, unit, workspace.pitch));
      const float scale = norm < call.eps ? call.eps : norm;  // NaN stays NaN
      workspace.scales[i] = scale;
      for (int64_t c = 0; c < workspace.pitch; c += kLanes) {
        store(unit + c, load(unit + c) / scale);
      }
    }
  }

  static INLINE void compare(const CMSC& call, const Workspace& workspace, int64_t begin,
                             int64_t end) {
    const int64_t pitch = workspace.pitch, seconds = workspace.seconds;
    const float* const others = workspace.units + workspace.firsts * pitch;
    for (int64_t i = begin; i < end; ++i) {
      const float* const unit = workspace.units + i * pitch;
      for (int64_t j = 0; j < seconds; ++j) {
        workspace.pairs[i * seconds + j] =
            product(unit, others + j * pitch, pitch) / call.temperature;
      }
    }
  }

  static INLINE void differentiate(const CMSC& call, const Workspace& workspace, int64_t begin,
                                   int64_t end) {
    const int64_t pitch = workspace.pitch, firsts = workspace.firsts;
    const std::unique_ptr<float[]> sums(new float[pitch]);
    for (int64_t i = begin; i < end; ++i) {
      const bool is_first = i < firsts;
      const int64_t others = is_first ? workspace.seconds : firsts;
      const float* const units = workspace.units + (is_first ? firsts * pitch : 0);
      const float* const slopes =
          workspace.pairs + (is_first ? i * workspace.seconds : i - firsts);
      const int64_t step = is_first ? 1 : workspace.seconds;
      std::fill(sums.get(), sums.get() + pitch, 0.0f);
      for (int64_t j = 0; j < others; ++j) {
        const float slope = slopes[j * step];
        for (int64_t c = 0; c < pitch; c += kLanes) {
          store(sums.get() + c, load(sums.get() + c) + load(units + j * pitch + c) * slope);
        }
      }
      // The scale is a constant for the gradient.
      float* const gradient = call.by_features + workspace.members[i] * call.channels;
      for (int64_t c = 0; c < call.channels; ++c) gradient[c] = sums[c] / workspace.scales[i];
    }
  }

  static INLINE void take(Step step, const CMSC& call, const Workspace& workspace, int64_t begin,
                          int64_t end) {
    switch (step) {
      case Step::kNormalise:
        return normalise(call, workspace, begin, end);
      case Step::kCompare:
        return compare(call, workspace, begin, end);
      case Step::kDifferentiate:
        return differentiate(call, workspace, begin, end);
    }
  }
};

#if defined(__GNUC__) && defined(__x86_64__)
__attribute__((target("avx512f,fma"))) void take_avx512(Step step, const CMSC& call,
                                                        const Workspace& workspace, int64_t begin,
                                                        int64_t end) {
  Kernel<16>::take(step, call, workspace, begin, end);
}

__attribute__((target("avx2,fma"))) void take_avx2(Step step, const CMSC& call,
                                                   const Workspace& workspace, int64_t begin,
                                                   int64_t end) {
  Kernel<8>::take(step, call, workspace, begin, end);
}
#endif

// The logarithm of the sum of exp over numbers that are a step apart; NaN if one of them is.
float log_sum_exp(const float* numbers, int64_t count, int64_t step) {
  float highest = -std::numeric_limits<float>::infinity();
  for (int64_t i = 0; i < count; ++i) {
    const float number = numbers[i * step];
    if (std::isnan(number) || number > highest) highest = number;
  }
  double total = 0;
  for (int64_t i = 0; i < count; ++i) total += std::exp(numbers[i * step] - highest);
  return highest + static_cast<float>(std::log(total));
}

}  // namespace

void select(const CMSC& call, Workspace& workspace) {
  int64_t member = 0;
  for (int64_t row = 0; row < call.rows; ++row) {
    if (call.segment[row] == 0) workspace.members[member++] = row;
  }
  workspace.firsts = member;
  for (int64_t row = 0; row < call.rows; ++row) {
    if (call.segment[row] == 1) workspace.members[member++] = row;
  }
  workspace.seconds = member - workspace.firsts;
}

void weigh(const CMSC& call, const Workspace& workspace) {
  const int64_t firsts = workspace.firsts, seconds = workspace.seconds;
  const std::unique_ptr<float[]> log_sums(new float[firsts + seconds]);
  const std::unique_ptr<int64_t[]> n_positive(new int64_t[firsts + seconds]());
  for (int64_t i = 0; i < firsts; ++i) {
    log_sums[i] = log_sum_exp(workspace.pairs + i * seconds, seconds, 1);
  }
  for (int64_t j = 0; j < seconds; ++j) {
    log_sums[firsts + j] = log_sum_exp(workspace.pairs + j, firsts, seconds);
  }
  const auto is_positive = [&](int64_t i, int64_t j) {
    return call.patient_id[workspace.members[i]] ==
           call.patient_id[workspace.members[firsts + j]];
  };
  double total = 0;
  int64_t count = 0;
  for (int64_t i = 0; i < firsts; ++i) {
    for (int64_t j = 0; j < seconds; ++j) {
      if (!is_positive(i, j)) continue;
      const float similarity = workspace.pairs[i * seconds + j];
      total += (log_sums[i] - similarity) + (log_sums[firsts + j] - similarity);
      ++n_positive[i];
      ++n_positive[firsts + j];
      ++count;
    }
  }
  *call.loss = static_cast<float>(total / (2 * count));
  if (call.by_features == nullptr) return;

  const float factor = 1 / (2 * std::max<int64_t>(count, 1) * call.temperature);
  for (int64_t i = 0; i < firsts; ++i) {
    for (int64_t j = 0; j < seconds; ++j) {
      float& pair = workspace.pairs[i * seconds + j];
      const float row = n_positive[i] * std::exp(pair - log_sums[i]);
      const float column = n_positive[firsts + j] * std::exp(pair - log_sums[firsts + j]);
      pair = (row + column - (is_positive(i, j) ? 2 : 0)) * factor;
    }
  }
}

void take(Step step, const CMSC& call, const Workspace& workspace, int64_t begin, int64_t end) {
  switch (instructions()) {
#if defined(__GNUC__) && defined(__x86_64__)
    case Instructions::kAVX512:
      return take_avx512(step, call, workspace, begin, end);
    case Instructions::kAVX2:
      return take_avx2(step, call, workspace, begin, end);
#endif
    default:
      return Kernel<4>::take(step, call, workspace, begin, end);
  }
}

}  // namespace fairseq_ecg::cpu
