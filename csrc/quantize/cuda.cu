// Gumbel product quantization on a GPU: a warp works on one frame and group. Sums run in an order
// that does not change from run to run.
#include <cuda_runtime.h>

#include "../common/cuda_warp.h"
#include "../common/philox.h"
#include "quantize.h"

namespace fairseq_ecg::cuda {
namespace {

struct Largest {
  float value;
  int codeword;
};

// The first of the largest; NaN is above everything.
__device__ Largest larger_of(Largest one, Largest other) {
  const bool is_nan = isnan(one.value), other_is_nan = isnan(other.value);
  const bool is_tied = one.value == other.value || (is_nan && other_is_nan);
  if (is_tied) return one.codeword < other.codeword ? one : other;
  return is_nan || (!other_is_nan && one.value > other.value) ? one : other;
}

__device__ Largest warp_largest(Largest best) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    best = larger_of(best, {__shfl_xor_sync(kAllLanes, best.value, distance),
                            __shfl_xor_sync(kAllLanes, best.codeword, distance)});
  }
  return best;
}

// Minus the logarithm of an exponentially distributed number is Gumbel noise.
__device__ float perturb(float logit, float noise, float temperature) {
  return (logit - philox::logarithm(noise)) / temperature;
}

// One block per part and group; shared memory holds a line of codewords for each warp.
__global__ void choose(Quantization call) {
  extern __shared__ float shared[];
  const int lane = threadIdx.x % kWarp;
  const int warp = threadIdx.x / kWarp;
  const int warps = blockDim.x / kWarp;
  const int codewords = static_cast<int>(call.codewords);
  const int64_t group = blockIdx.y;
  const int64_t begin = blockIdx.x * kFramesOfPart;
  const int64_t end = min(begin + kFramesOfPart, call.frames);

  float* const sums = shared + warp * codewords;
  for (int v = lane; v < codewords; v += kWarp) sums[v] = 0;
  for (int64_t frame = begin + warp; frame < end; frame += warps) {
    const int64_t index = frame * call.groups + group;
    const float* const logits = call.logits + index * codewords;
    Largest hardest{-INFINITY, lane}, chosen{-INFINITY, lane};
    for (int v = lane; v < codewords; v += kWarp) {
      const float logit = logits[v];
      hardest = larger_of(hardest, {logit, v});
      if (call.noise != nullptr) {
        chosen = larger_of(
            chosen, {perturb(logit, call.noise[index * codewords + v], *call.temperature), v});
      }
    }
    hardest = warp_largest(hardest);
    int choice = hardest.codeword;
    if (call.noise != nullptr) {
      chosen = warp_largest(chosen);
      choice = isfinite(chosen.value) ? chosen.codeword : -1;
    }

    float total = 0;
    for (int v = lane; v < codewords; v += kWarp) total += expf(logits[v] - hardest.value);
    const float factor = 1 / warp_sum(total);
    for (int v = lane; v < codewords; v += kWarp) {
      sums[v] += expf(logits[v] - hardest.value) * factor;
    }
    if (lane == 0) {
      atomicAdd(call.counts + group * codewords + hardest.codeword, 1);
      call.choices[index] = choice;
    }
    const float* const code = call.codebook + (group * codewords + choice) * call.channels;
    for (int64_t c = lane; c < call.channels; c += kWarp) {
      call.codes[index * call.channels + c] = choice < 0 ? nanf("") : code[c];
    }
  }
  __syncthreads();

  float* const of_part = call.sums + (blockIdx.x * call.groups + group) * codewords;
  for (int v = threadIdx.x; v < codewords; v += blockDim.x) {
    float sum = 0;
    for (int w = 0; w < warps; ++w) sum += shared[w * codewords + v];
    of_part[v] = sum;
  }
}

