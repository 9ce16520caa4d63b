// Registers fairseq_ecg_c::random_numbers.
#include "../common/binding.h"

#include "philox.h"

namespace fairseq_ecg {
namespace {

// Counters for one thread, fewer than which are not worth a second one.
constexpr int64_t kLeastRows = 4096;

Tensor allocate(const Tensor& counters, const Tensor& seeds, int64_t kind) {
  TORCH_CHECK_VALUE(counters.dim() == 2, "counters must be (R, 4)");
  check_tensor(counters, "counters", counters, at::kLong, {counters.size(0), 4});
  check_tensor(seeds, "seeds", counters, at::kLong, {counters.size(0)});
  TORCH_CHECK_VALUE(kind >= RandomNumbers::kWords && kind <= RandomNumbers::kNormals,
                    "kind must be from 0 to 2");
  const bool is_words = kind == RandomNumbers::kWords;
  return at::empty(counters.sizes(), counters.options().dtype(is_words ? at::kLong : at::kFloat));
}

RandomNumbers describe(const Tensor& counters, const Tensor& seeds, int64_t kind,
                       const Tensor& result) {
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

Tensor random_numbers_cpu(const Tensor& counters, const Tensor& seeds, int64_t kind) {
  const Tensor result = allocate(counters, seeds, kind);
  const RandomNumbers call = describe(counters, seeds, kind, result);
  at::parallel_for(0, call.rows, kLeastRows,
                   [&](int64_t begin, int64_t end) { cpu::random_numbers(call, begin, end); });
  return result;
}

#ifdef FAIRSEQ_ECG_CUDA
Tensor random_numbers_cuda(const Tensor& counters, const Tensor& seeds, int64_t kind) {
  const GPU gpu(counters);
  const Tensor result = allocate(counters, seeds, kind);
  const RandomNumbers call = describe(counters, seeds, kind, result);
  if (call.rows > 0) gpu.launch(cuda::random_numbers, call);
  return result;
}
#endif

TORCH_LIBRARY_FRAGMENT(fairseq_ecg_c, library) {
  library.def("random_numbers(Tensor counters, Tensor seeds, int kind) -> Tensor");
  library.impl("random_numbers", at::kCPU, &random_numbers_cpu);
#ifdef FAIRSEQ_ECG_CUDA
  library.impl("random_numbers", at::kCUDA, &random_numbers_cuda);
#endif
}

}  // namespace
}  // namespace fairseq_ecg
