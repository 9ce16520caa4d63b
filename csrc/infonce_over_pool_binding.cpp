// Registers fairseq_ecg_c::infonce_over_pool.
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <tuple>
#include <vector>

#include "infonce_over_pool.h"

#ifdef FAIRSEQ_ECG_CUDA
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

namespace fairseq_ecg {
namespace {

using Results = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

constexpr int64_t kFramesPerThread = 8;
constexpr int64_t kVectorsPerThread = 32;

void check(const at::Tensor& predictions, const at::Tensor& targets, const at::Tensor& pool,
           const at::Tensor& negatives) {
  TORCH_CHECK_VALUE(predictions.dim() == 2 && predictions.sizes() == targets.sizes(),
                    "predictions and targets must both be (F, C)");
  TORCH_CHECK_VALUE(pool.dim() == 2 && pool.size(1) == predictions.size(1),
                    "the pool must be (P, C)");
  TORCH_CHECK_VALUE(negatives.dim() == 2 && negatives.size(0) == predictions.size(0),
                    "negatives must be (F, N)");
  for (const at::Tensor& frames : {predictions, targets, pool}) {
    TORCH_CHECK_VALUE(frames.scalar_type() == at::kFloat && frames.is_contiguous(),
                      "predictions, targets and pool must be contiguous float32");
  }
  TORCH_CHECK_VALUE(negatives.scalar_type() == at::kLong && negatives.is_contiguous(),
                    "negatives must be contiguous int64");
  for (const at::Tensor& other : {targets, pool, negatives}) {
    TORCH_CHECK_VALUE(other.device() == predictions.device(),
                      "predictions, targets, pool and negatives must be on one device");
  }
}

Results allocate(const at::Tensor& predictions, const at::Tensor& pool, bool gradient) {
  const std::vector<int64_t> none{0};
  const auto like = [&](const at::Tensor& frames) {
    return at::empty(gradient ? frames.sizes() : at::IntArrayRef(none), frames.options());
  };
  const auto frames = predictions.sizes().slice(0, 1);
  return {at::empty(frames, predictions.options()),
          at::empty(frames, predictions.options().dtype(at::kBool)), like(predictions),
          like(predictions), like(pool)};
}

// The slopes have a place for each draw; without gradients the GPU keeps logits there.
InfoNCEOverPool describe(const at::Tensor& predictions, const at::Tensor& targets,
                         const at::Tensor& pool, const at::Tensor& negatives, double temperature,
                         bool gradient, const Results& results, const at::Tensor& pool_norms,
                         const at::Tensor& slopes) {
  const auto& [losses, hits, by_predictions, by_targets, by_pool] = results;
  return {
      predictions.const_data_ptr<float>(),
      targets.const_data_ptr<float>(),
      pool.const_data_ptr<float>(),
      negatives.const_data_ptr<int64_t>(),
      losses.mutable_data_ptr<float>(),
      hits.mutable_data_ptr<bool>(),
      gradient ? by_predictions.mutable_data_ptr<float>() : nullptr,
      gradient ? by_targets.mutable_data_ptr<float>() : nullptr,
      gradient ? by_pool.mutable_data_ptr<float>() : nullptr,
      pool_norms.mutable_data_ptr<float>(),
      slopes.mutable_data_ptr<float>(),
      predictions.size(0),
      predictions.size(1),
      pool.size(0),
      negatives.size(1),
      static_cast<float>(temperature),
  };
}

// Puts draws in the order of what they drew, and of frames where they drew the same.
struct Sorted {
  explicit Sorted(const InfoNCEOverPool& call)
      : starts(call.pool_frames + 1), frames(call.frames * call.draws), slopes(frames.size()) {
    for (size_t k = 0; k < frames.size(); ++k) ++starts[call.negatives[k] + 1];
    for (int64_t p = 0; p < call.pool_frames; ++p) starts[p + 1] += starts[p];
    std::vector<int64_t> next(starts);
    for (int64_t i = 0; i < call.frames; ++i) {
      for (int64_t k = i * call.draws; k < (i + 1) * call.draws; ++k) {
        const int64_t place = next[call.negatives[k]]++;
        frames[place] = i;
        slopes[place] = call.slopes[k];
      }
    }
  }

