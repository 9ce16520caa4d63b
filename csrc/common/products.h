// Products of matrices that fit a core's cache, whose tiles fill the registers that there are.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

#include "numbers.h"
#include "vectors.h"

namespace fairseq_ecg::cpu {

// A matrix that is read by single numbers, in either direction.
struct Left {
  const float* data;
  int64_t line;  // distance between the numbers of two lines of the product
  int64_t step;  // distance between two numbers that are summed over
};

struct Matrix {
  float* data;
  int64_t pitch;

  INLINE float* line(int64_t i) const { return data + i * pitch; }
};

// Where a cache line starts from here on.
template <class T>
T* aligned(T* pointer) {
  return reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(pointer) + 63) / 64 * 64);
}

// Memory that matrices take one after another.
struct Memory {
  void reserve(int64_t number) {
    floats.reset(new float[number + kCacheLine]);
    next = aligned(floats.get());
  }

  Matrix take(int64_t lines, int64_t pitch) {
    float* const taken = next;
    next += lines * pitch;
    return {taken, pitch};
  }

  std::unique_ptr<float[]> floats;
  float* next = nullptr;
};

// Copies lines that start at a distance of each other, and fills them up with zeros.
template <class T>
INLINE void read(const T* from, int64_t distance, int64_t lines, int64_t width, Matrix to) {
  for (int64_t i = 0; i < lines; ++i) {
    const T* const line = from + i * distance;
    float* const copy = to.line(i);
    for (int64_t c = 0; c < width; ++c) copy[c] = read(line[c]);
    std::fill(copy + width, to.line(i + 1), 0.0f);
  }
}

// How many lines and vectors of a product are summed up at once. Sums, a line's vectors and a
// factor take up the registers of vectors that there are: 16, with AVX-512 32.
template <int kLanes>
struct Tile {
  static constexpr int kLines = kLanes == 16 ? 12 : kLanes == 8 ? 6 : 4;
  static constexpr int kVectors = 2;
};

template <int kLanes>
struct Products : Vectors<kLanes> {
  using Vector = Vectors<kLanes>;
  using Floats = typename Vector::Floats;
  using Vector::load;
  using Vector::store;

  // Writes the product of left (lines, depth) and right (depth, width), the width rounded up to
  // whole vectors.
  static INLINE void multiply(Left left, Matrix right, int64_t lines, int64_t depth, int64_t width,
                              Matrix out) {
    tiles_of<false>(left, right, lines, depth, width, out);
  }

  // Adds it to what is there.
  static INLINE void add_product(Left left, Matrix right, int64_t lines, int64_t depth,
                                 int64_t width, Matrix out) {
    tiles_of<true>(left, right, lines, depth, width, out);
  }

  // Lines of the transposed matrix end in zeros.
  static INLINE void transpose(Matrix from, int64_t lines, int64_t columns, Matrix to) {
    for (int64_t first = 0; first < to.pitch; first += kLanes) {
      const int64_t present = std::clamp<int64_t>(lines - first, 0, kLanes);
      for (int64_t c = 0; c < columns; ++c) {
        float* const block = to.line(c) + first;
        for (int64_t i = 0; i < present; ++i) block[i] = from.line(first + i)[c];
        std::fill(block + present, block + kLanes, 0.0f);
      }
    }
  }

 private:
  template <bool kAdds>
  static INLINE void tiles_of(Left left, Matrix right, int64_t lines, int64_t depth, int64_t width,
                              Matrix out) {
    constexpr int kLines = Tile<kLanes>::kLines, kVectors = Tile<kLanes>::kVectors;
    const int64_t tiles = (lines + kLines - 1) / kLines;
    for (int64_t column = 0; column < width;) {
      const bool is_wide = column + kVectors * kLanes <= width;
      const Matrix columns{right.data + column, right.pitch};
      int64_t line = 0;
      for (int64_t t = 1; t <= tiles; ++t) {
        const int64_t end = lines * t / tiles;  // equal heights rather than a low last tile
        const Left from{left.data + line * left.line, left.line, left.step};
        const Matrix to{out.line(line) + column, out.pitch};
        if (is_wide) {
          tile_of<kAdds, kLines, kVectors>(end - line, from, columns, depth, to);
        } else {
          tile_of<kAdds, kLines, 1>(end - line, from, columns, depth, to);
        }
        line = end;
      }
      column += is_wide ? kVectors * kLanes : kLanes;
    }
  }

  template <bool kAdds, int kLines, int kVectors>
  static INLINE void tile_of(int64_t lines, Left left, Matrix right, int64_t depth, Matrix out) {
    if constexpr (kLines > 0) {
      if (lines == kLines) {
        tile<kAdds, kLines, kVectors>(left, right, depth, out);
      } else {
        tile_of<kAdds, kLines - 1, kVectors>(lines, left, right, depth, out);
      }
    }
  }

  template <bool kAdds, int kLines, int kVectors>
  static INLINE void tile(Left left, Matrix right, int64_t depth, Matrix out) {
    Floats sums[kLines][kVectors] = {};
    for (int64_t k = 0; k < depth; ++k) {
      Floats row[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) row[v] = load(right.line(k) + v * kLanes);
#pragma GCC unroll 16
      for (int i = 0; i < kLines; ++i) {
        const float factor = left.data[i * left.line + k * left.step];
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) sums[i][v] += factor * row[v];
      }
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLines; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        float* const to = out.line(i) + v * kLanes;
        store(to, kAdds ? load(to) + sums[i][v] : sums[i][v]);
      }
    }
  }
};

}  // namespace fairseq_ecg::cpu
