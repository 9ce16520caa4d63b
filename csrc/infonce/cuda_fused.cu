// The contrastive loss on a GPU in one launch, for rows of which one multiprocessor's shared memory
// holds all pairs. A block works on one row.
//
// Predictions and targets come in by chunks of channels. A thread keeps sums of a square of pairs,
// or of some lines of a gradient, in registers; its position in a warp is such that reading what is
// multiplied takes less time than multiplying.
#include <cuda_runtime.h>

#include "../common/cuda_warp.h"
#include "cuda_frame.h"
#include "infonce.h"

namespace fairseq_ecg::cuda {
namespace {

constexpr int kSide = 16;  // threads of a block stand in a square
constexpr int kThreads = kSide * kSide;
constexpr int kWarps = kThreads / kWarp;
constexpr int kVector = 4;               // numbers that are read at once
constexpr int kNarrow = 32, kWide = 64;  // channels of a chunk for products, for gradients
// Four more numbers in a line: threads that read one column of several lines do not collide.
constexpr int kNarrowPitch = kNarrow + kVector, kWidePitch = kWide + kVector;

// What a block keeps of a row, padded with zeros to kFrames frames.
template <int kFrames>
struct Shared {
  static constexpr int kPitch = kFrames + kVector;

  float4 products[kFrames * kPitch / kVector];  // of predictions (lines) and targets (columns)
  float4 dlogits[kFrames * kPitch / kVector];
  union {
    float4 both[2 * kFrames * kNarrowPitch / kVector];  // chunks of predictions, then of targets
    float4 lines[kFrames * kWidePitch / kVector];       // a chunk of either
  };
  int64_t fingerprints[kFrames];
  float prediction_norms[kFrames];
  float target_norms[kFrames];
  float along_predictions[kFrames];  // how much of a frame its gradient loses
  float along_targets[kFrames];
  int32_t names[kFrames];
  int counts[kWarps][kFrames];
};

// A chunk of kWidth channels on its way from a row's lines to shared memory. Each thread carries
// the same vector of every so-many-th line.
template <int kFrames, int kWidth>
struct Chunk {
  static constexpr int kVectors = kWidth / kVector;
  static constexpr int kStep = kThreads / kVectors;  // lines between two that a thread carries
  static constexpr int kCarried = kFrames / kStep;
  static constexpr int kPitch = (kWidth + kVector) / kVector;

  float4 carried[kCarried];

  __device__ static int line(int n) { return threadIdx.x / kVectors + n * kStep; }
  __device__ static int channel() { return threadIdx.x % kVectors * kVector; }

  __device__ void load(const float* lines, int64_t first, int64_t frames, int64_t channels) {
    const int64_t c = first + channel();
#pragma unroll
    for (int n = 0; n < kCarried; ++n) {
      const bool present = line(n) < frames && c < channels;
      carried[n] = present ? *reinterpret_cast<const float4*>(lines + line(n) * channels + c)
                           : make_float4(0, 0, 0, 0);
    }
  }

