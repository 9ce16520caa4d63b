// The contrastive losses on the CPU: over the pairs of a first and a second segment alone, or over
// all pairs of two rows.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>

#include "../common/dispatch.h"
#include "../common/vectors.h"
#include "contrast.h"

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

  static INLINE void normalise(const Contrast& call, const Workspace& workspace, int64_t begin,
                               int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      float* const unit = workspace.units.get() + i * workspace.pitch;
      std::copy_n(call.features + workspace.members[i] * call.channels, call.channels, unit);
      std::fill(unit + call.channels, unit + workspace.pitch, 0.0f);
      const float norm = std::sqrt(dot(unit, unit, workspace.pitch));
      const float scale = norm < call.eps ? call.eps : norm;  // NaN stays NaN
      workspace.scales[i] = scale;
      for (int64_t c = 0; c < workspace.pitch; c += kLanes) {
        store(unit + c, load(unit + c) / scale);
      }
    }
  }

  static INLINE void compare(const Contrast& call, const Workspace& workspace, int64_t begin,
                             int64_t end) {
    const int64_t pitch = workspace.pitch, columns = workspace.columns;
    const float* const others = workspace.units.get() + workspace.first_column * pitch;
    for (int64_t i = begin; i < end; ++i) {
      const float* const unit = workspace.units.get() + i * pitch;
      float* const pairs = workspace.pairs.get() + i * columns;
      int64_t j = 0;
      for (; j + kTogether <= columns; j += kTogether) {
        const float* lines[kTogether];
        for (int64_t k = 0; k < kTogether; ++k) lines[k] = others + (j + k) * pitch;
        Vector::template dots<kTogether>(unit, lines, pitch, pairs + j);
      }
      for (; j < columns; ++j) pairs[j] = dot(unit, others + j * pitch, pitch);
      for (j = 0; j < columns; ++j) pairs[j] /= call.temperature;
    }
  }

  static INLINE void differentiate(const Contrast& call, const Workspace& workspace, int64_t begin,
                                   int64_t end) {
    const int64_t pitch = workspace.pitch, lines = workspace.lines, columns = workspace.columns;
    const std::unique_ptr<float[]> sums(new float[pitch]);
    for (int64_t i = begin; i < end; ++i) {
      const bool has_line = i < lines;
      const int64_t others = has_line ? columns : lines;
      const float* const units =
          workspace.units.get() + (has_line ? workspace.first_column * pitch : 0);
      const float* const dlogits = workspace.pairs.get() + (has_line ? i * columns : i - lines);
      const int64_t step = has_line ? 1 : columns;
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

// The similarities of one row to those that it is contrasted with.
struct Line {
  const float* similarities;
  int64_t step;           // distance between two of them
  const int64_t* others;  // the row that each is to
  int64_t count;
  int64_t row;

  float operator[](int64_t j) const { return similarities[j * step]; }
  bool is_itself(int64_t j) const { return others[j] == row; }
};

Line line_of(const Workspace& workspace, int64_t i) {
  const int64_t* const members = workspace.members.get();
  return {workspace.pairs.get() + i * workspace.columns, 1, members + workspace.first_column,
          workspace.columns, members[i]};
}

Line column_of(const Workspace& workspace, int64_t j) {
  const int64_t* const members = workspace.members.get();
  return {workspace.pairs.get() + j, workspace.columns, members, workspace.lines,
          members[workspace.first_column + j]};
}

// The logarithm of the sum of exp over some of a line's numbers; NaN if one of them is.
template <class Counts>
float log_sum_exp(const Line& line, Counts counts) {
  float highest = -std::numeric_limits<float>::infinity();
  for (int64_t j = 0; j < line.count; ++j) {
    if (counts(j) && (std::isnan(line[j]) || line[j] > highest)) highest = line[j];
  }
  double total = 0;
  for (int64_t j = 0; j < line.count; ++j) {
    if (counts(j)) total += std::exp(line[j] - highest);
  }
  return highest + static_cast<float>(std::log(total));
}

// Counts the positive pairs of a row, and those of them that are above its negative ones.
void count_pairs(const Contrast& call, const Line& line) {
  const int64_t group = call.group[line.row];
  const auto is_alike = [&](int64_t j) { return call.group[line.others[j]] == group; };
  float highest = -std::numeric_limits<float>::infinity(), lowest = -highest;
  for (int64_t j = 0; j < line.count; ++j) {
    if (is_alike(j)) continue;
    highest = std::max(highest, line[j]);
    lowest = std::min(lowest, line[j]);
  }
  for (int64_t j = 0; j < line.count; ++j) {
    if (!is_alike(j) || line.is_itself(j)) continue;
    const bool is_highest = line[j] >= highest;
    ++call.counts[0];
    call.counts[1] += is_highest;
    call.counts[2] += is_highest && line[j] <= lowest;
  }
}

// First segments with second ones, both ways.
void weigh_two_sets(const Contrast& call, const Workspace& workspace) {
  const int64_t firsts = workspace.lines, seconds = workspace.columns;
  const std::unique_ptr<float[]> log_sums(new float[firsts + seconds]);
  const std::unique_ptr<int64_t[]> n_positive(new int64_t[firsts + seconds]());
  const auto all = [](int64_t) { return true; };
  for (int64_t i = 0; i < firsts + seconds; ++i) {
    const Line line = i < firsts ? line_of(workspace, i) : column_of(workspace, i - firsts);
    log_sums[i] = log_sum_exp(line, all);
    count_pairs(call, line);
  }
  const auto is_positive = [&](int64_t i, int64_t j) {
    return call.group[workspace.members[i]] == call.group[workspace.members[firsts + j]];
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

// Every row with every other one.
void weigh_one_set(const Contrast& call, const Workspace& workspace) {
  const int64_t rows = workspace.lines;
  double total = 0;
  for (int64_t i = 0; i < rows; ++i) {
    const Line line = line_of(workspace, i);
    const auto is_alike = [&](int64_t j) { return call.group[j] == call.group[i]; };
    const float log_sum = log_sum_exp(line, [&](int64_t j) { return !is_alike(j); });
    count_pairs(call, line);
    float* const pairs = workspace.pairs.get() + i * rows;
    float weight = 0;  // of the negative pairs, which are in the loss of each positive one
    for (int64_t j = 0; j < rows; ++j) {
      if (!is_alike(j)) continue;
      const double excess = log_sum - pairs[j];
      pairs[j] = j == i ? 0 : static_cast<float>(-1 / (1 + std::exp(-excess)));
      weight -= pairs[j];
      if (j != i) total += std::max(excess, 0.0) + std::log1p(std::exp(-std::abs(excess)));
    }
    for (int64_t j = 0; j < rows; ++j) {
      if (!is_alike(j)) pairs[j] = weight * std::exp(pairs[j] - log_sum);
    }
  }
  *call.loss = static_cast<float>(total);
  if (call.grad_features == nullptr) return;

  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < i; ++j) {
      float &one = workspace.pairs[i * rows + j], &other = workspace.pairs[j * rows + i];
      one = other = (one + other) / call.temperature;
    }
  }
}

}  // namespace

Workspace::Workspace(const Contrast& call)
    : pitch(pitch_of(call.channels)),
      members(new int64_t[call.rows]),
      units(new float[call.rows * pitch]),
      scales(new float[call.rows]) {
  if (!call.has_segments) {
    std::iota(members.get(), members.get() + call.rows, 0);
    lines = columns = call.rows;
  } else {
    for (int64_t row = 0; row < call.rows; ++row) {
      if (call.segment[row] == 0) members[lines++] = row;
    }
    first_column = lines;
    for (int64_t row = 0; row < call.rows; ++row) {
      if (call.segment[row] == 1) members[first_column + columns++] = row;
    }
  }
  pairs.reset(new float[lines * columns]);
}

void weigh(const Contrast& call, const Workspace& workspace) {
  std::fill(call.counts, call.counts + kCounts, 0);
  (call.has_segments ? weigh_two_sets : weigh_one_set)(call, workspace);
}

void normalise(const Contrast& call, const Workspace& workspace, int64_t begin, int64_t end) {
  dispatch<Arithmetic::kFused>(VARIANTS(Kernel<kLanes>::normalise), call, workspace, begin, end);
}

void compare(const Contrast& call, const Workspace& workspace, int64_t begin, int64_t end) {
  dispatch<Arithmetic::kFused>(VARIANTS(Kernel<kLanes>::compare), call, workspace, begin, end);
}

void differentiate(const Contrast& call, const Workspace& workspace, int64_t begin, int64_t end) {
  dispatch<Arithmetic::kFused>(VARIANTS(Kernel<kLanes>::differentiate), call, workspace, begin,
                               end);
}

}  // namespace fairseq_ecg::cpu