// One block of kWarp * kWarp threads per kWarp codewords of all groups: their mean probability.
__global__ void average(Quantization call) {
  __shared__ float shared[kWarp][kWarp + 1];
  const int lane = threadIdx.x % kWarp;
  const int slice = threadIdx.x / kWarp;
  const int64_t codewords = call.groups * call.codewords;
  const int64_t codeword = static_cast<int64_t>(blockIdx.x) * kWarp + lane;
  float sum = 0;
  if (codeword < codewords) {
    for (int64_t part = slice; part < call.parts; part += kWarp) {
      sum += call.sums[part * codewords + codeword];
    }
  }
  shared[slice][lane] = sum;
  __syncthreads();
  if (slice > 0 || codeword >= codewords) return;
  sum = 0;
  for (int i = 0; i < kWarp; ++i) sum += shared[i][lane];
  call.grad_probs[codeword] = sum / call.frames;
}

__device__ float block_sum(float value) {
  __shared__ float shared[kWarp];
  value = warp_sum(value);
  __syncthreads();  // the sums of the call before have been read
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = value;
  __syncthreads();
  return warp_sum(threadIdx.x % kWarp < blockDim.x / kWarp ? shared[threadIdx.x % kWarp] : 0);
}

// One block: perplexities, and grad_probs in place of mean probabilities.
__global__ void finish(Quantization call) {
  float of_choices = 0, of_means = 0;
  for (int64_t group = 0; group < call.groups; ++group) {
    float* const means = call.grad_probs + group * call.codewords;
    const int32_t* const counts = call.counts + group * call.codewords;
    float choice_entropy = 0, entropy = 0;
    for (int64_t v = threadIdx.x; v < call.codewords; v += blockDim.x) {
      const float share = static_cast<float>(counts[v]) / call.frames;
      choice_entropy -= share * logf(share + kLeastProbability);
      entropy -= means[v] * logf(means[v] + kLeastProbability);
    }
    of_choices += expf(block_sum(choice_entropy));
    const float perplexity = expf(block_sum(entropy));
    of_means += perplexity;
    for (int64_t v = threadIdx.x; v < call.codewords; v += blockDim.x) {
      const float shifted = means[v] + kLeastProbability;
      means[v] = -perplexity * (logf(shifted) + means[v] / shifted) / call.frames;
    }
  }
  if (threadIdx.x == 0) {
    call.perplexities[0] = of_choices;
    call.perplexities[1] = of_means;
  }
}

// One warp per frame and group.
__global__ void differentiate(GradLogits call) {
  const int lane = threadIdx.x % kWarp;
  const int64_t index = index_of_warp();
  if (index >= call.frames * call.groups) return;
  const int64_t frame = index / call.groups;
  const int64_t group = index - frame * call.groups;
  const float* const logits = call.logits + index * call.codewords;
  const float* const grad_probs = call.grad_probs + group * call.codewords;
  float* const gradient = call.grad_logits + index * call.codewords;
  const bool has_choice = call.noise != nullptr, has_perplexity = call.grad_perplexity != nullptr;

  // Every lane keeps to its own codewords, where the gradient holds perturbed logits until the end.
  if (has_choice) {
    const float* const noise = call.noise + index * call.codewords;
    const float* const grad_choices =
        call.grad_choices + (group * call.frames + frame) * call.codewords;
    float highest = -INFINITY;
    for (int64_t v = lane; v < call.codewords; v += kWarp) {
      const float perturbed = perturb(logits[v], noise[v], *call.temperature);
      gradient[v] = perturbed;
      highest = larger(highest, perturbed);
    }
    highest = warp_max_or_nan(highest);
    float total = 0, product = 0;
    for (int64_t v = lane; v < call.codewords; v += kWarp) {
      const float term = expf(gradient[v] - highest);
      total += term;
      product += term * grad_choices[v];
    }
    total = warp_sum(total);
    const float mean = warp_sum(product) / total;
    const float factor = 1 / (total * *call.temperature);
    for (int64_t v = lane; v < call.codewords; v += kWarp) {
      gradient[v] = expf(gradient[v] - highest) * (grad_choices[v] - mean) * factor;
    }
  }
  if (!has_perplexity) return;

  float highest = -INFINITY;
  for (int64_t v = lane; v < call.codewords; v += kWarp) {
    highest = larger(highest, logits[v]);
  }
  highest = warp_max_or_nan(highest);
  float total = 0, product = 0;
  for (int64_t v = lane; v < call.codewords; v += kWarp) {
    const float term = expf(logits[v] - highest);
    total += term;
    product += term * grad_probs[v];
  }
  total = warp_sum(total);
  const float mean = warp_sum(product) / total;
  const float factor = *call.grad_perplexity / total;
  for (int64_t v = lane; v < call.codewords; v += kWarp) {
    const float added = expf(logits[v] - highest) * (grad_probs[v] - mean) * factor;
    gradient[v] = has_choice ? gradient[v] + added : added;
  }
}

