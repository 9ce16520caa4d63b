// Registers fairseq_ecg_c::dropout.
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <optional>

#include "dropout.h"

namespace fairseq_ecg {
namespace {

at::Tensor dropout_cpu(const at::Tensor& input, const std::optional<at::Tensor>& residual,
                       const at::Tensor& seed, double probability) {
  const bool is_bfloat16 = input.scalar_type() == at::kBFloat16;
  TORCH_CHECK_VALUE((is_bfloat16 || input.scalar_type() == at::kFloat) && input.is_contiguous(),
                    "the input must be contiguous float32 or bfloat16");
  if (residual.has_value()) {
    TORCH_CHECK_VALUE(residual->sizes() == input.sizes() && residual->is_contiguous() &&
                          residual->scalar_type() == input.scalar_type(),
                      "the residual must be as the input");
  }
  TORCH_CHECK_VALUE(seed.scalar_type() == at::kLong && seed.numel() == 1,
                    "the seed must be one int64");
  TORCH_CHECK_VALUE(probability >= 0 && probability < 1, "the probability must be in [0, 1)");
  at::Tensor output = at::empty_like(input);
  const Dropout call{
      input.const_data_ptr(),
      residual.has_value() ? residual->const_data_ptr() : nullptr,
      output.mutable_data_ptr(),
      input.numel(),
      is_bfloat16,
      static_cast<uint64_t>(*seed.const_data_ptr<int64_t>()),
      probability,
  };
  const int64_t chunks = (call.numbers + cpu::kDropoutChunk - 1) / cpu::kDropoutChunk;
  at::parallel_for(0, chunks, 256,
                   [&](int64_t begin, int64_t end) { cpu::dropout(call, begin, end); });
  return output;
}

TORCH_LIBRARY_FRAGMENT(fairseq_ecg_c, library) {
  library.def("dropout(Tensor input, Tensor? residual, Tensor seed, float probability) -> Tensor");
}

TORCH_LIBRARY_IMPL(fairseq_ecg_c, CPU, library) { library.impl("dropout", &dropout_cpu); }

}  // namespace
}  // namespace fairseq_ecg
