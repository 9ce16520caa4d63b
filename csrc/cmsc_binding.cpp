// Registers fairseq_ecg_c::cmsc_loss.
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <tuple>

#include "cmsc.h"

#ifdef FAIRSEQ_ECG_CUDA
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

namespace fairseq_ecg {
namespace {

using Results = std::tuple<at::Tensor, at::Tensor>;

void check(const at::Tensor& features, const at::Tensor& patient_id, const at::Tensor& segment) {
  TORCH_CHECK_VALUE(
      features.dim() == 2 && features.scalar_type() == at::kFloat && features.is_contiguous(),
      "features must be (B, D), contiguous float32");
  for (const at::Tensor& ids : {patient_id, segment}) {
    TORCH_CHECK_VALUE(ids.dim() == 1 && ids.size(0) == features.size(0),
                      "patient_id and segment must be (B,)");
    TORCH_CHECK_VALUE(ids.scalar_type() == at::kLong && ids.is_contiguous(),
                      "patient_id and segment must be contiguous int64");
    TORCH_CHECK_VALUE(ids.device() == features.device(),
                      "features, patient_id and segment must be on one device");
  }
}

CMSC describe(const at::Tensor& features, const at::Tensor& patient_id, const at::Tensor& segment,
              double temperature, double eps, bool gradient, const Results& results) {
  const auto& [loss, by_features] = results;
  return {
      features.const_data_ptr<float>(),
      patient_id.const_data_ptr<int64_t>(),
      segment.const_data_ptr<int64_t>(),
      loss.mutable_data_ptr<float>(),
      gradient ? by_features.mutable_data_ptr<float>() : nullptr,
      features.size(0),
      features.size(1),
      static_cast<float>(temperature),
      static_cast<float>(eps),
  };
}

Results cmsc_loss_cpu(const at::Tensor& features, const at::Tensor& patient_id,
                      const at::Tensor& segment, double temperature, double eps, bool gradient) {
  check(features, patient_id, segment);
  const auto options = features.options();
  const Results results{at::empty({}, options),
                        gradient ? at::zeros_like(features) : at::empty({0}, options)};
  const CMSC call =
      describe(features, patient_id, segment, temperature, eps, gradient, results);

  const cpu::Workspace workspace(call);
  constexpr int64_t kMembers = 8;  // of one thread at least
  const auto take = [&](cpu::Step step, int64_t count) {
    at::parallel_for(0, count, kMembers, [&](int64_t begin, int64_t end) {
      cpu::take(step, call, workspace, begin, end);
    });
  };
  const int64_t present = workspace.firsts + workspace.seconds;
  take(cpu::Step::kNormalise, present);
  take(cpu::Step::kCompare, workspace.firsts);
  cpu::weigh(call, workspace);
  if (gradient) take(cpu::Step::kDifferentiate, present);
  return results;
}

#ifdef FAIRSEQ_ECG_CUDA
// Pairs and gradient are written by way of at::mm, which keeps to the user's choice of TF32.
Results cmsc_loss_cuda(const at::Tensor& features, const at::Tensor& patient_id,
                       const at::Tensor& segment, double temperature, double eps, bool gradient) {
  check(features, patient_id, segment);
  const c10::cuda::CUDAGuard guard(features.device());
  const auto stream = c10::cuda::getCurrentCUDAStream();
  const auto options = features.options();
  Results results{at::empty({}, options),
                  gradient ? at::empty_like(features) : at::empty({0}, options)};
  const CMSC call =
      describe(features, patient_id, segment, temperature, eps, gradient, results);

  at::Tensor pairs = at::empty({call.rows, call.rows}, options);
  const at::Tensor floats = at::empty({3, call.rows}, options);
  const at::Tensor n_positive = at::empty({call.rows}, options.dtype(at::kInt));
  float* const scales = floats.mutable_data_ptr<float>();
  const cuda::Workspace workspace{
      pairs.mutable_data_ptr<float>(),
      scales,
      scales + call.rows,
      scales + 2 * call.rows,
      n_positive.mutable_data_ptr<int32_t>(),
  };
  cuda::measure(call, workspace, stream);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  at::mm_outf(features, features.t(), pairs);
  cuda::weigh(call, workspace, stream);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  if (gradient) at::mm_outf(pairs, features, std::get<1>(results));
  return results;
}
#endif

TORCH_LIBRARY_FRAGMENT(fairseq_ecg_c, library) {
  library.def(
      "cmsc_loss(Tensor features, Tensor patient_id, Tensor segment, float temperature, "
      "float eps, bool gradient) -> (Tensor loss, Tensor by_features)");
}

TORCH_LIBRARY_IMPL(fairseq_ecg_c, CPU, library) { library.impl("cmsc_loss", &cmsc_loss_cpu); }

#ifdef FAIRSEQ_ECG_CUDA
TORCH_LIBRARY_IMPL(fairseq_ecg_c, CUDA, library) { library.impl("cmsc_loss", &cmsc_loss_cuda); }
#endif

}  // namespace
}  // namespace fairseq_ecg
