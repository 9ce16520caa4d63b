// The contrastive loss on a GPU: all but the three matrix products, which cuBLAS computes.
// A warp works on one frame.
#include <cuda_runtime.h>

#include "../common/cuda_warp.h"
#include "cuda_frame.h"
#include "infonce.h"

namespace fairseq_ecg::cuda {
namespace {

// One block per row.
__global__ void prepare_row(InfoNCE call, InfoNCEWorkspace workspace) {
  const int lane = threadIdx.x % kWarp;
  const int warp = threadIdx.x / kWarp;
  const int warps = blockDim.x / kWarp;
  const int64_t first = blockIdx.x * call.frames;
  const float* const targets = call.targets + first * call.channels;
  int64_t* const fingerprints = workspace.fingerprints + first;

  for (int64_t i = warp; i < call.frames; i += warps) {
    const float* const x = call.predictions + (first + i) * call.channels;
    const float* const y = targets + i * call.channels;
    float xx = 0, yy = 0;
    unsigned long long print = 0;
    for (int64_t c = lane; c < call.channels; c += kWarp) {
      xx += x[c] * x[c];
      yy += y[c] * y[c];
      print += print_of(y[c], c);
    }
    xx = warp_sum(xx);
    yy = warp_sum(yy);
    print = warp_sum(print);
    if (lane == 0) {
      workspace.prediction_norms[first + i] = sqrtf(xx);
      workspace.target_norms[first + i] = sqrtf(yy);
      fingerprints[i] = static_cast<int64_t>(print);
    }
  }
  __syncthreads();

  for (int64_t i = warp; i < call.frames; i += warps) {
    const int32_t name = name_of(targets, fingerprints, i, call.channels, lane);
    if (lane == 0) workspace.names[first + i] = name;
  }
}

// One warp per prediction; shared memory holds call.frames counts for each.
__global__ void weigh_frame(InfoNCE call, InfoNCEWorkspace workspace) {
  extern __shared__ int shared_counts[];
  const int lane = threadIdx.x % kWarp;
  const int warp = threadIdx.x / kWarp;
  const int64_t position = index_of_warp();
  if (position >= call.rows * call.frames) return;
  const int64_t row = position / call.frames;
  const int64_t first = row * call.frames;
  const int64_t i = position - first;

  float* const pairs = workspace.pairs + position * call.frames;
  weigh_one(call, row, i, lane, shared_counts + warp * call.frames, pairs, pairs,
            workspace.prediction_norms[position], workspace.target_norms + first,
            workspace.names + first);
}

// One warp per prediction, then one per target.
__global__ void project_frame(InfoNCE call, InfoNCEWorkspace workspace) {
  const int lane = threadIdx.x % kWarp;
  int64_t position = index_of_warp();
  const int64_t positions = call.rows * call.frames;
  if (position >= 2 * positions) return;
  const bool is_target = position >= positions;
  if (is_target) position -= positions;
  const float* const frame =
      (is_target ? call.targets : call.predictions) + position * call.channels;
  float* const gradient =
      (is_target ? call.grad_targets : call.grad_predictions) + position * call.channels;
  const float norm = (is_target ? workspace.target_norms : workspace.prediction_norms)[position];

  project(gradient, frame, norm, call.channels, lane);
}

}  // namespace

void prepare(const InfoNCE& call, const InfoNCEWorkspace& workspace, CUstream_st* stream) {
  prepare_row<<<static_cast<unsigned>(call.rows), 1024, 0, stream>>>(call, workspace);
}

void weigh(const InfoNCE& call, const InfoNCEWorkspace& workspace, CUstream_st* stream) {
  const int64_t fitting = kMostFrames / call.frames;
  const int64_t warps = fitting < 8 ? fitting : 8;
  weigh_frame<<<blocks_for(call.rows * call.frames, warps), static_cast<unsigned>(warps * kWarp),
                warps * call.frames * sizeof(int), stream>>>(call, workspace);
}

void project(const InfoNCE& call, const InfoNCEWorkspace& workspace, CUstream_st* stream) {
  constexpr int kWarps = 8;
  project_frame<<<blocks_for(2 * call.rows * call.frames, kWarps), kWarps * kWarp, 0, stream>>>(
      call, workspace);
}

}  // namespace fairseq_ecg::cuda
