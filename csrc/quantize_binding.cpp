// Registers fairseq_ecg_c::quantize and its gradients.
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <optional>
#include <tuple>

#include "quantize.h"

#ifdef FAIRSEQ_ECG_CUDA
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

namespace fairseq_ecg {
namespace {

using Maybe = std::optional<at::Tensor>;
using Results = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

void check(const at::Tensor& tensor, const char* name, const at::Tensor& of_device,
           at::IntArrayRef sizes, at::ScalarType type = at::kFloat) {
  TORCH_CHECK_VALUE(tensor.sizes() == sizes, name, " must be ", sizes, ", not ", tensor.sizes());
  TORCH_CHECK_VALUE(tensor.scalar_type() == type && tensor.is_contiguous(), name,
                    " must be contiguous ", type);
  TORCH_CHECK_VALUE(tensor.device() == of_device.device(), name, " must be on ",
                    of_device.device());
}

const float* data_of(const Maybe& tensor) {
  return tensor.has_value() ? tensor->const_data_ptr<float>() : nullptr;
}

// Allocates results and work space for quantize.
struct Quantizing {
  Quantizing(const at::Tensor& logits, const at::Tensor& codebook, const Maybe& draws,
             const at::Tensor& temperature) {
    TORCH_CHECK_VALUE(logits.dim() == 3 && codebook.dim() == 3,
                      "logits must be (N, G, V) and codebook (G, V, d)");
    const int64_t frames = logits.size(0), groups = logits.size(1), words = logits.size(2);
    const int64_t channels = codebook.size(2);
    const int64_t parts = (frames + kFramesOfPart - 1) / kFramesOfPart;
    check(logits, "logits", logits, logits.sizes());
    check(codebook, "codebook", logits, {groups, words, channels});
    if (draws.has_value()) check(*draws, "draws", logits, logits.sizes());
    check(temperature, "temperature", logits, {});

    const auto options = logits.options();
    codes = at::empty({frames, groups, channels}, options);
    choices = at::empty({frames, groups}, options.dtype(at::kInt));
    perplexities = at::empty({2}, options);
    slopes = at::empty({groups, words}, options);
    sums = at::empty({parts, groups, words}, options);
    counts = at::zeros({groups, words}, options.dtype(at::kInt));
    call = {
        logits.const_data_ptr<float>(),
        codebook.const_data_ptr<float>(),
        data_of(draws),
        codes.mutable_data_ptr<float>(),
        choices.mutable_data_ptr<int32_t>(),
        perplexities.mutable_data_ptr<float>(),
        slopes.mutable_data_ptr<float>(),
        sums.mutable_data_ptr<float>(),
        counts.mutable_data_ptr<int32_t>(),
        frames,
        groups,
        words,
        channels,
        parts,
        temperature.const_data_ptr<float>(),
    };
  }

  Results results() const { return {codes, choices, perplexities, slopes}; }

