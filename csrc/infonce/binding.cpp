// Registers fairseq_ecg_c::infonce.
#include "../common/binding.h"

#include <ATen/Context.h>

#include <atomic>

#include "infonce.h"

namespace fairseq_ecg {
namespace {

using Results = std::tuple<Tensor, Tensor, Tensor, Tensor>;

void check(const Tensor& predictions, const Tensor& targets, const Maybe& negatives,
           const Maybe& origins, int64_t number) {
  TORCH_CHECK_VALUE(predictions.sizes() == targets.sizes(),
                    "predictions and targets must both be (B, M, C)");
  TORCH_CHECK_VALUE(negatives.has_value() != origins.has_value(),
                    "either negatives or origins must be given");
  TORCH_CHECK_VALUE(number > 0 && (negatives.has_value() || predictions.size(1) > 1),
                    "there are no negatives");
  const int64_t rows = predictions.size(0), frames = predictions.size(1);
  check_tensor(predictions, "predictions", predictions, at::kFloat);
  check_tensor(targets, "targets", predictions, at::kFloat);
  if (negatives.has_value()) {
    check_tensor(*negatives, "negatives", predictions, at::kLong, {rows, frames * number});
  } else {
    check_tensor(*origins, "origins", predictions, at::kLong, {rows, philox::kOriginColumns});
  }
}

Results allocate(const Tensor& predictions, bool gradient) {
  TORCH_CHECK_VALUE(predictions.dim() == 3, "predictions must be (B, M, C)");
  const auto frames = predictions.sizes().slice(0, 2);
  return {at::empty(frames, predictions.options()),
          at::empty(frames, predictions.options().dtype(at::kBool)),
          gradient_like(predictions, gradient), gradient_like(predictions, gradient)};
}

InfoNCE describe(const Tensor& predictions, const Tensor& targets, const Maybe& negatives,
                 const Maybe& origins, int64_t number, double temperature, bool gradient,
                 const Results& results) {
  check(predictions, targets, negatives, origins, number);
  const auto& [losses, correct, grad_predictions, grad_targets] = results;
  return {
      predictions.const_data_ptr<float>(),
      targets.const_data_ptr<float>(),
      data_of<int64_t>(negatives),
      data_of<int64_t>(origins),
      losses.mutable_data_ptr<float>(),
      correct.mutable_data_ptr<bool>(),
      gradient_data(grad_predictions, gradient),
      gradient_data(grad_targets, gradient),
      predictions.size(0),
      predictions.size(1),
      predictions.size(2),
      number,
      static_cast<float>(temperature),
  };
}

Results infonce_cpu(const Tensor& predictions, const Tensor& targets, const Maybe& negatives,
                    const Maybe& origins, int64_t number, double temperature, bool gradient) {
  const Results results = allocate(predictions, gradient);
  const InfoNCE call =
      describe(predictions, targets, negatives, origins, number, temperature, gradient, results);
  std::atomic<bool> is_sound{true};
  at::parallel_for(0, call.rows, 1, [&](int64_t begin, int64_t end) {
    if (!cpu::infonce(call, begin, end)) is_sound = false;
  });
  TORCH_CHECK_VALUE(is_sound, "a negative is of another row than its frame, or of none");
  return results;
}

#ifdef FAIRSEQ_ECG_CUDA
// Workspace and gradients are written by way of at::bmm, which keeps to the user's choice of TF32.
Results infonce_cuda(const Tensor& predictions, const Tensor& targets, const Maybe& negatives,
                     const Maybe& origins, int64_t number, double temperature, bool gradient) {
  const GPU gpu(predictions);
  Results results = allocate(predictions, gradient);
  const InfoNCE call =
      describe(predictions, targets, negatives, origins, number, temperature, gradient, results);
  TORCH_CHECK_VALUE(call.frames <= cuda::kMostFrames, "a row has more than ", cuda::kMostFrames,
                    " frames");

  // Tensor cores are faster where they may be used; the one launch has float32 products alone.
  if (!at::globalContext().allowTF32CuBLAS() && cuda::fits(call)) {
    gpu.launch(cuda::fused, call);
    return results;
  }

  const auto options = predictions.options();
  Tensor pairs = at::empty({call.rows, call.frames, call.frames}, options);
  const Tensor norms = at::empty({2, call.rows, call.frames}, options);
  const Tensor fingerprints = at::empty({call.rows, call.frames}, options.dtype(at::kLong));
  const Tensor names = at::empty({call.rows, call.frames}, options.dtype(at::kInt));
  float* const prediction_norms = norms.mutable_data_ptr<float>();
  const cuda::InfoNCEWorkspace workspace{
      pairs.mutable_data_ptr<float>(),
      prediction_norms,
      prediction_norms + call.rows * call.frames,
      fingerprints.mutable_data_ptr<int64_t>(),
      names.mutable_data_ptr<int32_t>(),
  };

  gpu.launch(cuda::prepare, call, workspace);
  at::bmm_outf(predictions, targets.transpose(1, 2), pairs);
  gpu.launch(cuda::weigh, call, workspace);
  if (gradient) {
    auto& [losses, correct, grad_predictions, grad_targets] = results;
    at::bmm_outf(pairs, targets, grad_predictions);
    at::bmm_outf(pairs.transpose(1, 2), predictions, grad_targets);
    gpu.launch(cuda::project, call, workspace);
  }
  return results;
}
#endif

TORCH_LIBRARY_FRAGMENT(fairseq_ecg_c, library) {
  library.def(
      "infonce(Tensor predictions, Tensor targets, Tensor? negatives, Tensor? origins, "
      "int number, float temperature, bool gradient) "
      "-> (Tensor losses, Tensor correct, Tensor grad_predictions, Tensor grad_targets)");
  library.impl("infonce", at::kCPU, &infonce_cpu);
#ifdef FAIRSEQ_ECG_CUDA
  library.impl("infonce", at::kCUDA, &infonce_cuda);
#endif
}

}  // namespace
}  // namespace fairseq_ecg
