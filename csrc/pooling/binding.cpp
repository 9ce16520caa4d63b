// Registers fairseq_ecg_c::mean_of_nonzero.
#include "../common/binding.h"

#include "pooling.h"

namespace fairseq_ecg {
namespace {

using Results = std::tuple<Tensor, Tensor>;

Results allocate(const Tensor& x, const Maybe& frame_mask) {
  TORCH_CHECK_VALUE(x.dim() == 3, "x must be (B, T, D)");
  check_tensor(x, "x", x, at::kFloat);
  if (frame_mask.has_value()) {
    check_tensor(*frame_mask, "frame_mask", x, at::kBool, x.sizes().slice(0, 2));
  }
  return {at::empty({x.size(0), x.size(2)}, x.options()),
          at::empty({x.size(0), x.size(2)}, x.options())};
}

Pooling describe(const Tensor& x, const Maybe& frame_mask, const Results& results) {
  const auto& [means, counts] = results;
  return {
      x.const_data_ptr<float>(),
      data_of<bool>(frame_mask),
      means.mutable_data_ptr<float>(),
      counts.mutable_data_ptr<float>(),
      x.size(0),
      x.size(1),
      x.size(2),
  };
}

Results mean_of_nonzero_cpu(const Tensor& x, const Maybe& frame_mask) {
  const Results results = allocate(x, frame_mask);
  const Pooling call = describe(x, frame_mask, results);
  at::parallel_for(0, call.rows, 1,
                   [&](int64_t begin, int64_t end) { cpu::mean_of_nonzero(call, begin, end); });
  return results;
}

#ifdef FAIRSEQ_ECG_CUDA
Results mean_of_nonzero_cuda(const Tensor& x, const Maybe& frame_mask) {
  const GPU gpu(x);
  const Results results = allocate(x, frame_mask);
  gpu.launch(cuda::mean_of_nonzero, describe(x, frame_mask, results));
  return results;
}
#endif

TORCH_LIBRARY_FRAGMENT(fairseq_ecg_c, library) {
  library.def("mean_of_nonzero(Tensor x, Tensor? frame_mask) -> (Tensor means, Tensor counts)");
  library.impl("mean_of_nonzero", at::kCPU, &mean_of_nonzero_cpu);
#ifdef FAIRSEQ_ECG_CUDA
  library.impl("mean_of_nonzero", at::kCUDA, &mean_of_nonzero_cuda);
#endif
}

}  // namespace
}  // namespace fairseq_ecg
