// Registers fairseq_ecg_c::random_numbers.
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include "philox.h"

#ifdef FAIRSEQ_ECG_CUDA
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

namespace fairseq_ecg {
namespace {

// Counters for one thread, fewer than which are not worth a second one.
constexpr int64_t kLeastRows = 4096;

void check(const at::Tensor& counters, const at::Tensor& seeds, int64_t kind) {
  TORCH_CHECK_VALUE(counters.dim() == 2 && counters.size(1) == 4, "counters must be (R, 4)");
  TORCH_CHECK_VALUE(seeds.dim() == 1 && seeds.size(0) == counters.size(0), "seeds must be (R,)");
  TORCH_CHECK_VALUE(counters.device() == seeds.device(),
                    "counters and seeds must be on one device");
  for (const at::Tensor& numbers : {counters, seeds}) {
    TORCH_CHECK_VALUE(numbers.scalar_type() == at::kLong && numbers.is_contiguous(),
                      "counters and seeds must be contiguous int64");
  }
  TORCH_CHECK_VALUE(kind >= RandomNumbers::kWords && kind <= RandomNumbers::kNormals,
                    "kind must be from 0 to 2");
}

at::Tensor allocate(const at::Tensor& counters, int64_t kind) {
  const bool is_words = kind == RandomNumbers::kWords;
  return at::empty(counters.sizes(), counters.options().dtype(is_words ? at::kLong : at::kFloat));
}

RandomNumbers describe(const at::Tensor& counters, const at::Tensor& seeds, int64_t kind,
                       const at::Tensor& result) {
  const bool is_words = kind == RandomNumbers::kWords;
  return {
      counters.const_data_ptr<int64_t>(),
      seeds.const_data_ptr<int64_t>(),
      is_words ? result.mutable_data_ptr<int64_t>() : nullptr,
      is_words ? nullptr : result.mutable_data_ptr<float>(),
      counters.size(0),
      static_cast<RandomNumbers::Kind>(kind),
  };
}

at::Tensor random_numbers_cpu(const at::Tensor& counters, const at::Tensor& seeds, int64_t kind) {
  check(counters, seeds, kind);
  const at::Tensor result = allocate(counters, kind);
  const RandomNumbers call = describe(counters, seeds, kind, result);
  at::parallel_for(0, call.rows, kLeastRows, [&](int64_t begin, int64_t end) {
    cpu::random_numbers(call, begin, end);
  });
  return result;
}

#ifdef FAIRSEQ_ECG_CUDA
at::Tensor random_numbers_cuda(const at::Tensor& counters, const at::Tensor& seeds, int64_t kind) {
  check(counters, seeds, kind);
  const c10::cuda::CUDAGuard guard(counters.device());
  const at::Tensor result = allocate(counters, kind);
  const RandomNumbers call = describe(counters, seeds, kind, result);
  if (call.rows > 0) {
    cuda::random_numbers(call, c10::cuda::getCurrentCUDAStream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }
  return result;
}
#endif

TORCH_LIBRARY_FRAGMENT(fairseq_ecg_c, library) {
  library.def("random_numbers(Tensor counters, Tensor seeds, int kind) -> Tensor");
}

TORCH_LIBRARY_IMPL(fairseq_ecg_c, CPU, library) {
  library.impl("random_numbers", &random_numbers_cpu);
}

#ifdef FAIRSEQ_ECG_CUDA
TORCH_LIBRARY_IMPL(fairseq_ecg_c, CUDA, library) {
  library.impl("random_numbers", &random_numbers_cuda);
}
#endif

}  // namespace
}  // namespace fairseq_ecg
