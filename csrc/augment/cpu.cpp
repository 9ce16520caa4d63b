// A recipe of augmentations on the CPU: each block of samples stays in a core's cache while all of
// them are applied to it. Loops run over arrays, so that compilers vectorise them for each
// instruction set.
#include <algorithm>
#include <cstring>

#include "../common/dispatch.h"
#include "../common/philox_vectors.h"
#include "augment.h"

namespace fairseq_ecg::cpu {
namespace {

constexpr int64_t kBlock = 512;  // samples

// Blocks of random numbers are computed so many at once.
constexpr int64_t kAtOnce = 16;

// Normal numbers for a block that may start within a block of four.
constexpr int64_t kNormals = (kBlock / 4 + kAtOnce) * 4;

// What is known of one recording before its samples are looked at.
struct Recording {
  const float* ecg;
  float* augmented;
  const double* parameters;
  const int64_t* origin;
  const float* normals;  // of the first EMG noise, or null
  int64_t start;
  int64_t valid;
  uint32_t present;                 // leads
  int64_t row_of[kLeads];           // of the leads that are present
  uint32_t needed[kMostSteps + 1];  // leads that matter before each step
};

// For a loop over a set of leads.
struct Each {
  uint32_t leads;

  struct Iterator {
    uint32_t rest;

    INLINE int operator*() const { return __builtin_ctz(rest); }
    INLINE void operator++() { rest &= rest - 1; }
    INLINE bool operator!=(const Iterator& other) const { return rest != other.rest; }
  };

  INLINE Iterator begin() const { return {leads}; }
  INLINE Iterator end() const { return {0}; }
};

INLINE bool prepare(const Augment& call, int64_t row, Recording& of) {
  const int64_t numbers = call.leads * call.samples;
  of.ecg = call.ecgs + row * numbers;
  of.augmented = call.augmented + row * numbers;
  of.parameters = call.parameters + row * call.columns;
  of.origin = call.origins + row * philox::kOriginColumns;
  of.normals = call.normals == nullptr ? nullptr : call.normals + row * numbers;
  const double samples = static_cast<double>(call.samples);
  of.start = static_cast<int64_t>(std::max(0.0, of.parameters[kStart]));
  of.valid = static_cast<int64_t>(std::min(std::max(0.0, of.parameters[kValid]), samples));
  of.present = 0;
  for (int64_t r = 0; r < call.leads; ++r) {
    const int64_t lead = call.layouts[row * call.leads + r];
    if (lead < 0 || lead >= kLeads || (of.present >> lead & 1)) return false;
    of.present |= 1u << lead;
    of.row_of[lead] = r;
  }
  of.needed[call.steps] = of.present;
  for (int32_t index = call.steps - 1; index >= 0; --index) {
    const Step& step = call.recipe[index];
    const double* const parameters = of.parameters + step.column;
    const uint32_t after = of.needed[index + 1];
    uint32_t kept = 0;
    for (const int lead : Each{of.present}) {
      kept |= static_cast<uint32_t>(parameters[kRows + of.row_of[lead]] > 0) << lead;
    }
    of.needed[index] =
        parameters[kApplied] > 0 ? needed_before(step, after, of.present, kept) : after;
  }
  return true;
}

// The samples [column, column + size) of a recording, in registers of kWords words.
template <int kWords>
struct Block {
  const Augment& call;
  const Recording& of;
  int64_t column;
  int64_t size;

  INLINE int64_t position() const { return of.start + column; }

  INLINE float* lead(int lead) const {
    return of.augmented + of.row_of[lead] * call.samples + column;
  }

  INLINE float of_row(const Step& step, int lead) const {
    return static_cast<float>(of.parameters[step.column + kRows + of.row_of[lead]]);
  }

  INLINE void sinusoids(const Step& step, uint32_t leads) const {
    float noise[kBlock] = {};
    const double first = static_cast<double>(position());
    for (int32_t k = 0; k < step.count; ++k) {
      const double* const items = of.parameters + step.column + kItems + k * kSinusoid;
      const Sinusoid term = sinusoid(items, of.parameters[kRate]);
      for (int32_t i = 0; i < kBlock; ++i) noise[i] += value_at(first + i, term);
    }
    for (const int lead : Each{leads}) add(lead, noise, of_row(step, lead));
  }

  INLINE void emg(int32_t index, uint32_t leads) const {
    const Step& step = call.recipe[index];
    float drawn[kNormals];
    for (const int lead : Each{leads}) {
      const int64_t row = of.row_of[lead];
      const float* noise;
      if (of.normals != nullptr) {
        const int64_t numbers = call.rows * call.leads * call.samples;
        noise = of.normals + step.count * numbers + row * call.samples + column;
      } else {
        const philox::Sequence from = philox::sequence(of.origin, kFirstStream + index, row);
        draw(from, static_cast<uint32_t>(position() / 4), drawn);
        noise = drawn + position() % 4;
      }
      add(lead, noise, of_row(step, lead));
    }
  }

