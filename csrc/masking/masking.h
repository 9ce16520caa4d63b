// Masks of the rows of a batch, drawn from NumPy's streams bit by bit.
// fairseq_ecg/ops/masking/README.md states which numbers are drawn and in which order.
#pragma once

#include <cstdint>

namespace fairseq_ecg {

// How spans along one axis are drawn.
struct Spans {
  double mask_prob;
  int64_t mask_length;
  int64_t min_masks;
};

// Ranks of the positions of one axis: the masked ones come before all others.
struct MaskRanks {
  Spans spans;
  const int64_t* valid;  // (rows,) positions of each row that may be masked
  double* ranks;         // (rows, width)
  int64_t* counts;       // (rows,) how many are masked
  int64_t width;
};

// The first positions by rank.
struct MaskChoice {
  const int64_t* valid;  // (rows,)
  const double* ranks;   // (rows, width)
  int64_t* chosen;       // (rows, number), ascending
  int64_t width;
  int64_t number;  // at most the fewest valid positions
};

namespace cpu {

// Draws the ranks of the rows [begin, end), one axis after another from the stream of each row.
// keys (rows, n_keys) are what numpy.random.SeedSequence is given, none negative.
void rank_positions(const int64_t* keys, int64_t n_keys, const MaskRanks* axes, int64_t n_axes,
                    int64_t begin, int64_t end);

// Chooses positions in the rows [begin, end).
void choose_positions(const MaskChoice& call, int64_t begin, int64_t end);

}  // namespace cpu
}  // namespace fairseq_ecg
