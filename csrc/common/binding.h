// What bindings share. PyTorch is seen here and in them alone.
#pragma once

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <optional>
#include <tuple>

#ifdef FAIRSEQ_ECG_CUDA
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

namespace fairseq_ecg {

using at::Tensor;
using Maybe = std::optional<Tensor>;

// Refuses a tensor of another type or device, or that is not contiguous.
inline void check_tensor(const Tensor& tensor, const char* name, const Tensor& like,
                         at::ScalarType type) {
  TORCH_CHECK_VALUE(tensor.scalar_type() == type && tensor.is_contiguous(), name,
                    " must be contiguous ", type);
  TORCH_CHECK_VALUE(tensor.device() == like.device(), name, " must be on ", like.device());
}

// Refuses a tensor of other sizes, too.
inline void check_tensor(const Tensor& tensor, const char* name, const Tensor& like,
                         at::ScalarType type, at::IntArrayRef sizes) {
  TORCH_CHECK_VALUE(tensor.sizes() == sizes, name, " must be ", sizes, ", not ", tensor.sizes());
  check_tensor(tensor, name, like, type);
}

// The seed of random numbers, one int64 on the CPU.
inline uint64_t seed_of(const Tensor& seed) {
  TORCH_CHECK_VALUE(seed.scalar_type() == at::kLong && seed.numel() == 1,
                    "the seed must be one int64");
  return static_cast<uint64_t>(*seed.const_data_ptr<int64_t>());
}

inline void check_probability(double probability) {
  TORCH_CHECK_VALUE(probability >= 0 && probability < 1, "the probability must be in [0, 1)");
}

template <class T>
const T* data_of(const Maybe& tensor) {
  return tensor.has_value() ? tensor->const_data_ptr<T>() : nullptr;
}

// Memory for the gradient of frames, if it is wanted.
inline Tensor gradient_like(const Tensor& frames, bool gradient) {
  return gradient ? at::empty_like(frames) : at::empty({0}, frames.options());
}

inline float* gradient_data(const Tensor& gradient, bool is_wanted) {
  return is_wanted ? gradient.mutable_data_ptr<float>() : nullptr;
}

#ifdef FAIRSEQ_ECG_CUDA
// Makes a tensor's GPU the current one as long as this lives.
struct GPU {
  explicit GPU(const Tensor& tensor) : guard(tensor.device()) {}

  // Has a function launch kernels on the current stream, and looks whether they were.
  template <class Launch, class... Arguments>
  void launch(Launch function, const Arguments&... arguments) const {
    function(arguments..., c10::cuda::getCurrentCUDAStream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }

  c10::cuda::CUDAGuard guard;
};
#endif

}  // namespace fairseq_ecg
