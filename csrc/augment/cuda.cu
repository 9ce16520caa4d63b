// A recipe of augmentations on a GPU. A thread works on four samples, those of one block of random
// numbers, and keeps them in registers for all leads and all augmentations.
#include <cuda_runtime.h>

#include "../common/cuda_warp.h"
#include "augment.h"

namespace fairseq_ecg::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kSamples = 4;  // of a thread

// Blocks that share a multiprocessor: the 640 of 128 recordings of 2,500 samples fit an H100 at
// once, which is worth that a few numbers do not fit the registers.
constexpr int kBlocks = 5;

// What is known of one recording before its samples are looked at.
struct Recording {
  int row_of[kLeads];               // -1 for a lead that is not there
  uint32_t present;                 // leads
  uint32_t needed[kMostSteps + 1];  // leads that matter before each step
};

__device__ bool has(uint32_t leads, int lead) { return leads >> lead & 1; }

// For the lanes of one warp, each of which looks after one lead.
__device__ void prepare(const Augment& call, const float* parameters, Recording& of) {
  const int lead = threadIdx.x;
  const int row = lead < kLeads ? of.row_of[lead] : -1;
  const uint32_t present = __ballot_sync(kAllLanes, row >= 0);
  uint32_t needed = present;
  for (int index = call.steps - 1; index >= 0; --index) {
    if (lead == 0) of.needed[index + 1] = needed;
    const Step& step = call.recipe[index];
    const bool is_kept = row >= 0 && parameters[step.column + kRows + row] > 0;
    const uint32_t kept = __ballot_sync(kAllLanes, is_kept);
    const bool is_applied = parameters[step.column + kApplied] > 0;
    needed = is_applied ? needed_before(step, needed, present, kept) : needed;
  }
  if (lead == 0) {
    of.needed[0] = needed;
    of.present = present;
  }
}

// The four samples of all leads from one column of a row.
struct Quad {
  const Augment& call;
  const Recording& of;
  const double* exact;  // parameters
  const float* parameters;
  int64_t row;
  int64_t column;  // may be negative, or beyond the last
  int64_t position;
  bool is_aligned;
  float x[kLeads][kSamples];

  __device__ int64_t line(int lead) const {
    return (row * call.leads + of.row_of[lead]) * call.samples;
  }

  __device__ bool has_column(int i) const { return column + i >= 0 && column + i < call.samples; }

  __device__ float of_row(const Step& step, int lead) const {
    return parameters[step.column + kRows + of.row_of[lead]];
  }

  __device__ void read(const float* line, float (&samples)[kSamples]) const {
    if (is_aligned) {
      const float4 four = *reinterpret_cast<const float4*>(line + column);
      samples[0] = four.x;
      samples[1] = four.y;
      samples[2] = four.z;
      samples[3] = four.w;
      return;
    }
#pragma unroll
    for (int i = 0; i < kSamples; ++i) samples[i] = has_column(i) ? line[column + i] : 0.0f;
  }

  __device__ void write(int lead, int64_t valid) const {
    const int64_t first = line(lead);
    float* const augmented = call.augmented + first;
    if (is_aligned && column + kSamples <= valid) {
      const float4 four = {x[lead][0], x[lead][1], x[lead][2], x[lead][3]};
      *reinterpret_cast<float4*>(augmented + column) = four;
      return;
    }
#pragma unroll
    for (int i = 0; i < kSamples; ++i) {
      if (has_column(i)) {
        const bool is_sample = column + i < valid;
        augmented[column + i] = is_sample ? x[lead][i] : call.ecgs[first + column + i];
      }
    }
  }

  __device__ void add(const Step& step, int lead, const float (&noise)[kSamples]) {
    const float gain = of_row(step, lead);
#pragma unroll
    for (int i = 0; i < kSamples; ++i) {
      x[lead][i] = philox::sum(x[lead][i], philox::product(noise[i], gain));
    }
  }

  __device__ void add(const Step& step, uint32_t leads, const float (&noise)[kSamples]) {
#pragma unroll
    for (int lead = 0; lead < kLeads; ++lead) {
      if (has(leads, lead)) add(step, lead, noise);
    }
  }

  __device__ void sinusoids(const Step& step, uint32_t leads) {
    float noise[kSamples] = {};
    for (int k = 0; k < step.count; ++k) {
      const Sinusoid term = sinusoid(exact + step.column + kItems + k * kSinusoid, exact[kRate]);
#pragma unroll
      for (int i = 0; i < kSamples; ++i) {
        noise[i] = philox::sum(noise[i], value_at(static_cast<double>(position + i), term));
      }
    }
    add(step, leads, noise);
  }

  __device__ void emg(int index, const Step& step, uint32_t leads) {
#pragma unroll
    for (int lead = 0; lead < kLeads; ++lead) {
      if (!has(leads, lead)) continue;
      float noise[kSamples];
      if (call.normals != nullptr) {
        const int64_t numbers = call.rows * call.leads * call.samples;
        read(call.normals + step.count * numbers + line(lead), noise);
      } else {
        const philox::Sequence from =
            philox::sequence(call.origins + row * philox::kOriginColumns, kFirstStream + index,
                             static_cast<uint32_t>(of.row_of[lead]));
        const philox::Words words = philox::words(from, static_cast<uint32_t>(position / kSamples));
        philox::write_normals(words, noise);
      }
      add(step, lead, noise);
    }
  }

  __device__ void shift(const Step& step, uint32_t leads) {
    float is_shifted[kSamples] = {};
    for (int k = 0; k < step.count; ++k) {
      const double* const items = exact + step.column + kItems + k * kSegment;
#pragma unroll
      for (int i = 0; i < kSamples; ++i) {
        const double t = static_cast<double>(position + i);
        if (t >= items[0] && t < items[1]) is_shifted[i] = 1;
      }
    }
    add(step, leads, is_shifted);
  }

