// Registers fairseq_ecg_c::draw_masked.
#include "../common/binding.h"

#include <algorithm>
#include <vector>

#include "masking.h"

namespace fairseq_ecg {
namespace {

// Rows for one thread, fewer than which are not worth a second one.
constexpr int64_t kLeastRows = 16;

std::vector<Tensor> draw_masked(const Tensor& keys, at::TensorList valid,
                                at::ArrayRef<double> mask_probs, at::IntArrayRef mask_lengths,
                                at::IntArrayRef min_masks, at::IntArrayRef numbers) {
  TORCH_CHECK_VALUE(keys.dim() == 2, "keys must be (B, K)");
  check_tensor(keys, "keys", keys, at::kLong);
  TORCH_CHECK_VALUE(keys.numel() == 0 || keys.min().item<int64_t>() >= 0,
                    "keys must not be negative");
  const size_t n_axes = valid.size();
  TORCH_CHECK_VALUE(mask_probs.size() == n_axes && mask_lengths.size() == n_axes &&
                        min_masks.size() == n_axes && numbers.size() == n_axes,
                    "every axis needs its own parameters");
  const int64_t rows = keys.size(0);
  std::vector<Tensor> ranks, counts;
  std::vector<MaskRanks> axes;
  for (size_t axis = 0; axis < n_axes; ++axis) {
    TORCH_CHECK_VALUE(valid[axis].dim() == 1 && valid[axis].size(0) == rows, "valid must be (B,)");
    check_tensor(valid[axis], "valid", keys, at::kLong);
    TORCH_CHECK_VALUE(mask_lengths[axis] > 0 && mask_probs[axis] >= 0 && min_masks[axis] >= 0,
                      "mask lengths must be positive, probabilities and numbers not negative");
    const int64_t* const lengths = valid[axis].const_data_ptr<int64_t>();
    const int64_t width = rows == 0 ? 0 : *std::max_element(lengths, lengths + rows);
    TORCH_CHECK_VALUE(std::all_of(lengths, lengths + rows, [](int64_t n) { return n >= 0; }),
                      "valid must not be negative");
    ranks.push_back(at::empty({rows, width}, keys.options().dtype(at::kDouble)));
    counts.push_back(at::empty({rows}, keys.options()));
    axes.push_back({{mask_probs[axis], mask_lengths[axis], min_masks[axis]},
                    lengths,
                    ranks.back().mutable_data_ptr<double>(),
                    counts.back().mutable_data_ptr<int64_t>(),
                    width});
  }
  at::parallel_for(0, rows, kLeastRows, [&](int64_t begin, int64_t end) {
    cpu::rank_positions(keys.const_data_ptr<int64_t>(), keys.size(1), axes.data(),
                        static_cast<int64_t>(n_axes), begin, end);
  });
  std::vector<Tensor> chosen;
  for (size_t axis = 0; axis < n_axes; ++axis) {
    const MaskRanks& ranked = axes[axis];
    const int64_t fewest = rows == 0 ? 0 : *std::min_element(ranked.valid, ranked.valid + rows);
    int64_t number = numbers[axis];
    if (number < 0) {
      number = rows == 0 ? 0 : *std::min_element(ranked.counts, ranked.counts + rows);
    }
    TORCH_CHECK_VALUE(rows == 0 || number <= fewest, "a row has fewer than ", number, " positions");
    chosen.push_back(at::empty({rows, number}, keys.options()));
    const MaskChoice call{ranked.valid, ranked.ranks, chosen.back().mutable_data_ptr<int64_t>(),
                          ranked.width, number};
    at::parallel_for(0, rows, kLeastRows,
                     [&](int64_t begin, int64_t end) { cpu::choose_positions(call, begin, end); });
  }
  return chosen;
}

TORCH_LIBRARY_FRAGMENT(fairseq_ecg_c, library) {
  library.def(
      "draw_masked(Tensor keys, Tensor[] valid, float[] mask_probs, int[] mask_lengths, "
      "int[] min_masks, int[] numbers) -> Tensor[]");
  library.impl("draw_masked", at::kCPU, &draw_masked);
}

}  // namespace
}  // namespace fairseq_ecg
