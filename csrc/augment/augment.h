// A recipe of augmentations applied to a batch of ECGs: what the kernels take and what they share.
// fairseq_ecg/ops/augment/README.md has the formulas and the layout of the parameters.
#pragma once

#include <cstdint>

#include "../common/philox.h"

struct CUstream_st;

namespace fairseq_ecg {

constexpr int kLeads = 12;
constexpr int kMostSteps = 32;

// Standard positions of the limb leads.
enum Lead : int { kI, kII, kIII, kAVR, kAVL, kAVF, kLimbLeads };

// Sets of leads, one bit for each standard position.
constexpr uint32_t kDerivedLeads = 1u << kIII | 1u << kAVR | 1u << kAVL | 1u << kAVF;
constexpr uint32_t kLeadsIAndII = 1u << kI | 1u << kII;
constexpr uint32_t kIndependentLeads = ((1u << kLeads) - 1) & ~kDerivedLeads;
constexpr int kIndependent = 8;

enum Kind : int32_t { kPowerline, kEMG, kShift, kWander, kMask, kView };

// One augmentation of a recipe.
struct Step {
  Kind kind;
  int32_t column;   // its first one among the parameters
  int32_t count;    // of sinusoids or segments; of an EMG noise: which of them it is
  int32_t adjusts;  // whether III, aVR, aVL and aVF are recomputed from I and II
};

// Columns of the parameters: those of the window come first,
constexpr int kRate = 0, kStart = 1, kValid = 2;
// then those of each step, counted from its first.
constexpr int kApplied = 0, kRows = 1, kItems = kRows + kLeads;

// Items: (amplitude, frequency in Hz, phase in radians) of each sinusoid; (start, stop) of each
// segment; of a view how many samples of a lead are zero, how many there are, and a matrix.
constexpr int kSinusoid = 3, kSegment = 2, kSpan = 0, kLength = 1, kMatrix = 2;

constexpr uint32_t kFirstStream = 16;  // Stream.AUGMENTATION

struct Augment {
  const float* ecgs;         // (rows, leads, samples)
  const double* parameters;  // (rows, columns)
  const int64_t* origins;    // (rows, 4)
  const int64_t* layouts;    // (rows, leads)
  const float* normals;      // (EMG noises, rows, leads, samples), or null: drawn by the kernel
  float* augmented;          // (rows, leads, samples)
  int64_t rows;
  int64_t leads;
  int64_t samples;
  int64_t columns;
  int32_t steps;
  Step recipe[kMostSteps];
};

// What the noise of a sinusoid at one position is made of.
struct Sinusoid {
  float amplitude;
  double quarters;  // turns by so many quarters with each sample
  double phase;     // in quarter turns
};

INLINE double product(double a, double b) {
#ifdef __CUDA_ARCH__
  return __dmul_rn(a, b);
#else
  return a * b;
#endif
}

INLINE double sum(double a, double b) {
#ifdef __CUDA_ARCH__
  return __dadd_rn(a, b);
#else
  return a + b;
#endif
}

INLINE Sinusoid sinusoid(const double* items, double rate) {
  return {static_cast<float>(items[0]), product(items[1], 4 / rate),
          product(items[2], 0.63661977236758134)};  // 2 / pi
}

// The angle is reduced to an eighth turn in double precision, where all its digits still count.
INLINE float value_at(double position, const Sinusoid& of) {
  const double angle = sum(product(position, of.quarters), of.phase);
  // Adding 1.5 * 2^52 leaves the rounded number in the lowest bits.
  const double shifted = sum(angle, 0x1.8p52);
  const double rest = product(sum(angle, -sum(shifted, -0x1.8p52)), 1.5707963267948966);
  uint64_t bits;
  memcpy(&bits, &shifted, sizeof bits);
  float cosine, sine;
  philox::circle(static_cast<uint32_t>(bits), static_cast<float>(rest), cosine, sine);
  return philox::product(of.amplitude, cosine);
}

// III, aVR, aVL or aVF from I and II. Products with powers of two are exact.
INLINE float derived_lead(int lead, float one, float two) {
  const float of_one = lead == kAVL ? 1.0f : lead == kIII ? -1.0f : -0.5f;
  const float of_two = lead == kIII || lead == kAVF ? 1.0f : -0.5f;
  return philox::sum(philox::product(one, of_one), philox::product(two, of_two));
}

// Which leads a step overwrites with what follows from I and II.
INLINE uint32_t overwritten(const Step& step, uint32_t present) {
  const bool has_both = (present & kLeadsIAndII) == kLeadsIAndII;
  return step.adjusts && has_both ? kDerivedLeads & present : 0;
}

// Which leads matter before a step that is applied, given which matter after it. kept are those
// that a mask leaves.
INLINE uint32_t needed_before(const Step& step, uint32_t after, uint32_t present, uint32_t kept) {
  if (step.kind == kMask) return after & kept;
  if (step.kind == kView) return after ? kIndependentLeads : 0;
  const uint32_t derived = overwritten(step, present);
  return (after & ~derived) | (after & derived ? kLeadsIAndII : 0);
}

namespace cpu {

// Computes the rows [begin, end). False if a row's leads are not standard positions, each once.
bool augment(const Augment& call, int64_t begin, int64_t end);

}  // namespace cpu

namespace cuda {

// Bytes of shared memory that a block needs.
int64_t shared_bytes(const Augment& call);
constexpr int64_t kMostSharedBytes = 48 << 10;

void augment(const Augment& call, CUstream_st* stream);

}  // namespace cuda
}  // namespace fairseq_ecg