  __device__ void store(float4* to) const {
#pragma unroll
    for (int n = 0; n < kCarried; ++n) to[line(n) * kPitch + threadIdx.x % kVectors] = carried[n];
  }
};

__device__ float dot(float4 a, float4 b) { return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w; }

__device__ void add(float4& sum, float factor, float4 value) {
  sum.x += factor * value.x;
  sum.y += factor * value.y;
  sum.z += factor * value.z;
  sum.w += factor * value.w;
}

// Fills products, norms and fingerprints.
template <int kTile>
__device__ void multiply(const InfoNCE& call, const float* x, const float* y,
                         Shared<kTile * kSide>& shared) {
  constexpr int kFrames = kTile * kSide;
  using Narrow = Chunk<kFrames, kNarrow>;
  const int column = threadIdx.x % kSide, line = threadIdx.x / kSide;
  float4* const predictions = shared.both;
  float4* const targets = shared.both + kFrames * Narrow::kPitch;

  Narrow of_x, of_y;
  float squares_x[Narrow::kCarried] = {}, squares_y[Narrow::kCarried] = {};
  unsigned long long prints[Narrow::kCarried] = {};
  float sums[kTile][kTile] = {};
  of_x.load(x, 0, call.frames, call.channels);
  of_y.load(y, 0, call.frames, call.channels);
  for (int64_t first = 0; first < call.channels; first += kNarrow) {
    __syncthreads();  // all have multiplied the chunk before
    of_x.store(predictions);
    of_y.store(targets);
#pragma unroll
    for (int n = 0; n < Narrow::kCarried; ++n) {
      const int64_t c = first + Narrow::channel();
      const float4 value = of_y.carried[n];
      squares_x[n] += dot(of_x.carried[n], of_x.carried[n]);
      squares_y[n] += dot(value, value);
      prints[n] += print_of(value.x, c) + print_of(value.y, c + 1) + print_of(value.z, c + 2) +
                   print_of(value.w, c + 3);
    }
    __syncthreads();
    of_x.load(x, first + kNarrow, call.frames, call.channels);
    of_y.load(y, first + kNarrow, call.frames, call.channels);
#pragma unroll
    for (int k = 0; k < Narrow::kVectors; ++k) {
      float4 left[kTile];
#pragma unroll
      for (int u = 0; u < kTile; ++u) {
        left[u] = predictions[(line * kTile + u) * Narrow::kPitch + k];
      }
#pragma unroll
      for (int v = 0; v < kTile; ++v) {
        const float4 right = targets[(column + v * kSide) * Narrow::kPitch + k];
#pragma unroll
        for (int u = 0; u < kTile; ++u) sums[u][v] += dot(left[u], right);
      }
    }
  }

  float* const products = reinterpret_cast<float*>(shared.products);
#pragma unroll
  for (int u = 0; u < kTile; ++u) {
#pragma unroll
    for (int v = 0; v < kTile; ++v) {
      products[(line * kTile + u) * shared.kPitch + column + v * kSide] = sums[u][v];
    }
  }
#pragma unroll
  for (int n = 0; n < Narrow::kCarried; ++n) {
    for (int distance = Narrow::kVectors / 2; distance > 0; distance /= 2) {
      squares_x[n] += __shfl_xor_sync(kAllLanes, squares_x[n], distance);
      squares_y[n] += __shfl_xor_sync(kAllLanes, squares_y[n], distance);
      prints[n] += __shfl_xor_sync(kAllLanes, prints[n], distance);
    }
    if (Narrow::channel() == 0) {
      shared.prediction_norms[Narrow::line(n)] = sqrtf(squares_x[n]);
      shared.target_norms[Narrow::line(n)] = sqrtf(squares_y[n]);
      shared.fingerprints[Narrow::line(n)] = static_cast<int64_t>(prints[n]);
    }
  }
}

// How much of a frame its gradient loses: what only changes the frame's length. The product of
// both is the sum over pairs of dlogit times product, along a line or a column.
template <int kFrames>
__device__ void measure_along(int frames, Shared<kFrames>& shared) {
  const float* const products = reinterpret_cast<const float*>(shared.products);
  const float* const dlogits = reinterpret_cast<const float*>(shared.dlogits);
  for (int k = threadIdx.x; k < 2 * frames; k += kThreads) {
    const bool is_target = k >= frames;
    const int frame = is_target ? k - frames : k;
    const int first = is_target ? frame : frame * shared.kPitch;
    const int step = is_target ? shared.kPitch : 1;
    float sum = 0;
    for (int j = 0; j < frames; ++j) sum += dlogits[first + j * step] * products[first + j * step];
    const float norm = (is_target ? shared.target_norms : shared.prediction_norms)[frame];
    (is_target ? shared.along_targets : shared.along_predictions)[frame] = along(sum, norm);
  }
}

// Writes a thread's part of a gradient, less what only changes the length of its frame.
template <int kTile>
__device__ void write(const float4* sums, const float* frames_of_row, const float* along,
                      int64_t channel, int64_t frames, int64_t channels, float* gradient) {
  if (channel >= channels) return;
#pragma unroll
  for (int u = 0; u < kTile; ++u) {
    const int64_t i = threadIdx.x / kSide * kTile + u;
    if (i >= frames) continue;
    const int64_t offset = i * channels + channel;
    float4 sum = sums[u];
    add(sum, -along[i], *reinterpret_cast<const float4*>(frames_of_row + offset));
    *reinterpret_cast<float4*>(gradient + offset) = sum;
  }
}

// Sums targets by lines of dlogits, and predictions by columns.
template <int kTile>
__device__ void differentiate(const InfoNCE& call, int64_t offset, const float* x, const float* y,
                              Shared<kTile * kSide>& shared) {
  constexpr int kFrames = kTile * kSide;
  using Wide = Chunk<kFrames, kWide>;
  const int column = threadIdx.x % kSide, line = threadIdx.x / kSide;
  const int frames = static_cast<int>(call.frames);
  const float* const dlogits = reinterpret_cast<const float*>(shared.dlogits);
  Wide next;
  next.load(y, 0, call.frames, call.channels);
  for (int64_t first = 0; first < call.channels; first += kWide) {
    const int64_t channel = first + column * kVector;
    __syncthreads();  // all have done with the chunk before
    next.store(shared.lines);
    __syncthreads();
    next.load(x, first, call.frames, call.channels);
    float4 sums[kTile] = {};
    for (int j = 0; j < frames; j += kVector) {
      float4 targets[kVector];
#pragma unroll
      for (int k = 0; k < kVector; ++k) targets[k] = shared.lines[(j + k) * Wide::kPitch + column];
#pragma unroll
      for (int u = 0; u < kTile; ++u) {
        const float4 four = shared.dlogits[((line * kTile + u) * shared.kPitch + j) / kVector];
        add(sums[u], four.x, targets[0]);
        add(sums[u], four.y, targets[1]);
        add(sums[u], four.z, targets[2]);
        add(sums[u], four.w, targets[3]);
      }
    }
    write<kTile>(sums, x, shared.along_predictions, channel, call.frames, call.channels,
                 call.grad_predictions + offset);

    __syncthreads();
    next.store(shared.lines);
    __syncthreads();
    next.load(y, first + kWide, call.frames, call.channels);
#pragma unroll
    for (int u = 0; u < kTile; ++u) sums[u] = make_float4(0, 0, 0, 0);
    for (int i = 0; i < frames; ++i) {
      const float4 prediction = shared.lines[i * Wide::kPitch + column];
      const float* const of_line = dlogits + i * shared.kPitch + line * kTile;
#pragma unroll
      for (int u = 0; u < kTile; u += 2) {
        const float2 two = *reinterpret_cast<const float2*>(of_line + u);
        add(sums[u], two.x, prediction);
        add(sums[u + 1], two.y, prediction);
      }
    }
    write<kTile>(sums, y, shared.along_targets, channel, call.frames, call.channels,
                 call.grad_targets + offset);
  }
}

template <int kTile>
__global__ __launch_bounds__(kThreads, 1) void contrast_row(InfoNCE call) {
  extern __shared__ float4 memory[];
  auto& shared = *reinterpret_cast<Shared<kTile * kSide>*>(memory);
  const int lane = threadIdx.x % kWarp;
  const int warp = threadIdx.x / kWarp;
  const int64_t row = blockIdx.x;
  const int64_t offset = row * call.frames * call.channels;
  const float* const x = call.predictions + offset;
  const float* const y = call.targets + offset;

  constexpr int kFours = kTile * kSide * Shared<kTile * kSide>::kPitch / kVector;
  for (int k = threadIdx.x; k < kFours; k += kThreads) shared.dlogits[k] = make_float4(0, 0, 0, 0);
  multiply<kTile>(call, x, y, shared);
  __syncthreads();
  for (int64_t i = warp; i < call.frames; i += kWarps) {
    const int32_t name = name_of(y, shared.fingerprints, i, call.channels, lane);
    if (lane == 0) shared.names[i] = name;
  }
  __syncthreads();
  for (int64_t i = warp; i < call.frames; i += kWarps) {
    weigh_one(call, row, i, lane, shared.counts[warp],
              reinterpret_cast<const float*>(shared.products) + i * shared.kPitch,
              reinterpret_cast<float*>(shared.dlogits) + i * shared.kPitch,
              shared.prediction_norms[i], shared.target_norms, shared.names);
  }
  if (call.grad_predictions == nullptr) return;
  __syncthreads();
  measure_along(static_cast<int>(call.frames), shared);
  differentiate<kTile>(call, offset, x, y, shared);
}

constexpr int kMostTile = 8;

// What is compiled is chosen by the number of frames, in steps of 32; calls `use` with the kernel
// and the bytes of shared memory it takes.
template <int kTile = 2, class Use>
void with_kernel(int64_t frames, Use use) {
  if constexpr (kTile < kMostTile) {
    if (frames > kTile * kSide) return with_kernel<kTile + 2>(frames, use);
  }
  use(contrast_row<kTile>, static_cast<int>(sizeof(Shared<kTile * kSide>)));
}

}  // namespace

bool fits(const InfoNCE& call) {
  if (call.frames > kMostTile * kSide || call.channels % kVector != 0) return false;
  for (const float* const lines :
       {call.predictions, call.targets, static_cast<const float*>(call.grad_predictions),
        static_cast<const float*>(call.grad_targets)}) {
    if (reinterpret_cast<uintptr_t>(lines) % sizeof(float4) != 0) return false;
  }
  int device = 0, most = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  bool holds = false;
  with_kernel(call.frames, [&](auto, int bytes) { holds = bytes <= most; });
  return holds;
}

void fused(const InfoNCE& call, CUstream_st* stream) {
  with_kernel(call.frames, [&](auto kernel, int bytes) {
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    kernel<<<static_cast<unsigned>(call.rows), kThreads, bytes, stream>>>(call);
  });
}

}  // namespace fairseq_ecg::cuda
