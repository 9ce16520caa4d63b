// Registers fairseq_ecg_c::infonce.
#include <ATen/Context.h>
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <atomic>
#include <optional>
#include <tuple>
#include <vector>

#include "infonce.h"

#ifdef FAIRSEQ_ECG_CUDA
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

namespace fairseq_ecg {
namespace {

using Results = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

using Indices = std::optional<at::Tensor>;

void check(const at::Tensor& predictions, const at::Tensor& targets, const Indices& negatives,
           const Indices& origins, int64_t number) {
  TORCH_CHECK_VALUE(predictions.dim() == 3 && predictions.sizes() == targets.sizes(),
                    "predictions and targets must both be (B, M, C)");
  TORCH_CHECK_VALUE(negatives.has_value() != origins.has_value(),
                    "either negatives or origins must be given");
  const at::Tensor& indices = negatives.has_value() ? *negatives : *origins;
  const int64_t columns =
      negatives.has_value() ? predictions.size(1) * number : philox::kOriginColumns;
  TORCH_CHECK_VALUE(indices.dim() == 2 && indices.size(0) == predictions.size(0) &&
                        indices.size(1) == columns,
                    "negatives must be (B, M * N), origins (B, ", philox::kOriginColumns, ")");
  TORCH_CHECK_VALUE(number > 0 && (negatives.has_value() || predictions.size(1) > 1),
                    "there are no negatives");
  for (const at::Tensor& frames : {predictions, targets}) {
    TORCH_CHECK_VALUE(frames.scalar_type() == at::kFloat && frames.is_contiguous(),
                      "predictions and targets must be contiguous float32");
  }
  TORCH_CHECK_VALUE(indices.scalar_type() == at::kLong && indices.is_contiguous(),
                    "negatives and origins must be contiguous int64");
  TORCH_CHECK_VALUE(
      targets.device() == predictions.device() && indices.device() == predictions.device(),
      "predictions, targets and negatives must be on one device");
}

Results allocate(const at::Tensor& predictions, bool gradient) {
  const std::vector<int64_t> none{0};
  const auto sizes = gradient ? predictions.sizes() : at::IntArrayRef(none);
  const auto frames = predictions.sizes().slice(0, 2);
  return {at::empty(frames, predictions.options()),
          at::empty(frames, predictions.options().dtype(at::kBool)),
          at::empty(sizes, predictions.options()), at::empty(sizes, predictions.options())};
}

InfoNCE describe(const at::Tensor& predictions, const at::Tensor& targets,
                 const Indices& negatives, const Indices& origins, int64_t number,
                 double temperature, bool gradient, const Results& results) {
  const auto& [losses, hits, by_predictions, by_targets] = results;
  return {
      predictions.const_data_ptr<float>(),
      targets.const_data_ptr<float>(),
      negatives.has_value() ? negatives->const_data_ptr<int64_t>() : nullptr,
      origins.has_value() ? origins->const_data_ptr<int64_t>() : nullptr,
      losses.mutable_data_ptr<float>(),
      hits.mutable_data_ptr<bool>(),
      gradient ? by_predictions.mutable_data_ptr<float>() : nullptr,
      gradient ? by_targets.mutable_data_ptr<float>() : nullptr,
      predictions.size(0),
      predictions.size(1),
      predictions.size(2),
      number,
      static_cast<float>(temperature),
  };
}

Results infonce_cpu(const at::Tensor& predictions, const at::Tensor& targets,
                    const Indices& negatives, const Indices& origins, int64_t number,
                    double temperature, bool gradient) {
  check(predictions, targets, negatives, origins, number);
  const Results results = allocate(predictions, gradient);
  const InfoNCE call = describe(predictions, targets, negatives, origins, number, temperature,
                                gradient, results);
  std::atomic<bool> is_sound{true};
  at::parallel_for(0, call.rows, 1, [&](int64_t begin, int64_t end) {
    if (!cpu::infonce(call, begin, end)) is_sound = false;
  });
  TORCH_CHECK_VALUE(is_sound, "a negative is of another row than its frame, or of none");
  return results;
}

#ifdef FAIRSEQ_ECG_CUDA
// Workspace and gradients are written by way of at::bmm, which keeps to the user's choice of TF32.
Results infonce_cuda(const at::Tensor& predictions, const at::Tensor& targets,
                     const Indices& negatives, const Indices& origins, int64_t number,
                     double temperature, bool gradient) {
  check(predictions, targets, negatives, origins, number);
  TORCH_CHECK_VALUE(predictions.size(1) <= cuda::kMostFrames, "a row has more than ",
                    cuda::kMostFrames, " frames");
  const c10::cuda::CUDAGuard guard(predictions.device());
  const auto stream = c10::cuda::getCurrentCUDAStream();
  Results results = allocate(predictions, gradient);
  const InfoNCE call = describe(predictions, targets, negatives, origins, number, temperature,
                                gradient, results);

  // Tensor cores are faster where they may be used; the one launch has float32 products alone.
  if (!at::globalContext().allowTF32CuBLAS() && cuda::fits(call)) {
    cuda::fused(call, stream);
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return results;
  }

  const auto options = predictions.options();
  at::Tensor pairs = at::empty({call.rows, call.frames, call.frames}, options);
  const at::Tensor norms = at::empty({2, call.rows, call.frames}, options);
  const at::Tensor fingerprints = at::empty({call.rows, call.frames}, options.dtype(at::kLong));
  const at::Tensor names = at::empty({call.rows, call.frames}, options.dtype(at::kInt));
  float* const prediction_norms = norms.mutable_data_ptr<float>();
  const cuda::Workspace workspace{
      pairs.mutable_data_ptr<float>(),
      prediction_norms,
      prediction_norms + call.rows * call.frames,
      fingerprints.mutable_data_ptr<int64_t>(),
      names.mutable_data_ptr<int32_t>(),
  };

  cuda::prepare(call, workspace, stream);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  at::bmm_outf(predictions, targets.transpose(1, 2), pairs);
  cuda::weigh(call, workspace, stream);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  if (gradient) {
    auto& [losses, hits, by_predictions, by_targets] = results;
    at::bmm_outf(pairs, targets, by_predictions);
    at::bmm_outf(pairs.transpose(1, 2), predictions, by_targets);
    cuda::project(call, workspace, stream);
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }
  return results;
}
#endif

TORCH_LIBRARY_FRAGMENT(fairseq_ecg_c, library) {
  library.def(
      "infonce(Tensor predictions, Tensor targets, Tensor? negatives, Tensor? origins, "
      "int number, float temperature, bool gradient) "
      "-> (Tensor losses, Tensor hits, Tensor by_predictions, Tensor by_targets)");
}

TORCH_LIBRARY_IMPL(fairseq_ecg_c, CPU, library) { library.impl("infonce", &infonce_cpu); }

#ifdef FAIRSEQ_ECG_CUDA
TORCH_LIBRARY_IMPL(fairseq_ecg_c, CUDA, library) { library.impl("infonce", &infonce_cuda); }
#endif

}  // namespace
}  // namespace fairseq_ecg
