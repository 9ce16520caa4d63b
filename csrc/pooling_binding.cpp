// Registers fairseq_ecg_c::mean_of_nonzero.
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <optional>
#include <tuple>

#include "pooling.h"

#ifdef FAIRSEQ_ECG_CUDA
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

namespace fairseq_ecg {
namespace {

using Results = std::tuple<at::Tensor, at::Tensor>;

void check(const at::Tensor& x, const std::optional<at::Tensor>& frame_mask) {
  TORCH_CHECK_VALUE(x.dim() == 3 && x.scalar_type() == at::kFloat && x.is_contiguous(),
                    "x must be (B, T, D), contiguous float32");
  if (!frame_mask.has_value()) return;
  TORCH_CHECK_VALUE(frame_mask->sizes() == x.sizes().slice(0, 2), "frame_mask must be (B, T)");
  TORCH_CHECK_VALUE(frame_mask->scalar_type() == at::kBool && frame_mask->is_contiguous(),
                    "frame_mask must be contiguous bool");
  TORCH_CHECK_VALUE(frame_mask->device() == x.device(), "x and frame_mask must be on one device");
}

Results allocate(const at::Tensor& x) {
  return {at::empty({x.size(0), x.size(2)}, x.options()),
          at::empty({x.size(0), x.size(2)}, x.options())};
}

Pooling describe(const at::Tensor& x, const std::optional<at::Tensor>& frame_mask,
                 const Results& results) {
  const auto& [means, counts] = results;
  return {
      x.const_data_ptr<float>(),
      frame_mask.has_value() ? frame_mask->const_data_ptr<bool>() : nullptr,
      means.mutable_data_ptr<float>(),
      counts.mutable_data_ptr<float>(),
      x.size(0),
      x.size(1),
      x.size(2),
  };
}

Results mean_of_nonzero_cpu(const at::Tensor& x, const std::optional<at::Tensor>& frame_mask) {
  check(x, frame_mask);
  const Results results = allocate(x);
  const Pooling call = describe(x, frame_mask, results);
  at::parallel_for(0, call.rows, 1,
                   [&](int64_t begin, int64_t end) { cpu::mean_of_nonzero(call, begin, end); });
  return results;
}

#ifdef FAIRSEQ_ECG_CUDA
Results mean_of_nonzero_cuda(const at::Tensor& x, const std::optional<at::Tensor>& frame_mask) {
  check(x, frame_mask);
  const c10::cuda::CUDAGuard guard(x.device());
  const Results results = allocate(x);
  cuda::mean_of_nonzero(describe(x, frame_mask, results), c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return results;
}
#endif

TORCH_LIBRARY_FRAGMENT(fairseq_ecg_c, library) {
  library.def(
      "mean_of_nonzero(Tensor x, Tensor? frame_mask) -> (Tensor means, Tensor counts)");
}

TORCH_LIBRARY_IMPL(fairseq_ecg_c, CPU, library) {
  library.impl("mean_of_nonzero", &mean_of_nonzero_cpu);
}

#ifdef FAIRSEQ_ECG_CUDA
TORCH_LIBRARY_IMPL(fairseq_ecg_c, CUDA, library) {
  library.impl("mean_of_nonzero", &mean_of_nonzero_cuda);
}
#endif

}  // namespace
}  // namespace fairseq_ecg
