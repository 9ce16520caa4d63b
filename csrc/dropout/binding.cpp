// Registers fairseq_ecg_c::dropout.
#include "../common/binding.h"

#include "dropout.h"

namespace fairseq_ecg {
namespace {

Tensor dropout_cpu(const Tensor& input, const Maybe& residual, const Tensor& seed,
                   double probability) {
  const bool is_bfloat16 = input.scalar_type() == at::kBFloat16;
  check_tensor(input, "the input", input, is_bfloat16 ? at::kBFloat16 : at::kFloat);
  if (residual.has_value()) {
    check_tensor(*residual, "the residual", input, input.scalar_type(), input.sizes());
  }
  check_probability(probability);
  Tensor output = at::empty_like(input);
  const Dropout call{
      input.const_data_ptr(),
      residual.has_value() ? residual->const_data_ptr() : nullptr,
      output.mutable_data_ptr(),
      input.numel(),
      is_bfloat16,
      seed_of(seed),
      probability,
  };
  const int64_t chunks = (call.numbers + cpu::kDropoutChunk - 1) / cpu::kDropoutChunk;
  at::parallel_for(0, chunks, 256,
                   [&](int64_t begin, int64_t end) { cpu::dropout(call, begin, end); });
  return output;
}

TORCH_LIBRARY_FRAGMENT(fairseq_ecg_c, library) {
  library.def("dropout(Tensor input, Tensor? residual, Tensor seed, float probability) -> Tensor");
  library.impl("dropout", at::kCPU, &dropout_cpu);
}

}  // namespace
}  // namespace fairseq_ecg
