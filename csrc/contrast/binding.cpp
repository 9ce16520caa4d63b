// Registers fairseq_ecg_c::contrast.
#include "../common/binding.h"

#include "contrast.h"

namespace fairseq_ecg {
namespace {

using Results = std::tuple<Tensor, Tensor, Tensor>;

Contrast describe(const Tensor& features, const Tensor& group, const Maybe& segment,
                  double temperature, double eps, bool gradient, const Results& results) {
  TORCH_CHECK_VALUE(features.dim() == 2, "features must be (B, D)");
  check_tensor(features, "features", features, at::kFloat);
  check_tensor(group, "group", features, at::kLong, {features.size(0)});
  if (segment.has_value()) {
    check_tensor(*segment, "segment", features, at::kLong, {features.size(0)});
  }
  const auto& [loss, counts, grad_features] = results;
  return {
      features.const_data_ptr<float>(),
      group.const_data_ptr<int64_t>(),
      data_of<int64_t>(segment),
      loss.mutable_data_ptr<float>(),
      counts.mutable_data_ptr<int64_t>(),
      gradient_data(grad_features, gradient),
      features.size(0),
      features.size(1),
      static_cast<float>(temperature),
      static_cast<float>(eps),
      segment.has_value(),
  };
}

Results contrast_cpu(const Tensor& features, const Tensor& group, const Maybe& segment,
                     double temperature, double eps, bool gradient) {
  const auto options = features.options();
  const Results results{at::empty({}, options), at::empty({kCounts}, group.options()),
                        gradient ? at::zeros_like(features) : at::empty({0}, options)};
  const Contrast call = describe(features, group, segment, temperature, eps, gradient, results);

  const cpu::Workspace workspace(call);
  const auto take = [&](auto step, int64_t count) {
    constexpr int64_t kMembers = 8;  // of one thread at least
    at::parallel_for(0, count, kMembers,
                     [&](int64_t begin, int64_t end) { step(call, workspace, begin, end); });
  };
  take(cpu::normalise, workspace.present());
  take(cpu::compare, workspace.lines);
  cpu::weigh(call, workspace);
  if (gradient) take(cpu::differentiate, workspace.present());
  return results;
}

#ifdef FAIRSEQ_ECG_CUDA
// Pairs and gradient are written by way of at::mm, which keeps to the user's choice of TF32.
Results contrast_cuda(const Tensor& features, const Tensor& group, const Maybe& segment,
                      double temperature, double eps, bool gradient) {
  const GPU gpu(features);
  const auto options = features.options();
  Results results{at::empty({}, options), at::empty({kCounts}, group.options()),
                  gradient_like(features, gradient)};
  const Contrast call = describe(features, group, segment, temperature, eps, gradient, results);

  Tensor pairs = at::empty({call.rows, call.rows}, options);
  const Tensor floats = at::empty({4, call.rows}, options);
  const Tensor counts = at::empty({kCounts, call.rows}, options.dtype(at::kInt));
  float* const scales = floats.mutable_data_ptr<float>();
  const cuda::Workspace workspace{
      pairs.mutable_data_ptr<float>(), scales,
      scales + call.rows,              scales + 2 * call.rows,
      scales + 3 * call.rows,          counts.mutable_data_ptr<int32_t>(),
  };
  gpu.launch(cuda::measure, call, workspace);
  at::mm_outf(features, features.t(), pairs);
  gpu.launch(cuda::weigh, call, workspace);
  if (gradient) at::mm_outf(pairs, features, std::get<2>(results));
  return results;
}
#endif

TORCH_LIBRARY_FRAGMENT(fairseq_ecg_c, library) {
  library.def(
      "contrast(Tensor features, Tensor group, Tensor? segment, float temperature, float eps, "
      "bool gradient) -> (Tensor loss, Tensor counts, Tensor grad_features)");
  library.impl("contrast", at::kCPU, &contrast_cpu);
#ifdef FAIRSEQ_ECG_CUDA
  library.impl("contrast", at::kCUDA, &contrast_cuda);
#endif
}

}  // namespace
}  // namespace fairseq_ecg
