// Registers fairseq_ecg_c::attention and fairseq_ecg_c::attention_backward.
#include "../common/binding.h"

#include "attention.h"

namespace fairseq_ecg {
namespace {

using Tensors = std::tuple<Tensor, Tensor, Tensor>;

void check_frames(const Tensor& frames, const Tensor& queries) {
  TORCH_CHECK_VALUE(frames.sizes() == queries.sizes() &&
                        frames.scalar_type() == queries.scalar_type() && frames.stride(2) == 1,
                    "keys, values and gradients must be as the queries, channels contiguous");
}

Frames describe(const Tensor& frames) {
  return {frames.const_data_ptr(), frames.stride(0), frames.stride(1)};
}

Attention describe(const Tensor& queries, const Tensor& keys, const Tensor& values,
                   const Maybe& padding, int64_t heads, double probability) {
  TORCH_CHECK_VALUE(queries.dim() == 3, "queries must be (B, T, D)");
  TORCH_CHECK_VALUE(queries.scalar_type() == at::kFloat || queries.scalar_type() == at::kBFloat16,
                    "queries must be float32 or bfloat16");
  for (const Tensor& frames : {queries, keys, values}) check_frames(frames, queries);
  TORCH_CHECK_VALUE(heads > 0 && queries.size(2) > 0 && queries.size(2) % heads == 0,
                    "heads must divide the channels");
  if (padding.has_value()) {
    check_tensor(*padding, "the padding mask", queries, at::kBool, queries.sizes().slice(0, 2));
  }
  check_probability(probability);
  return {
      describe(queries),
      describe(keys),
      describe(values),
      data_of<bool>(padding),
      queries.size(0),
      queries.size(1),
      heads,
      queries.size(2) / heads,
      queries.scalar_type() == at::kBFloat16,
      probability,
  };
}

Tensors attention_cpu(const Tensor& queries, const Tensor& keys, const Tensor& values,
                      const Maybe& padding, const Maybe& seed, int64_t heads, double probability,
                      bool gradient) {
  const Attention call = describe(queries, keys, values, padding, heads, probability);
  TORCH_CHECK_VALUE(probability == 0 || seed.has_value(), "dropout needs a seed");
  const uint64_t number = seed.has_value() ? seed_of(*seed) : 0;
  const auto options = queries.options().dtype(at::kFloat);
  const Tensor output = at::empty(queries.sizes(), queries.options());
  Tensor shares = at::empty({0}, options), factors = at::empty({0}, options);
  if (gradient) {
    shares = at::empty({call.rows, heads, call.frames, weights_pitch(call.frames)}, options);
    factors = at::empty({call.rows, heads, call.frames}, options);
  }
  const Weights weights{gradient_data(shares, gradient), gradient_data(factors, gradient)};
  void* const to = output.mutable_data_ptr();
  at::parallel_for(0, call.rows * call.heads, 1, [&](int64_t begin, int64_t end) {
    cpu::attention(call, number, weights, to, begin, end);
  });
  return {output, shares, factors};
}

Tensors attention_backward_cpu(const Tensor& grad_output, const Tensor& queries, const Tensor& keys,
                               const Tensor& values, const Maybe& padding, const Tensor& shares,
                               const Tensor& factors, int64_t heads, double probability) {
  const Attention call = describe(queries, keys, values, padding, heads, probability);
  check_frames(grad_output, queries);
  check_tensor(shares, "shares", queries, at::kFloat,
               {call.rows, heads, call.frames, weights_pitch(call.frames)});
  check_tensor(factors, "factors", queries, at::kFloat, {call.rows, heads, call.frames});
  const Tensor grad_queries = at::empty(queries.sizes(), queries.options());
  const Tensor grad_keys = at::empty(queries.sizes(), queries.options());
  const Tensor grad_values = at::empty(queries.sizes(), queries.options());
  const AttentionGradients gradients{grad_queries.mutable_data_ptr(), grad_keys.mutable_data_ptr(),
                                     grad_values.mutable_data_ptr()};
  const Weights weights{shares.data_ptr<float>(), factors.data_ptr<float>()};
  const Frames from = describe(grad_output);
  at::parallel_for(0, call.rows * call.heads, 1, [&](int64_t begin, int64_t end) {
    cpu::attention_backward(call, weights, from, gradients, begin, end);
  });
  return {grad_queries, grad_keys, grad_values};
}

TORCH_LIBRARY_FRAGMENT(fairseq_ecg_c, library) {
  library.def(
      "attention(Tensor queries, Tensor keys, Tensor values, Tensor? padding, Tensor? seed, "
      "int heads, float probability, bool gradient) "
      "-> (Tensor output, Tensor shares, Tensor factors)");
  library.def(
      "attention_backward(Tensor grad_output, Tensor queries, Tensor keys, Tensor values, "
      "Tensor? padding, Tensor shares, Tensor factors, int heads, float probability) "
      "-> (Tensor grad_queries, Tensor grad_keys, Tensor grad_values)");
  library.impl("attention", at::kCPU, &attention_cpu);
  library.impl("attention_backward", at::kCPU, &attention_backward_cpu);
}

}  // namespace
}  // namespace fairseq_ecg
