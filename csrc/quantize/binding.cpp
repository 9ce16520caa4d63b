// Registers fairseq_ecg_c::quantize and its gradients.
#include "../common/binding.h"

#include "quantize.h"

namespace fairseq_ecg {
namespace {

using Results = std::tuple<Tensor, Tensor, Tensor, Tensor>;

// Allocates results and work space for quantize.
struct Quantizing {
  Quantizing(const Tensor& logits, const Tensor& codebook, const Maybe& noise,
             const Tensor& temperature) {
    TORCH_CHECK_VALUE(logits.dim() == 3 && codebook.dim() == 3,
                      "logits must be (N, G, V) and codebook (G, V, d)");
    const int64_t frames = logits.size(0), groups = logits.size(1), codewords = logits.size(2);
    const int64_t channels = codebook.size(2);
    const int64_t parts = (frames + kFramesOfPart - 1) / kFramesOfPart;
    check_tensor(logits, "logits", logits, at::kFloat, logits.sizes());
    check_tensor(codebook, "codebook", logits, at::kFloat, {groups, codewords, channels});
    if (noise.has_value()) check_tensor(*noise, "noise", logits, at::kFloat, logits.sizes());
    check_tensor(temperature, "temperature", logits, at::kFloat, {});

    const auto options = logits.options();
    codes = at::empty({frames, groups, channels}, options);
    choices = at::empty({frames, groups}, options.dtype(at::kInt));
    perplexities = at::empty({2}, options);
    grad_probs = at::empty({groups, codewords}, options);
    sums = at::empty({parts, groups, codewords}, options);
    counts = at::zeros({groups, codewords}, options.dtype(at::kInt));
    call = {
        logits.const_data_ptr<float>(),
        codebook.const_data_ptr<float>(),
        data_of<float>(noise),
        codes.mutable_data_ptr<float>(),
        choices.mutable_data_ptr<int32_t>(),
        perplexities.mutable_data_ptr<float>(),
        grad_probs.mutable_data_ptr<float>(),
        sums.mutable_data_ptr<float>(),
        counts.mutable_data_ptr<int32_t>(),
        frames,
        groups,
        codewords,
        channels,
        parts,
        temperature.const_data_ptr<float>(),
    };
  }

  Results results() const { return {codes, choices, perplexities, grad_probs}; }