// One block per codeword; shared memory holds a line of channels for each warp.
__global__ void gather(GradCodebook call) {
  extern __shared__ float shared[];
  const int lane = threadIdx.x % kWarp;
  const int warp = threadIdx.x / kWarp;
  const int warps = blockDim.x / kWarp;
  const int channels = static_cast<int>(call.channels);
  const int64_t group = blockIdx.x / call.codewords;
  const int32_t codeword = static_cast<int32_t>(blockIdx.x - group * call.codewords);

  float* const sums = shared + warp * channels;
  for (int c = lane; c < channels; c += kWarp) sums[c] = 0;
  bool is_broken = false;
  for (int64_t start = warp * kWarp; start < call.frames; start += blockDim.x) {
    const int64_t own = start + lane;
    const int32_t choice =
        own < call.frames ? call.choices[own * call.groups + group] : codeword + 1;
    is_broken = is_broken || choice < 0;  // such a frame has taken a NaN share in every codeword
    unsigned chosen = __ballot_sync(kAllLanes, choice == codeword);
    for (; chosen != 0; chosen &= chosen - 1) {
      const int64_t frame = start + __ffs(chosen) - 1;
      const float* const grad_code = call.grad_codes + (frame * call.groups + group) * channels;
      for (int c = lane; c < channels; c += kWarp) sums[c] += grad_code[c];
    }
  }
  is_broken = __syncthreads_or(is_broken);
  for (int c = threadIdx.x; c < channels; c += blockDim.x) {
    float sum = is_broken ? nanf("") : 0;
    for (int w = 0; w < warps; ++w) sum += shared[w * channels + c];
    call.grad_codebook[static_cast<int64_t>(blockIdx.x) * channels + c] = sum;
  }
}

// As many warps as have a line of this width in shared memory, 8 at most.
unsigned warps_for(int64_t width) {
  const int64_t fitting = kMostWidth / width;
  return static_cast<unsigned>(fitting < 8 ? fitting : 8);
}

}  // namespace

void quantize(const Quantization& call, CUstream_st* stream) {
  if (call.frames > 0) {
    const unsigned warps = warps_for(call.codewords);
    const dim3 blocks(static_cast<unsigned>(call.parts), static_cast<unsigned>(call.groups));
    choose<<<blocks, warps * kWarp, warps * call.codewords * sizeof(float), stream>>>(call);
  }
  average<<<blocks_for(call.groups * call.codewords, kWarp), kWarp * kWarp, 0, stream>>>(call);
  finish<<<1, 512, 0, stream>>>(call);
}

void grad_logits(const GradLogits& call, CUstream_st* stream) {
  constexpr int kWarps = 8;
  if (call.frames * call.groups == 0) return;
  differentiate<<<blocks_for(call.frames * call.groups, kWarps), kWarps * kWarp, 0, stream>>>(call);
}

void grad_codebook(const GradCodebook& call, CUstream_st* stream) {
  const unsigned warps = warps_for(call.channels);
  gather<<<static_cast<unsigned>(call.groups * call.codewords), warps * kWarp,
           warps * call.channels * sizeof(float), stream>>>(call);
}

}  // namespace fairseq_ecg::cuda
