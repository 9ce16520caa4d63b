// Registers fairseq_ecg_c::cmsc_loss.
#include "../common/binding.h"

#include "cmsc.h"

namespace fairseq_ecg {
namespace {

using Results = std::tuple<Tensor, Tensor>;

CMSC describe(const Tensor& features, const Tensor& patient_id, const Tensor& segment,
              double temperature, double eps, bool gradient, const Results& results) {
  TORCH_CHECK_VALUE(features.dim() == 2, "features must be (B, D)");
  check_tensor(features, "features", features, at::kFloat);
  check_tensor(patient_id, "patient_id", features, at::kLong, {features.size(0)});
  check_tensor(segment, "segment", features, at::kLong, {features.size(0)});
  const auto& [loss, grad_features] = results;
  return {
      features.const_data_ptr<float>(),
      patient_id.const_data_ptr<int64_t>(),
      segment.const_data_ptr<int64_t>(),
      loss.mutable_data_ptr<float>(),
      gradient_data(grad_features, gradient),
      features.size(0),
      features.size(1),
      static_cast<float>(temperature),
      static_cast<float>(eps),
  };
}

Results cmsc_loss_cpu(const Tensor& features, const Tensor& patient_id, const Tensor& segment,
                      double temperature, double eps, bool gradient) {
  const auto options = features.options();
  const Results results{at::empty({}, options),
                        gradient ? at::zeros_like(features) : at::empty({0}, options)};
  const CMSC call = describe(features, patient_id, segment, temperature, eps, gradient, results);

  const cpu::Workspace workspace(call);
  const auto take = [&](auto step, int64_t count) {
    constexpr int64_t kMembers = 8;  // of one thread at least
    at::parallel_for(0, count, kMembers,
                     [&](int64_t begin, int64_t end) { step(call, workspace, begin, end); });
  };
  const int64_t present = workspace.firsts + workspace.seconds;
  take(cpu::normalise, present);
  take(cpu::compare, workspace.firsts);
  cpu::weigh(call, workspace);
  if (gradient) take(cpu::differentiate, present);
  return results;
}

#ifdef FAIRSEQ_ECG_CUDA
// Pairs and gradient are written by way of at::mm, which keeps to the user's choice of TF32.
Results cmsc_loss_cuda(const Tensor& features, const Tensor& patient_id, const Tensor& segment,
                       double temperature, double eps, bool gradient) {
  const GPU gpu(features);
  const auto options = features.options();
  Results results{at::empty({}, options), gradient_like(features, gradient)};
  const CMSC call = describe(features, patient_id, segment, temperature, eps, gradient, results);

  Tensor pairs = at::empty({call.rows, call.rows}, options);
  const Tensor floats = at::empty({3, call.rows}, options);
  const Tensor n_positive = at::empty({call.rows}, options.dtype(at::kInt));
  float* const scales = floats.mutable_data_ptr<float>();
  const cuda::Workspace workspace{
      pairs.mutable_data_ptr<float>(),        scales, scales + call.rows, scales + 2 * call.rows,
      n_positive.mutable_data_ptr<int32_t>(),
  };
  gpu.launch(cuda::measure, call, workspace);
  at::mm_outf(features, features.t(), pairs);
  gpu.launch(cuda::weigh, call, workspace);
  if (gradient) at::mm_outf(pairs, features, std::get<1>(results));
  return results;
}
#endif

TORCH_LIBRARY_FRAGMENT(fairseq_ecg_c, library) {
  library.def(
      "cmsc_loss(Tensor features, Tensor patient_id, Tensor segment, float temperature, "
      "float eps, bool gradient) -> (Tensor loss, Tensor grad_features)");
  library.impl("cmsc_loss", at::kCPU, &cmsc_loss_cpu);
#ifdef FAIRSEQ_ECG_CUDA
  library.impl("cmsc_loss", at::kCUDA, &cmsc_loss_cuda);
#endif
}

}  // namespace
}  // namespace fairseq_ecg