  std::vector<int64_t> starts;
  std::vector<int64_t> frames;
  std::vector<float> slopes;
};

Results infonce_over_pool_cpu(const at::Tensor& predictions, const at::Tensor& targets,
                              const at::Tensor& pool, const at::Tensor& negatives,
                              double temperature, bool gradient) {
  check(predictions, targets, pool, negatives);
  const Results results = allocate(predictions, pool, gradient);
  const at::Tensor pool_norms = at::empty({pool.size(0)}, pool.options());
  const at::Tensor slopes = at::empty(gradient ? negatives.sizes() : pool_norms.sizes().slice(0, 0),
                                      pool.options());
  const InfoNCEOverPool call = describe(predictions, targets, pool, negatives, temperature,
                                        gradient, results, pool_norms, slopes);
  bool is_outside = false;
  for (int64_t k = 0; k < call.frames * call.draws; ++k) {
    is_outside |= static_cast<uint64_t>(call.negatives[k]) >=
                  static_cast<uint64_t>(call.pool_frames);
  }
  TORCH_CHECK_VALUE(!is_outside, "a negative is not in the pool");

  at::parallel_for(0, call.pool_frames, kVectorsPerThread, [&](int64_t begin, int64_t end) {
    cpu::measure_pool(call, begin, end);
  });
  at::parallel_for(0, call.frames, kFramesPerThread, [&](int64_t begin, int64_t end) {
    cpu::contrast_with_pool(call, begin, end);
  });
  if (gradient) {
    const Sorted sorted(call);
    const cpu::Drawers drawers{sorted.starts.data(), sorted.frames.data(), sorted.slopes.data()};
    at::parallel_for(0, call.pool_frames, kVectorsPerThread, [&](int64_t begin, int64_t end) {
      cpu::differentiate_pool(call, drawers, begin, end);
    });
  }
  return results;
}

#ifdef FAIRSEQ_ECG_CUDA
// A stable sort of the draws instead of atomic sums: the gradient has the same bits in every run.
Results infonce_over_pool_cuda(const at::Tensor& predictions, const at::Tensor& targets,
                               const at::Tensor& pool, const at::Tensor& negatives,
                               double temperature, bool gradient) {
  check(predictions, targets, pool, negatives);
  const c10::cuda::CUDAGuard guard(predictions.device());
  const auto stream = c10::cuda::getCurrentCUDAStream();
  const Results results = allocate(predictions, pool, gradient);
  const at::Tensor pool_norms = at::empty({pool.size(0)}, pool.options());
  const at::Tensor slopes = at::empty(negatives.sizes(), pool.options());
  const InfoNCEOverPool call = describe(predictions, targets, pool, negatives, temperature,
                                        gradient, results, pool_norms, slopes);
  cuda::measure_pool(call, stream);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  cuda::contrast_with_pool(call, stream);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  if (gradient) {
    const auto [drawn, draws] = at::sort(negatives.flatten(), /*stable=*/true, 0, false);
    const at::Tensor vectors = at::arange(pool.size(0) + 1, negatives.options());
    const at::Tensor starts = at::searchsorted(drawn, vectors);
    cuda::differentiate_pool(call, starts.const_data_ptr<int64_t>(),
                             draws.const_data_ptr<int64_t>(), stream);
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }
  return results;
}
#endif

TORCH_LIBRARY_FRAGMENT(fairseq_ecg_c, library) {
  library.def(
      "infonce_over_pool(Tensor predictions, Tensor targets, Tensor pool, Tensor negatives, "
      "float temperature, bool gradient) -> (Tensor losses, Tensor hits, Tensor by_predictions, "
      "Tensor by_targets, Tensor by_pool)");
}

TORCH_LIBRARY_IMPL(fairseq_ecg_c, CPU, library) {
  library.impl("infonce_over_pool", &infonce_over_pool_cpu);
}

#ifdef FAIRSEQ_ECG_CUDA
TORCH_LIBRARY_IMPL(fairseq_ecg_c, CUDA, library) {
  library.impl("infonce_over_pool", &infonce_over_pool_cuda);
}
#endif

}  // namespace
}  // namespace fairseq_ecg