  Tensor codes, choices, perplexities, grad_probs, sums, counts;
  Quantization call;
};

GradLogits describe(const Tensor& logits, const Maybe& noise, const Maybe& grad_choices,
                    const Tensor& grad_probs, const Maybe& grad_perplexity,
                    const Tensor& temperature, const Tensor& grad_logits) {
  const int64_t frames = logits.size(0), groups = logits.size(1), codewords = logits.size(2);
  check_tensor(logits, "logits", logits, at::kFloat, {frames, groups, codewords});
  check_tensor(grad_probs, "grad_probs", logits, at::kFloat, {groups, codewords});
  TORCH_CHECK_VALUE(noise.has_value() == grad_choices.has_value(),
                    "noise and grad_choices must both be given or neither");
  if (noise.has_value()) {
    check_tensor(*noise, "noise", logits, at::kFloat, logits.sizes());
    check_tensor(*grad_choices, "grad_choices", logits, at::kFloat, {groups, frames, codewords});
  }
  if (grad_perplexity.has_value())
    check_tensor(*grad_perplexity, "grad_perplexity", logits, at::kFloat, {});
  check_tensor(temperature, "temperature", logits, at::kFloat, {});
  return {
      logits.const_data_ptr<float>(),
      data_of<float>(noise),
      data_of<float>(grad_choices),
      grad_probs.const_data_ptr<float>(),
      data_of<float>(grad_perplexity),
      grad_logits.mutable_data_ptr<float>(),
      frames,
      groups,
      codewords,
      temperature.const_data_ptr<float>(),
  };
}

GradCodebook describe(const Tensor& choices, const Tensor& grad_codes,
                      const Tensor& grad_codebook) {
  const int64_t frames = grad_codes.size(0), groups = grad_codes.size(1),
                channels = grad_codes.size(2);
  check_tensor(grad_codes, "grad_codes", grad_codes, at::kFloat, {frames, groups, channels});
  check_tensor(choices, "choices", grad_codes, at::kInt, {frames, groups});
  return {
      choices.const_data_ptr<int32_t>(),
      grad_codes.const_data_ptr<float>(),
      grad_codebook.mutable_data_ptr<float>(),
      frames,
      groups,
      grad_codebook.size(1),
      channels,
  };
}

Results quantize_cpu(const Tensor& logits, const Tensor& codebook, const Maybe& noise,
                     const Tensor& temperature) {
  const Quantizing quantizing(logits, codebook, noise, temperature);
  const Quantization& call = quantizing.call;
  at::parallel_for(0, call.parts, 1,
                   [&](int64_t begin, int64_t end) { cpu::choose(call, begin, end); });
  cpu::finish(call);
  return quantizing.results();
}

Tensor grad_logits_cpu(const Tensor& logits, const Maybe& noise, const Maybe& grad_choices,
                       const Tensor& grad_probs, const Maybe& grad_perplexity,
                       const Tensor& temperature) {
  const Tensor grad_logits = at::empty_like(logits);
  const GradLogits call =
      describe(logits, noise, grad_choices, grad_probs, grad_perplexity, temperature, grad_logits);
  at::parallel_for(0, call.frames, kFramesOfPart,
                   [&](int64_t begin, int64_t end) { cpu::grad_logits(call, begin, end); });
  return grad_logits;
}

Tensor grad_codebook_cpu(const Tensor& choices, const Tensor& grad_codes, int64_t codewords) {
  const Tensor grad_codebook =
      at::empty({grad_codes.size(1), codewords, grad_codes.size(2)}, grad_codes.options());
  const GradCodebook call = describe(choices, grad_codes, grad_codebook);
  // Of one thread at least, which reads the choices of all frames.
  constexpr int64_t kCodewords = 64;
  at::parallel_for(0, call.groups * call.codewords, kCodewords,
                   [&](int64_t begin, int64_t end) { cpu::grad_codebook(call, begin, end); });
  return grad_codebook;
}

#ifdef FAIRSEQ_ECG_CUDA
Results quantize_cuda(const Tensor& logits, const Tensor& codebook, const Maybe& noise,
                      const Tensor& temperature) {
  TORCH_CHECK_VALUE(logits.size(2) <= cuda::kMostWidth, "there are more than ", cuda::kMostWidth,
                    " codewords");
  const GPU gpu(logits);
  const Quantizing quantizing(logits, codebook, noise, temperature);
  gpu.launch(cuda::quantize, quantizing.call);
  return quantizing.results();
}

Tensor grad_logits_cuda(const Tensor& logits, const Maybe& noise, const Maybe& grad_choices,
                        const Tensor& grad_probs, const Maybe& grad_perplexity,
                        const Tensor& temperature) {
  const GPU gpu(logits);
  const Tensor grad_logits = at::empty_like(logits);
  const GradLogits call =
      describe(logits, noise, grad_choices, grad_probs, grad_perplexity, temperature, grad_logits);
  gpu.launch(cuda::grad_logits, call);
  return grad_logits;
}

Tensor grad_codebook_cuda(const Tensor& choices, const Tensor& grad_codes, int64_t codewords) {
  TORCH_CHECK_VALUE(grad_codes.size(2) <= cuda::kMostWidth, "a codeword has more than ",
                    cuda::kMostWidth, " channels");
  const GPU gpu(grad_codes);
  const Tensor grad_codebook =
      at::empty({grad_codes.size(1), codewords, grad_codes.size(2)}, grad_codes.options());
  const GradCodebook call = describe(choices, grad_codes, grad_codebook);
  gpu.launch(cuda::grad_codebook, call);
  return grad_codebook;
}
#endif

TORCH_LIBRARY_FRAGMENT(fairseq_ecg_c, library) {
  library.def(
      "quantize(Tensor logits, Tensor codebook, Tensor? noise, Tensor temperature) "
      "-> (Tensor codes, Tensor choices, Tensor perplexities, Tensor grad_probs)");
  library.def(
      "quantize_grad_logits(Tensor logits, Tensor? noise, Tensor? grad_choices, Tensor grad_probs, "
      "Tensor? grad_perplexity, Tensor temperature) -> Tensor");
  library.def("quantize_grad_codebook(Tensor choices, Tensor grad_codes, int codewords) -> Tensor");
  library.impl("quantize", at::kCPU, &quantize_cpu);
  library.impl("quantize_grad_logits", at::kCPU, &grad_logits_cpu);
  library.impl("quantize_grad_codebook", at::kCPU, &grad_codebook_cpu);
#ifdef FAIRSEQ_ECG_CUDA
  library.impl("quantize", at::kCUDA, &quantize_cuda);
  library.impl("quantize_grad_logits", at::kCUDA, &grad_logits_cuda);
  library.impl("quantize_grad_codebook", at::kCUDA, &grad_codebook_cuda);
#endif
}

}  // namespace
}  // namespace fairseq_ecg
