// Registers fairseq_ecg_c::attention and fairseq_ecg_c::attention_backward.
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <optional>
#include <tuple>
#include <vector>

#include "attention.h"

namespace fairseq_ecg {
namespace {

using Optional = std::optional<at::Tensor>;

void check_frames(const at::Tensor& frames, const at::Tensor& queries) {
  TORCH_CHECK_VALUE(frames.sizes() == queries.sizes() &&
                        frames.scalar_type() == queries.scalar_type() && frames.stride(2) == 1,
                    "keys, values and gradients must be as the queries, channels neighbours");
}

void check(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
           const Optional& padding, int64_t heads, double probability) {
  TORCH_CHECK_VALUE(queries.dim() == 3, "queries must be (B, T, D)");
  TORCH_CHECK_VALUE(
      queries.scalar_type() == at::kFloat || queries.scalar_type() == at::kBFloat16,
      "queries must be float32 or bfloat16");
  for (const at::Tensor& frames : {queries, keys, values}) check_frames(frames, queries);
  TORCH_CHECK_VALUE(heads > 0 && queries.size(2) > 0 && queries.size(2) % heads == 0,
                    "heads must divide the channels");
  if (padding.has_value()) {
    TORCH_CHECK_VALUE(padding->sizes() == queries.sizes().slice(0, 2) &&
                          padding->scalar_type() == at::kBool && padding->is_contiguous(),
                      "the padding mask must be (B, T), contiguous bool");
  }
  TORCH_CHECK_VALUE(probability >= 0 && probability < 1, "the probability must be in [0, 1)");
}

Frames describe(const at::Tensor& frames) {
  return {frames.const_data_ptr(), frames.stride(0), frames.stride(1)};
}

Attention describe(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                   const Optional& padding, int64_t heads, double probability) {
  return {
      describe(queries),
      describe(keys),
      describe(values),
      padding.has_value() ? padding->const_data_ptr<bool>() : nullptr,
      queries.size(0),
      queries.size(1),
      heads,
      queries.size(2) / heads,
      queries.scalar_type() == at::kBFloat16,
      probability,
  };
}

using Tensors = std::tuple<at::Tensor, at::Tensor, at::Tensor>;

Tensors attention_cpu(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                      const Optional& padding, const Optional& seed, int64_t heads,
                      double probability, bool gradient) {
  check(queries, keys, values, padding, heads, probability);
  TORCH_CHECK_VALUE(probability == 0 || seed.has_value(), "dropout needs a seed");
  if (seed.has_value()) {
    TORCH_CHECK_VALUE(seed->scalar_type() == at::kLong && seed->numel() == 1,
                      "the seed must be one int64");
  }
  const Attention call = describe(queries, keys, values, padding, heads, probability);
  const auto options = queries.options().dtype(at::kFloat);
  const std::vector<int64_t> none{0};
  const std::vector<int64_t> queries_of_heads{call.rows, heads, call.frames};
  std::vector<int64_t> weights_of_heads = queries_of_heads;
  weights_of_heads.push_back(weights_pitch(call.frames));
  const at::Tensor output = at::empty(queries.sizes(), queries.options());
  const at::Tensor shares = at::empty(gradient ? weights_of_heads : none, options);
  const at::Tensor factors = at::empty(gradient ? queries_of_heads : none, options);
  const Weights weights{gradient ? shares.mutable_data_ptr<float>() : nullptr,
                        gradient ? factors.mutable_data_ptr<float>() : nullptr};
  const uint64_t number =
      seed.has_value() ? static_cast<uint64_t>(*seed->const_data_ptr<int64_t>()) : 0;
  void* const to = output.mutable_data_ptr();
  at::parallel_for(0, call.rows * call.heads, 1, [&](int64_t begin, int64_t end) {
    cpu::attention(call, number, weights, to, begin, end);
  });
  return {output, shares, factors};
}

Tensors attention_backward_cpu(const at::Tensor& by_output, const at::Tensor& queries,
                               const at::Tensor& keys, const at::Tensor& values,
                               const Optional& padding, const at::Tensor& shares,
                               const at::Tensor& factors, int64_t heads, double probability) {
  check(queries, keys, values, padding, heads, probability);
  check_frames(by_output, queries);
  const Attention call = describe(queries, keys, values, padding, heads, probability);
  const int64_t number = call.rows * heads * call.frames;
  for (const at::Tensor& weights : {shares, factors}) {
    TORCH_CHECK_VALUE(weights.scalar_type() == at::kFloat && weights.is_contiguous(),
                      "shares and factors must be contiguous float32");
  }
  TORCH_CHECK_VALUE(
      shares.numel() == number * weights_pitch(call.frames) && factors.numel() == number,
      "shares and factors must be as attention gives them");
  const at::Tensor by_queries = at::empty(queries.sizes(), queries.options());
  const at::Tensor by_keys = at::empty(queries.sizes(), queries.options());
  const at::Tensor by_values = at::empty(queries.sizes(), queries.options());
  const AttentionGradients gradients{by_queries.mutable_data_ptr(), by_keys.mutable_data_ptr(),
                                     by_values.mutable_data_ptr()};
  const Weights weights{shares.data_ptr<float>(), factors.data_ptr<float>()};
  const Frames from = describe(by_output);
  at::parallel_for(0, call.rows * call.heads, 1, [&](int64_t begin, int64_t end) {
    cpu::attention_backward(call, weights, from, gradients, begin, end);
  });
  return {by_queries, by_keys, by_values};
}

TORCH_LIBRARY_FRAGMENT(fairseq_ecg_c, library) {
  library.def(
      "attention(Tensor queries, Tensor keys, Tensor values, Tensor? padding, Tensor? seed, "
      "int heads, float probability, bool gradient) "
      "-> (Tensor output, Tensor shares, Tensor factors)");
  library.def(
      "attention_backward(Tensor by_output, Tensor queries, Tensor keys, Tensor values, "
      "Tensor? padding, Tensor shares, Tensor factors, int heads, float probability) "
      "-> (Tensor by_queries, Tensor by_keys, Tensor by_values)");
}

TORCH_LIBRARY_IMPL(fairseq_ecg_c, CPU, library) {
  library.impl("attention", &attention_cpu);
  library.impl("attention_backward", &attention_backward_cpu);
}

}  // namespace
}  // namespace fairseq_ecg
