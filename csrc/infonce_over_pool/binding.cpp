// Registers fairseq_ecg_c::infonce_over_pool.
#include "../common/binding.h"

#include <vector>

#include "infonce_over_pool.h"

namespace fairseq_ecg {
namespace {

using Results = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

constexpr int64_t kFramesPerThread = 8;
constexpr int64_t kVectorsPerThread = 32;

void check(const Tensor& predictions, const Tensor& targets, const Tensor& pool,
           const Tensor& negatives) {
  TORCH_CHECK_VALUE(predictions.dim() == 2 && negatives.dim() == 2,
                    "predictions must be (F, C) and negatives (F, N)");
  const int64_t frames = predictions.size(0), channels = predictions.size(1);
  check_tensor(predictions, "predictions", predictions, at::kFloat);
  check_tensor(targets, "targets", predictions, at::kFloat, {frames, channels});
  check_tensor(pool, "pool", predictions, at::kFloat, {pool.size(0), channels});
  check_tensor(negatives, "negatives", predictions, at::kLong, {frames, negatives.size(1)});
}

Results allocate(const Tensor& predictions, const Tensor& pool, bool gradient) {
  const auto frames = predictions.sizes().slice(0, 1);
  return {at::empty(frames, predictions.options()),
          at::empty(frames, predictions.options().dtype(at::kBool)),
          gradient_like(predictions, gradient), gradient_like(predictions, gradient),
          gradient_like(pool, gradient)};
}

// dlogits has a number for each sample; without gradients the GPU keeps logits there.
InfoNCEOverPool describe(const Tensor& predictions, const Tensor& targets, const Tensor& pool,
                         const Tensor& negatives, double temperature, bool gradient,
                         const Results& results, const Tensor& pool_norms, const Tensor& dlogits) {
  const auto& [losses, correct, grad_predictions, grad_targets, grad_pool] = results;
  return {
      predictions.const_data_ptr<float>(),
      targets.const_data_ptr<float>(),
      pool.const_data_ptr<float>(),
      negatives.const_data_ptr<int64_t>(),
      losses.mutable_data_ptr<float>(),
      correct.mutable_data_ptr<bool>(),
      gradient_data(grad_predictions, gradient),
      gradient_data(grad_targets, gradient),
      gradient_data(grad_pool, gradient),
      pool_norms.mutable_data_ptr<float>(),
      dlogits.mutable_data_ptr<float>(),
      predictions.size(0),
      predictions.size(1),
      pool.size(0),
      negatives.size(1),
      static_cast<float>(temperature),
  };
}

// Puts samples in the order of the vectors they mean, and of frames where they mean the same.
struct Sorted {
  explicit Sorted(const InfoNCEOverPool& call)
      : starts(call.pool_frames + 1), frames(call.frames * call.samples), dlogits(frames.size()) {
    for (size_t k = 0; k < frames.size(); ++k) ++starts[call.negatives[k] + 1];
    for (int64_t p = 0; p < call.pool_frames; ++p) starts[p + 1] += starts[p];
    std::vector<int64_t> next(starts);
    for (int64_t i = 0; i < call.frames; ++i) {
      for (int64_t k = i * call.samples; k < (i + 1) * call.samples; ++k) {
        const int64_t index = next[call.negatives[k]]++;
        frames[index] = i;
        dlogits[index] = call.dlogits[k];
      }
    }
  }

  std::vector<int64_t> starts;
  std::vector<int64_t> frames;
  std::vector<float> dlogits;
};

Results infonce_over_pool_cpu(const Tensor& predictions, const Tensor& targets, const Tensor& pool,
                              const Tensor& negatives, double temperature, bool gradient) {
  check(predictions, targets, pool, negatives);
  const Results results = allocate(predictions, pool, gradient);
  const Tensor pool_norms = at::empty({pool.size(0)}, pool.options());
  const Tensor dlogits =
      at::empty(gradient ? negatives.sizes() : pool_norms.sizes().slice(0, 0), pool.options());
  const InfoNCEOverPool call = describe(predictions, targets, pool, negatives, temperature,
                                        gradient, results, pool_norms, dlogits);
  bool is_outside = false;
  for (int64_t k = 0; k < call.frames * call.samples; ++k) {
    is_outside |=
        static_cast<uint64_t>(call.negatives[k]) >= static_cast<uint64_t>(call.pool_frames);
  }
  TORCH_CHECK_VALUE(!is_outside, "a negative is not in the pool");

  at::parallel_for(0, call.pool_frames, kVectorsPerThread,
                   [&](int64_t begin, int64_t end) { cpu::measure_pool(call, begin, end); });
  at::parallel_for(0, call.frames, kFramesPerThread,
                   [&](int64_t begin, int64_t end) { cpu::contrast_with_pool(call, begin, end); });
  if (gradient) {
    const Sorted sorted(call);
    const cpu::Uses uses{sorted.starts.data(), sorted.frames.data(), sorted.dlogits.data()};
    at::parallel_for(0, call.pool_frames, kVectorsPerThread, [&](int64_t begin, int64_t end) {
      cpu::differentiate_pool(call, uses, begin, end);
    });
  }
  return results;
}

#ifdef FAIRSEQ_ECG_CUDA
// A stable sort of the samples instead of atomic sums: the gradient has the same bits in every run.
Results infonce_over_pool_cuda(const Tensor& predictions, const Tensor& targets, const Tensor& pool,
                               const Tensor& negatives, double temperature, bool gradient) {
  check(predictions, targets, pool, negatives);
  const GPU gpu(predictions);
  const Results results = allocate(predictions, pool, gradient);
  const Tensor pool_norms = at::empty({pool.size(0)}, pool.options());
  const Tensor dlogits = at::empty(negatives.sizes(), pool.options());
  const InfoNCEOverPool call = describe(predictions, targets, pool, negatives, temperature,
                                        gradient, results, pool_norms, dlogits);
  gpu.launch(cuda::measure_pool, call);
  gpu.launch(cuda::contrast_with_pool, call);
  if (gradient) {
    const auto [drawn, samples] = at::sort(negatives.flatten(), /*stable=*/true, 0, false);
    const Tensor vectors = at::arange(pool.size(0) + 1, negatives.options());
    const Tensor starts = at::searchsorted(drawn, vectors);
    gpu.launch(cuda::differentiate_pool, call, starts.const_data_ptr<int64_t>(),
               samples.const_data_ptr<int64_t>());
  }
  return results;
}
#endif

TORCH_LIBRARY_FRAGMENT(fairseq_ecg_c, library) {
  library.def(
      "infonce_over_pool(Tensor predictions, Tensor targets, Tensor pool, Tensor negatives, "
      "float temperature, bool gradient) -> (Tensor losses, Tensor correct, Tensor "
      "grad_predictions, "
      "Tensor grad_targets, Tensor grad_pool)");
  library.impl("infonce_over_pool", at::kCPU, &infonce_over_pool_cpu);
#ifdef FAIRSEQ_ECG_CUDA
  library.impl("infonce_over_pool", at::kCUDA, &infonce_over_pool_cuda);
#endif
}

}  // namespace
}  // namespace fairseq_ecg