  __device__ void mask(const Step& step, uint32_t leads) {
#pragma unroll
    for (int lead = 0; lead < kLeads; ++lead) {
      if (has(leads, lead) && !(of_row(step, lead) > 0)) {
#pragma unroll
        for (int i = 0; i < kSamples; ++i) x[lead][i] = 0;
      }
    }
  }

  __device__ void view(const Step& step, uint32_t leads) {
    const float* const items = parameters + step.column + kItems;
    const int64_t span = static_cast<int64_t>(exact[step.column + kItems + kSpan]);
    const int64_t length = static_cast<int64_t>(exact[step.column + kItems + kLength]);
#pragma unroll
    for (int i = 0; i < kSamples; ++i) {
      float independent[kIndependent];
#pragma unroll
      for (int k = 0; k < kIndependent; ++k) {
        independent[k] = x[k < kIII ? k : k + kLeads - kIndependent][i];
      }
#pragma unroll
      for (int lead = 0; lead < kLeads; ++lead) {
        if (!has(leads, lead)) continue;
        float total = 0;
#pragma unroll
        for (int k = 0; k < kIndependent; ++k) {
          const float factor = items[kMatrix + lead * kIndependent + k];
          total = philox::sum(total, philox::product(factor, independent[k]));
        }
        int64_t distance =
            position + i - static_cast<int64_t>(exact[step.column + kRows + of.row_of[lead]]);
        distance += distance < 0 ? length : 0;
        x[lead][i] = distance < span ? 0 : total;
      }
    }
  }

  __device__ void adjust(uint32_t derived) {
#pragma unroll
    for (int lead = kIII; lead < kLimbLeads; ++lead) {
      if (!has(derived, lead)) continue;
#pragma unroll
      for (int i = 0; i < kSamples; ++i) x[lead][i] = derived_lead(lead, x[kI][i], x[kII][i]);
    }
  }

  __device__ void apply(int index) {
    const Step& step = call.recipe[index];
    if (!(parameters[step.column + kApplied] > 0)) return;
    const uint32_t before = of.needed[index], after = of.needed[index + 1];
    switch (step.kind) {
      case kPowerline:
      case kWander:
        sinusoids(step, before);
        break;
      case kEMG:
        emg(index, step, before);
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
};

// Blocks of threads that cover a row, wherever its window starts within four positions.
__host__ __device__ int64_t blocks_of_row(const Augment& call) {
  constexpr int64_t kSamplesOfBlock = kThreads * kSamples;
  return (call.samples + kSamples - 1 + kSamplesOfBlock - 1) / kSamplesOfBlock;
}

__global__ __launch_bounds__(kThreads,
                             kBlocks) void augment_block(const __grid_constant__ Augment call) {
  extern __shared__ double exact[];
  __shared__ Recording recording;
  float* const parameters = reinterpret_cast<float*>(exact + call.columns);
  const int64_t row = blockIdx.x / blocks_of_row(call);
  const int64_t block = blockIdx.x % blocks_of_row(call);

  for (int64_t i = threadIdx.x; i < call.columns; i += kThreads) {
    exact[i] = call.parameters[row * call.columns + i];
    parameters[i] = static_cast<float>(exact[i]);
  }
  if (threadIdx.x < kLeads) recording.row_of[threadIdx.x] = -1;
  __syncthreads();
  if (threadIdx.x < call.leads) {
    const int64_t lead = call.layouts[row * call.leads + threadIdx.x];
    if (lead >= 0 && lead < kLeads) recording.row_of[lead] = static_cast<int>(threadIdx.x);
  }
  __syncthreads();
  if (threadIdx.x < kWarp) prepare(call, parameters, recording);
  __syncthreads();

  const int64_t start = static_cast<int64_t>(exact[kStart]);
  const double samples = static_cast<double>(call.samples);
  const int64_t valid = static_cast<int64_t>(fmin(fmax(exact[kValid], 0.0), samples));
  const int64_t position = (start / kSamples + block * kThreads + threadIdx.x) * kSamples;
  const int64_t column = position - start;
  if (column >= call.samples) return;
  const uintptr_t address = reinterpret_cast<uintptr_t>(call.ecgs) |
                            reinterpret_cast<uintptr_t>(call.augmented) |
                            reinterpret_cast<uintptr_t>(call.normals);
  const bool is_aligned =
      start % kSamples == 0 && call.samples % kSamples == 0 && address % sizeof(float4) == 0;

  Quad quad{call, recording, exact, parameters, row, column, position, is_aligned, {}};
#pragma unroll
  for (int lead = 0; lead < kLeads; ++lead) {
    if (has(recording.needed[0], lead)) quad.read(call.ecgs + quad.line(lead), quad.x[lead]);
  }
  for (int index = 0; index < call.steps; ++index) quad.apply(index);
#pragma unroll
  for (int lead = 0; lead < kLeads; ++lead) {
    if (has(recording.present, lead)) quad.write(lead, valid);
  }
}

}  // namespace

int64_t shared_bytes(const Augment& call) {
  return call.columns * static_cast<int64_t>(sizeof(double) + sizeof(float));
}

void augment(const Augment& call, CUstream_st* stream) {
  const unsigned blocks = static_cast<unsigned>(call.rows * blocks_of_row(call));
  augment_block<<<blocks, kThreads, static_cast<size_t>(shared_bytes(call)), stream>>>(call);
}

}  // namespace fairseq_ecg::cuda
