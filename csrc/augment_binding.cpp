// Registers fairseq_ecg_c::augment.
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <atomic>
#include <optional>

#include "augment.h"

#ifdef FAIRSEQ_ECG_CUDA
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

namespace fairseq_ecg {
namespace {

void check(const at::Tensor& ecgs, const at::Tensor& parameters, const at::Tensor& origins,
           const at::Tensor& layouts, const std::optional<at::Tensor>& normals) {
  TORCH_CHECK_VALUE(ecgs.dim() == 3 && ecgs.size(1) <= kLeads, "ecgs must be (B, L, T), L to 12");
  const int64_t rows = ecgs.size(0);
  TORCH_CHECK_VALUE(parameters.dim() == 2 && parameters.size(0) == rows,
                    "parameters must be (B, P)");
  TORCH_CHECK_VALUE(origins.sizes() == at::IntArrayRef({rows, philox::kOriginColumns}),
                    "origins must be (B, 4)");
  TORCH_CHECK_VALUE(layouts.sizes() == ecgs.sizes().slice(0, 2), "layouts must be (B, L)");
  TORCH_CHECK_VALUE(parameters.scalar_type() == at::kDouble, "parameters must be float64");
  TORCH_CHECK_VALUE(origins.scalar_type() == at::kLong && layouts.scalar_type() == at::kLong,
                    "origins and layouts must be int64");
  const auto check_memory = [&](const at::Tensor& tensor) {
    TORCH_CHECK_VALUE(tensor.is_contiguous() && tensor.device() == ecgs.device(),
                      "all tensors must be contiguous and on one device");
  };
  for (const at::Tensor& tensor : {ecgs, parameters, origins, layouts}) check_memory(tensor);
  TORCH_CHECK_VALUE(ecgs.scalar_type() == at::kFloat, "ecgs must be float32");
  if (normals.has_value()) {
    TORCH_CHECK_VALUE(normals->scalar_type() == at::kFloat, "normals must be float32");
    TORCH_CHECK_VALUE(normals->dim() == 4 && normals->sizes().slice(1) == ecgs.sizes(),
                      "normals must be (n, B, L, T)");
    check_memory(*normals);
  }
}

int64_t items_of(const Step& step) {
  switch (step.kind) {
    case kPowerline:
    case kWander:
      return kSinusoid * step.count;
    case kShift:
      return kStretch * step.count;
    case kView:
      return kMatrix + kLeads * kIndependent;
    default:
      return 0;
  }
}

// recipe holds four numbers for each step.
Augment describe(const at::Tensor& ecgs, const at::Tensor& parameters, const at::Tensor& origins,
                 const at::Tensor& layouts, const std::optional<at::Tensor>& normals,
                 at::IntArrayRef recipe, const at::Tensor& augmented) {
  TORCH_CHECK_VALUE(recipe.size() % 4 == 0 && recipe.size() / 4 <= kMostSteps,
                    "a recipe has four numbers for each of at most ", kMostSteps, " steps");
  Augment call{
      ecgs.const_data_ptr<float>(),
      parameters.const_data_ptr<double>(),
      origins.const_data_ptr<int64_t>(),
      layouts.const_data_ptr<int64_t>(),
      normals.has_value() ? normals->const_data_ptr<float>() : nullptr,
      augmented.mutable_data_ptr<float>(),
      ecgs.size(0),
      ecgs.size(1),
      ecgs.size(2),
      parameters.size(1),
      static_cast<int32_t>(recipe.size() / 4),
      {},
  };
  for (int32_t place = 0; place < call.steps; ++place) {
    const int64_t* const numbers = recipe.data() + 4 * place;
    TORCH_CHECK_VALUE(numbers[0] >= kPowerline && numbers[0] <= kView, "no such kind of step");
    Step& step = call.recipe[place];
    step = {static_cast<Kind>(numbers[0]), static_cast<int32_t>(numbers[1]),
            static_cast<int32_t>(numbers[2]), static_cast<int32_t>(numbers[3])};
    TORCH_CHECK_VALUE(step.column > kValid && step.count >= 0 &&
                          step.column + kItems + items_of(step) <= call.columns,
                      "step ", place, " has parameters beyond the last column");
    TORCH_CHECK_VALUE(step.kind != kEMG || !normals.has_value() || step.count < normals->size(0),
                      "normals hold fewer noises than the recipe");
    TORCH_CHECK_VALUE(step.kind != kView || call.leads == kLeads, "a view needs twelve leads");
  }
  return call;
}

at::Tensor augment_cpu(const at::Tensor& ecgs, const at::Tensor& parameters,
                       const at::Tensor& origins, const at::Tensor& layouts,
                       const std::optional<at::Tensor>& normals, at::IntArrayRef recipe) {
  check(ecgs, parameters, origins, layouts, normals);
  const at::Tensor augmented = at::empty_like(ecgs);
  const Augment call =
      describe(ecgs, parameters, origins, layouts, normals, recipe, augmented);
  std::atomic<bool> is_sound{true};
  at::parallel_for(0, call.rows, 1, [&](int64_t begin, int64_t end) {
    if (!cpu::augment(call, begin, end)) is_sound = false;
  });
  TORCH_CHECK_VALUE(is_sound, "layouts must hold standard positions of leads, each once in a row");
  return augmented;
}

#ifdef FAIRSEQ_ECG_CUDA
at::Tensor augment_cuda(const at::Tensor& ecgs, const at::Tensor& parameters,
                        const at::Tensor& origins, const at::Tensor& layouts,
                        const std::optional<at::Tensor>& normals, at::IntArrayRef recipe) {
  check(ecgs, parameters, origins, layouts, normals);
  const c10::cuda::CUDAGuard guard(ecgs.device());
  const at::Tensor augmented = at::empty_like(ecgs);
  const Augment call =
      describe(ecgs, parameters, origins, layouts, normals, recipe, augmented);
  TORCH_CHECK_VALUE(cuda::shared_bytes(call) <= cuda::kMostSharedBytes,
                    "the recipe has too many parameters");
  if (ecgs.numel() > 0) {
    cuda::augment(call, c10::cuda::getCurrentCUDAStream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }
  return augmented;
}
#endif

TORCH_LIBRARY_FRAGMENT(fairseq_ecg_c, library) {
  library.def(
      "augment(Tensor ecgs, Tensor parameters, Tensor origins, Tensor layouts, Tensor? normals, "
      "int[] recipe) -> Tensor");
}

TORCH_LIBRARY_IMPL(fairseq_ecg_c, CPU, library) { library.impl("augment", &augment_cpu); }

#ifdef FAIRSEQ_ECG_CUDA
TORCH_LIBRARY_IMPL(fairseq_ecg_c, CUDA, library) { library.impl("augment", &augment_cuda); }
#endif

}  // namespace
}  // namespace fairseq_ecg
