// Registers fairseq_ecg_c::augment.
#include "../common/binding.h"

#include <atomic>

#include "augment.h"

namespace fairseq_ecg {
namespace {

void check(const Tensor& ecgs, const Tensor& parameters, const Tensor& origins,
           const Tensor& layouts, const Maybe& normals) {
  TORCH_CHECK_VALUE(ecgs.dim() == 3 && ecgs.size(1) <= kLeads, "ecgs must be (B, L, T), L to 12");
  TORCH_CHECK_VALUE(parameters.dim() == 2, "parameters must be (B, P)");
  const int64_t rows = ecgs.size(0);
  check_tensor(ecgs, "ecgs", ecgs, at::kFloat);
  check_tensor(parameters, "parameters", ecgs, at::kDouble, {rows, parameters.size(1)});
  check_tensor(origins, "origins", ecgs, at::kLong, {rows, philox::kOriginColumns});
  check_tensor(layouts, "layouts", ecgs, at::kLong, {rows, ecgs.size(1)});
  if (normals.has_value()) {
    TORCH_CHECK_VALUE(normals->dim() == 4 && normals->sizes().slice(1) == ecgs.sizes(),
                      "normals must be (n, B, L, T)");
    check_tensor(*normals, "normals", ecgs, at::kFloat);
  }
}

int64_t items_of(const Step& step) {
  switch (step.kind) {
    case kPowerline:
    case kWander:
      return kSinusoid * step.count;
    case kShift:
      return kSegment * step.count;
    case kView:
      return kMatrix + kLeads * kIndependent;
    default:
      return 0;
  }
}

// recipe holds four numbers for each step.
Augment describe(const Tensor& ecgs, const Tensor& parameters, const Tensor& origins,
                 const Tensor& layouts, const Maybe& normals, at::IntArrayRef recipe,
                 const Tensor& augmented) {
  check(ecgs, parameters, origins, layouts, normals);
  TORCH_CHECK_VALUE(recipe.size() % 4 == 0 && recipe.size() / 4 <= kMostSteps,
                    "a recipe has four numbers for each of at most ", kMostSteps, " steps");
  Augment call{
      ecgs.const_data_ptr<float>(),
      parameters.const_data_ptr<double>(),
      origins.const_data_ptr<int64_t>(),
      layouts.const_data_ptr<int64_t>(),
      data_of<float>(normals),
      augmented.mutable_data_ptr<float>(),
      ecgs.size(0),
      ecgs.size(1),
      ecgs.size(2),
      parameters.size(1),
      static_cast<int32_t>(recipe.size() / 4),
      {},
  };
  for (int32_t index = 0; index < call.steps; ++index) {
    const int64_t* const numbers = recipe.data() + 4 * index;
    TORCH_CHECK_VALUE(numbers[0] >= kPowerline && numbers[0] <= kView, "no such kind of step");
    Step& step = call.recipe[index];
    step = {static_cast<Kind>(numbers[0]), static_cast<int32_t>(numbers[1]),
            static_cast<int32_t>(numbers[2]), static_cast<int32_t>(numbers[3])};
    TORCH_CHECK_VALUE(step.column > kValid && step.count >= 0 &&
                          step.column + kItems + items_of(step) <= call.columns,
                      "step ", index, " has parameters beyond the last column");
    TORCH_CHECK_VALUE(step.kind != kEMG || !normals.has_value() || step.count < normals->size(0),
                      "normals hold fewer noises than the recipe");
    TORCH_CHECK_VALUE(step.kind != kView || call.leads == kLeads, "a view needs twelve leads");
  }
  return call;
}

Tensor augment_cpu(const Tensor& ecgs, const Tensor& parameters, const Tensor& origins,
                   const Tensor& layouts, const Maybe& normals, at::IntArrayRef recipe) {
  const Tensor augmented = at::empty_like(ecgs);
  const Augment call = describe(ecgs, parameters, origins, layouts, normals, recipe, augmented);
  std::atomic<bool> is_sound{true};
  at::parallel_for(0, call.rows, 1, [&](int64_t begin, int64_t end) {
    if (!cpu::augment(call, begin, end)) is_sound = false;
  });
  TORCH_CHECK_VALUE(is_sound, "layouts must hold standard positions of leads, each once in a row");
  return augmented;
}

#ifdef FAIRSEQ_ECG_CUDA
Tensor augment_cuda(const Tensor& ecgs, const Tensor& parameters, const Tensor& origins,
                    const Tensor& layouts, const Maybe& normals, at::IntArrayRef recipe) {
  const GPU gpu(ecgs);
  const Tensor augmented = at::empty_like(ecgs);
  const Augment call = describe(ecgs, parameters, origins, layouts, normals, recipe, augmented);
  TORCH_CHECK_VALUE(cuda::shared_bytes(call) <= cuda::kMostSharedBytes,
                    "the recipe has too many parameters");
  if (ecgs.numel() > 0) gpu.launch(cuda::augment, call);
  return augmented;
}
#endif

TORCH_LIBRARY_FRAGMENT(fairseq_ecg_c, library) {
  library.def(
      "augment(Tensor ecgs, Tensor parameters, Tensor origins, Tensor layouts, Tensor? normals, "
      "int[] recipe) -> Tensor");
  library.impl("augment", at::kCPU, &augment_cpu);
#ifdef FAIRSEQ_ECG_CUDA
  library.impl("augment", at::kCUDA, &augment_cuda);
#endif
}

}  // namespace
}  // namespace fairseq_ecg
