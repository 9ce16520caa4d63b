// The patient contrastive loss on the CPU, over the pairs of a first and a second segment alone.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

#include "../common/dispatch.h"
#include "../common/vectors.h"
#include "cmsc.h"

namespace fairseq_ecg::cpu {
namespace {

template <int kLanes>
struct Kernel : Vectors<kLanes> {
  using Vector = Vectors<kLanes>;
  using Floats = typename Vector::Floats;
  using Vector::dot;
  using Vector::kTogether;
  using Vector::load;
  using Vector::store;

  // A sum of lines, each with its weight, over kVectors * kLanes channels.
  template <int kVectors>
  static INLINE void combine(const float* weights, int64_t step, const float* lines, int64_t count,
                             int64_t pitch, float* out) {
    Floats sums[kVectors] = {};
    for (int64_t i = 0; i < count; ++i) {
      const float weight = weights[i * step];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sums[v] += weight * load(lines + i * pitch + v * kLanes);
    }
    for (int v = 0; v < kVectors; ++v) store(out + v * kLanes, sums[v]);
  }

  static INLINE void normalise(const CMSC& call, const Workspace& workspace, int64_t begin,
                               int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      float* const unit = workspace.units.get() + i * workspace.pitch;
      std::memcpy(unit, call.features + workspace.members[i] * call.channels,
                  call.channels * sizeof(float));
      std::fill(unit + call.channels, unit + workspace.pitch, 0.0f);
      const float norm = std::sqrt(dot(unit, unit, workspace.pitch));
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
    const float* const others = workspace.units.get() + workspace.firsts * pitch;
    for (int64_t i = begin; i < end; ++i) {
      const float* const unit = workspace.units.get() + i * pitch;
      float* const pairs = workspace.pairs.get() + i * seconds;
      int64_t j = 0;
      for (; j + kTogether <= seconds; j += kTogether) {
        const float* lines[kTogether];
        for (int64_t k = 0; k < kTogether; ++k) lines[k] = others + (j + k) * pitch;
        Vector::template dots<kTogether>(unit, lines, pitch, pairs + j);
      }
      for (; j < seconds; ++j) pairs[j] = dot(unit, others + j * pitch, pitch);
      for (j = 0; j < seconds; ++j) pairs[j] /= call.temperature;
    }
  }

  static INLINE void differentiate(const CMSC& call, const Workspace& workspace, int64_t begin,
                                   int64_t end) {
    const int64_t pitch = workspace.pitch, firsts = workspace.firsts;
    const std::unique_ptr<float[]> sums(new float[pitch]);
    for (int64_t i = begin; i < end; ++i) {
      const bool is_first = i < firsts;
      const int64_t others = is_first ? workspace.seconds : firsts;
      const float* const units = workspace.units.get() + (is_first ? firsts * pitch : 0);
      const float* const dlogits =
          workspace.pairs.get() + (is_first ? i * workspace.seconds : i - firsts);
      const int64_t step = is_first ? 1 : workspace.seconds;
      int64_t c = 0;
      for (; c + 8 * kLanes <= pitch; c += 8 * kLanes) {
        combine<8>(dlogits, step, units + c, others, pitch, sums.get() + c);
      }
      for (; c < pitch; c += kLanes) {
        combine<1>(dlogits, step, units + c, others, pitch, sums.get() + c);
      }
      // The scale is a constant for the gradient.
      float* const gradient = call.grad_features + workspace.members[i] * call.channels;
      for (c = 0; c < call.channels; ++c) gradient[c] = sums[c] / workspace.scales[i];
    }
  }
};

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

Workspace::Workspace(const CMSC& call)
    : pitch(pitch_of(call.channels)),
      members(new int64_t[call.rows]),
      units(new float[call.rows * pitch]),
      scales(new float[call.rows]) {
  for (int64_t row = 0; row < call.rows; ++row) {
    if (call.segment[row] == 0) members[firsts++] = row;
  }
  for (int64_t row = 0; row < call.rows; ++row) {
    if (call.segment[row] == 1) members[firsts + seconds++] = row;
  }
  pairs.reset(new float[firsts * seconds]);
}

void weigh(const CMSC& call, const Workspace& workspace) {
  const int64_t firsts = workspace.firsts, seconds = workspace.seconds;
  const std::unique_ptr<float[]> log_sums(new float[firsts + seconds]);
  const std::unique_ptr<int64_t[]> n_positive(new int64_t[firsts + seconds]());
  for (int64_t i = 0; i < firsts; ++i) {
    log_sums[i] = log_sum_exp(workspace.pairs.get() + i * seconds, seconds, 1);
  }
  for (int64_t j = 0; j < seconds; ++j) {
    log_sums[firsts + j] = log_sum_exp(workspace.pairs.get() + j, firsts, seconds);
  }
  const auto is_positive = [&](int64_t i, int64_t j) {
    return call.patient_id[workspace.members[i]] == call.patient_id[workspace.members[firsts + j]];
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
  if (call.grad_features == nullptr) return;

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

void normalise(const CMSC& call, const Workspace& workspace, int64_t begin, int64_t end) {
  dispatch<Arithmetic::kFused>(VARIANTS(Kernel<kLanes>::normalise), call, workspace, begin, end);
}

void compare(const CMSC& call, const Workspace& workspace, int64_t begin, int64_t end) {
  dispatch<Arithmetic::kFused>(VARIANTS(Kernel<kLanes>::compare), call, workspace, begin, end);
}

void differentiate(const CMSC& call, const Workspace& workspace, int64_t begin, int64_t end) {
  dispatch<Arithmetic::kFused>(VARIANTS(Kernel<kLanes>::differentiate), call, workspace, begin,
                               end);
}

}  // namespace fairseq_ecg::cpu