  // Writes the numbers of as many blocks as cover the samples.
  INLINE void draw(const philox::Sequence& from, uint32_t first, float* out) const {
    const int64_t blocks = (position() % 4 + size + 3) / 4;
    for (int64_t begin = 0; begin < blocks; begin += kAtOnce) {
      uint32_t x[kAtOnce], y[kAtOnce], z[kAtOnce], w[kAtOnce];
      for (int64_t i = 0; i < kAtOnce; i += 2 * kWords) {
        write_words<kWords>(from, first + static_cast<uint32_t>(begin + i), x + i, y + i, z + i,
                            w + i);
      }
      for (int64_t i = 0; i < kAtOnce; ++i) {
        philox::write_normals({x[i], y[i], z[i], w[i]}, out + 4 * (begin + i));
      }
    }
  }

  INLINE void shift(const Step& step, uint32_t leads) const {
    float is_shifted[kBlock] = {};
    const int64_t end = position() + size;
    for (int32_t k = 0; k < step.count; ++k) {
      const double* const items = of.parameters + step.column + kItems + k * kSegment;
      const int64_t start = std::max(static_cast<int64_t>(items[0]), position());
      const int64_t stop = std::min(static_cast<int64_t>(items[1]), end);
      for (int64_t t = start; t < stop; ++t) is_shifted[t - position()] = 1;
    }
    for (const int lead : Each{leads}) add(lead, is_shifted, of_row(step, lead));
  }

  INLINE void add(int lead, const float* noise, float gain) const {
    float* const samples = this->lead(lead);
    for (int64_t i = 0; i < size; ++i) samples[i] += noise[i] * gain;
  }

  INLINE void adjust(uint32_t derived) const {
    const float* const one = lead(kI);
    const float* const two = lead(kII);
    for (const int lead : Each{derived}) {
      float* const samples = this->lead(lead);
      for (int64_t i = 0; i < size; ++i) samples[i] = derived_lead(lead, one[i], two[i]);
    }
  }

  INLINE void mask(const Step& step, uint32_t leads) const {
    for (const int lead : Each{leads}) {
      if (!(of_row(step, lead) > 0)) std::fill_n(this->lead(lead), size, 0.0f);
    }
  }

  INLINE void view(const Step& step, uint32_t leads) const {
    float independent[kIndependent][kBlock];
    int count = 0;
    for (const int lead : Each{kIndependentLeads}) {
      std::memcpy(independent[count++], this->lead(lead), size * sizeof(float));
    }
    const double* const items = of.parameters + step.column + kItems;
    const int64_t span = static_cast<int64_t>(items[kSpan]);
    const int64_t length = static_cast<int64_t>(items[kLength]);
    for (const int lead : Each{leads}) {
      float* const samples = this->lead(lead);
      std::fill_n(samples, size, 0.0f);
      for (int k = 0; k < kIndependent; ++k) {
        const float factor = static_cast<float>(items[kMatrix + lead * kIndependent + k]);
        for (int64_t i = 0; i < size; ++i) samples[i] += factor * independent[k][i];
      }
      const int64_t start =
          static_cast<int64_t>(of.parameters[step.column + kRows + of.row_of[lead]]);
      for (int64_t i = 0; i < size; ++i) {
        int64_t distance = position() + i - start;
        distance += distance < 0 ? length : 0;
        samples[i] = distance < span ? 0 : samples[i];
      }
    }
  }

  INLINE void run() const {
    for (const int lead : Each{of.needed[0]}) {
      const float* const samples = of.ecg + of.row_of[lead] * call.samples + column;
      std::memcpy(this->lead(lead), samples, size * sizeof(float));
    }
    for (int32_t index = 0; index < call.steps; ++index) {
      const Step& step = call.recipe[index];
      if (!(of.parameters[step.column + kApplied] > 0)) continue;
      const uint32_t before = of.needed[index], after = of.needed[index + 1];
      switch (step.kind) {
        case kPowerline:
        case kWander:
          sinusoids(step, before);
          break;
        case kEMG:
          emg(index, before);
          break;
        case kShift:
          shift(step, before);
          break;
        case kMask:
          mask(step, after);
          break;
        case kView:
          view(step, after);
          break;
      }
      adjust(after & overwritten(step, of.present));
    }
  }
};

template <int kWords>
INLINE bool run(const Augment& call, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    Recording of;
    if (!prepare(call, row, of)) return false;
    for (int64_t column = 0; column < of.valid; column += kBlock) {
      Block<kWords>{call, of, column, std::min(kBlock, of.valid - column)}.run();
    }
    for (int64_t r = 0; r < call.leads && of.valid < call.samples; ++r) {
      const int64_t padding = r * call.samples + of.valid;
      std::copy_n(of.ecg + padding, call.samples - of.valid, of.augmented + padding);
    }
  }
  return true;
}

}  // namespace

bool augment(const Augment& call, int64_t begin, int64_t end) {
  return dispatch<Arithmetic::kExact>(VARIANTS(run<kLanes / 2>), call, begin, end);
}

}  // namespace fairseq_ecg::cpu