  at::Tensor codes, choices, perplexities, slopes, sums, counts;
  Quantization call;
};

ByLogits describe(const at::Tensor& logits, const Maybe& draws, const Maybe& by_choices,
                  const at::Tensor& slopes, const Maybe& by_perplexity,
                  const at::Tensor& temperature, const at::Tensor& by_logits) {
  const int64_t frames = logits.size(0), groups = logits.size(1), words = logits.size(2);
  check(logits, "logits", logits, {frames, groups, words});
  check(slopes, "slopes", logits, {groups, words});
  TORCH_CHECK_VALUE(draws.has_value() == by_choices.has_value(),
                    "draws and by_choices must both be given or neither");
  if (draws.has_value()) {
    check(*draws, "draws", logits, logits.sizes());
    check(*by_choices, "by_choices", logits, {groups, frames, words});
  }
  if (by_perplexity.has_value()) check(*by_perplexity, "by_perplexity", logits, {});
  check(temperature, "temperature", logits, {});
  return {
      logits.const_data_ptr<float>(),
      data_of(draws),
      data_of(by_choices),
      slopes.const_data_ptr<float>(),
      data_of(by_perplexity),
      by_logits.mutable_data_ptr<float>(),
      frames,
      groups,
      words,
      temperature.const_data_ptr<float>(),
  };
}

ByCodebook describe(const at::Tensor& choices, const at::Tensor& by_codes,
                    const at::Tensor& by_codebook) {
  const int64_t frames = by_codes.size(0), groups = by_codes.size(1), channels = by_codes.size(2);
  check(by_codes, "by_codes", by_codes, {frames, groups, channels});
  check(choices, "choices", by_codes, {frames, groups}, at::kInt);
  return {
      choices.const_data_ptr<int32_t>(),
      by_codes.const_data_ptr<float>(),
      by_codebook.mutable_data_ptr<float>(),
      frames,
      groups,
      by_codebook.size(1),
      channels,
  };
}

Results quantize_cpu(const at::Tensor& logits, const at::Tensor& codebook, const Maybe& draws,
                     const at::Tensor& temperature) {
  const Quantizing quantizing(logits, codebook, draws, temperature);
  const Quantization& call = quantizing.call;
  at::parallel_for(0, call.parts, 1,
                   [&](int64_t begin, int64_t end) { cpu::choose(call, begin, end); });
  cpu::finish(call);
  return quantizing.results();
}

at::Tensor by_logits_cpu(const at::Tensor& logits, const Maybe& draws, const Maybe& by_choices,
                         const at::Tensor& slopes, const Maybe& by_perplexity,
                         const at::Tensor& temperature) {
  const at::Tensor by_logits = at::empty_like(logits);
  const ByLogits call =
      describe(logits, draws, by_choices, slopes, by_perplexity, temperature, by_logits);
  at::parallel_for(0, call.frames, kFramesOfPart,
                   [&](int64_t begin, int64_t end) { cpu::by_logits(call, begin, end); });
  return by_logits;
}

at::Tensor by_codebook_cpu(const at::Tensor& choices, const at::Tensor& by_codes, int64_t words) {
  const at::Tensor by_codebook =
      at::empty({by_codes.size(1), words, by_codes.size(2)}, by_codes.options());
  const ByCodebook call = describe(choices, by_codes, by_codebook);
  constexpr int64_t kWords = 64;  // of one thread at least, which reads the choices of all frames
  at::parallel_for(0, call.groups * call.words, kWords,
                   [&](int64_t begin, int64_t end) { cpu::by_codebook(call, begin, end); });
  return by_codebook;
}

#ifdef FAIRSEQ_ECG_CUDA
Results quantize_cuda(const at::Tensor& logits, const at::Tensor& codebook, const Maybe& draws,
                      const at::Tensor& temperature) {
  TORCH_CHECK_VALUE(logits.size(2) <= cuda::kMostWidth, "there are more than ", cuda::kMostWidth,
                    " words");
  const c10::cuda::CUDAGuard guard(logits.device());
  const Quantizing quantizing(logits, codebook, draws, temperature);
  cuda::quantize(quantizing.call, c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return quantizing.results();
}

at::Tensor by_logits_cuda(const at::Tensor& logits, const Maybe& draws, const Maybe& by_choices,
                          const at::Tensor& slopes, const Maybe& by_perplexity,
                          const at::Tensor& temperature) {
  const c10::cuda::CUDAGuard guard(logits.device());
  const at::Tensor by_logits = at::empty_like(logits);
  const ByLogits call =
      describe(logits, draws, by_choices, slopes, by_perplexity, temperature, by_logits);
  cuda::by_logits(call, c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return by_logits;
}

at::Tensor by_codebook_cuda(const at::Tensor& choices, const at::Tensor& by_codes, int64_t words) {
  TORCH_CHECK_VALUE(by_codes.size(2) <= cuda::kMostWidth, "a word has more than ",
                    cuda::kMostWidth, " channels");
  const c10::cuda::CUDAGuard guard(by_codes.device());
  const at::Tensor by_codebook =
      at::empty({by_codes.size(1), words, by_codes.size(2)}, by_codes.options());
  const ByCodebook call = describe(choices, by_codes, by_codebook);
  cuda::by_codebook(call, c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return by_codebook;
}
#endif

TORCH_LIBRARY_FRAGMENT(fairseq_ecg_c, library) {
  library.def(
      "quantize(Tensor logits, Tensor codebook, Tensor? draws, Tensor temperature) "
      "-> (Tensor codes, Tensor choices, Tensor perplexities, Tensor slopes)");
  library.def(
      "quantize_by_logits(Tensor logits, Tensor? draws, Tensor? by_choices, Tensor slopes, "
      "Tensor? by_perplexity, Tensor temperature) -> Tensor");
  library.def("quantize_by_codebook(Tensor choices, Tensor by_codes, int words) -> Tensor");
}

TORCH_LIBRARY_IMPL(fairseq_ecg_c, CPU, library) {
  library.impl("quantize", &quantize_cpu);
  library.impl("quantize_by_logits", &by_logits_cpu);
  library.impl("quantize_by_codebook", &by_codebook_cpu);
}

#ifdef FAIRSEQ_ECG_CUDA
TORCH_LIBRARY_IMPL(fairseq_ecg_c, CUDA, library) {
  library.impl("quantize", &quantize_cuda);
  library.impl("quantize_by_logits", &by_logits_cuda);
  library.impl("quantize_by_codebook", &by_codebook_cuda);
}
#endif

}  // namespace
}  // namespace fairseq_ecg
