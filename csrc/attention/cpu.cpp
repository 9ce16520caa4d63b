// Self-attention on the CPU: what a head needs of its row is copied into a core's cache once, and
// scores are there for a block of queries at a time.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <utility>

#include "../common/dispatch.h"
#include "../common/numbers.h"
#include "../common/philox_vectors.h"
#include "../common/products.h"
#include "attention.h"

namespace fairseq_ecg::cpu {
namespace {

// At most so many queries make a block: the matrices of their scores fit the cache beside the
// keys and values, and are high enough to keep sums in registers.
constexpr int64_t kQueries = 96;

// A word of 32 bits decides on two weights, half a word on each. Weight i of a chunk depends on
// half i of its words; words are those of 16 blocks, first the first ones of all, then the second.
constexpr int64_t kHalves = 1 << 16;
constexpr int64_t kBlocks = 16;
constexpr int64_t kChunkWords = 4 * kBlocks;
constexpr int64_t kChunk = 2 * kChunkWords;

// What both directions keep of one head. Lines of channels end in zeros, other lines end in
// anything.
struct Head {
  explicit Head(const Attention& call)
      : blocks((call.frames + kQueries - 1) / kQueries),
        block_lines((call.frames + blocks - 1) / blocks),
        frame_pitch(pitch_of(call.frames)),
        channel_pitch(pitch_of(call.channels)) {}

  int64_t blocks;       // of queries
  int64_t block_lines;  // the most queries of a block
  int64_t frame_pitch;
  int64_t channel_pitch;
  Memory memory;
  float* attended;  // (frames,) one, or zero for padding and behind the last frame
  Matrix queries;   // (queries, channels) of a block
  Matrix values;    // (frames, channels), or grad_values
  Matrix weights;   // (queries, frames) scores of a block, or weights, zero where dropped
  Matrix sums;      // (queries, channels) of a block's output, or grad_queries
};

struct ForwardHead : Head {
  explicit ForwardHead(const Attention& call)
      : Head(call),
        words(new uint32_t[(block_lines * call.frames / kChunk + 2) * kChunkWords + kCacheLine]) {
    memory.reserve((2 * block_lines + call.frames) * channel_pitch +
                   (block_lines + call.channels + 1) * frame_pitch + pitch_of(block_lines));
    attended = memory.take(1, frame_pitch).data;
    factors = memory.take(1, pitch_of(block_lines)).data;
    queries = memory.take(block_lines, channel_pitch);
    sums = memory.take(block_lines, channel_pitch);
    values = memory.take(call.frames, channel_pitch);
    weights = memory.take(block_lines, frame_pitch);
    keys_by_channel = memory.take(call.channels, frame_pitch);
  }

  std::unique_ptr<uint32_t[]> words;  // random, of a block's chunks
  float* factors;                     // (queries,) of the block's weights
  Matrix keys_by_channel;             // (channels, frames)
};

struct BackwardHead : Head {
  explicit BackwardHead(const Attention& call) : Head(call) {
    memory.reserve((3 * block_lines + 3 * call.frames) * channel_pitch +
                   (2 * block_lines + call.channels + 1) * frame_pitch);
    attended = memory.take(1, frame_pitch).data;
    queries = memory.take(block_lines, channel_pitch);
    sums = memory.take(block_lines, channel_pitch);
    grad_output = memory.take(block_lines, channel_pitch);
    values = memory.take(call.frames, channel_pitch);
    keys = memory.take(call.frames, channel_pitch);
    grad_keys = memory.take(call.frames, channel_pitch);
    weights = memory.take(block_lines, frame_pitch);
    grad_weights = memory.take(block_lines, frame_pitch);
    values_by_channel = memory.take(call.channels, frame_pitch);
  }

  Matrix grad_output;        // (queries, channels) of a block
  Matrix keys;               // (frames, channels)
  Matrix grad_keys;          // (frames, channels)
  Matrix grad_weights;       // (queries, frames) of a block, then grad_scores
  Matrix values_by_channel;  // (channels, frames)
};

// Which of a tensor's numbers is the first of a head's.
INLINE int64_t start(const Attention& call, int64_t row_distance, int64_t head) {
  return head / call.heads * row_distance + head % call.heads * call.channels;
}

template <class T>
INLINE void fetch_lines(const T* from, int64_t distance, int64_t lines, int64_t width, Matrix to) {
  read(from, distance, lines, width, to);
  // The next head's, too: no processor foresees such short pieces of lines.
  for (int64_t i = 0; i < lines; ++i) {
    const T* const next = from + i * distance + width;
    for (int64_t c = 0; c < width; c += kCacheLine) __builtin_prefetch(next + c, 0, 2);
  }
}

// Copies so many of a head's frames.
INLINE void fetch(const Attention& call, const Frames& from, int64_t head, int64_t first,
                  int64_t lines, Matrix to) {
  const int64_t offset = start(call, from.row, head) + first * from.frame;
  if (call.is_bfloat16) {
    fetch_lines(static_cast<const BFloat16*>(from.data) + offset, from.frame, lines, call.channels,
                to);
  } else {
    fetch_lines(static_cast<const float*>(from.data) + offset, from.frame, lines, call.channels,
                to);
  }
}

template <class T>
INLINE void put_line(const float* line, float factor, int64_t width, T* to) {
  for (int64_t c = 0; c < width; ++c) write(line[c] * factor, to[c]);
}

// Writes one of a head's frames to a contiguous tensor.
INLINE void put(const Attention& call, const float* line, float factor, int64_t head, int64_t frame,
                void* to) {
  const int64_t width = call.heads * call.channels;
  const int64_t offset = start(call, call.frames * width, head) + frame * width;
  if (call.is_bfloat16) {
    put_line(line, factor, call.channels, static_cast<BFloat16*>(to) + offset);
  } else {
    put_line(line, factor, call.channels, static_cast<float*>(to) + offset);
  }
}

// Which weights are kept, and what those are scaled up by.
struct Dropping {
  explicit Dropping(double probability)
      : threshold(static_cast<int32_t>(
            std::min<int64_t>(std::llround(probability * kHalves), kHalves - 1))),
        scale(static_cast<float>(kHalves) / static_cast<float>(kHalves - threshold)) {}

  int32_t threshold;  // the least half of a weight that is kept
  float scale;
};

// What scores are multiplied by.
INLINE float scale_of(int64_t channels) {
  return static_cast<float>(1 / std::sqrt(static_cast<double>(channels)));
}

// The kernel for registers of kLanes floats.
template <int kLanes>
struct Kernel : Products<kLanes> {
  using Vector = Vectors<kLanes>;
  using Product = Products<kLanes>;
  using Floats = typename Vector::Floats;
  using Ints = typename Vector::Ints;
  typedef uint16_t Halves __attribute__((vector_size(2 * kLanes)));
  using Product::add_product;
  using Product::multiply;
  using Product::transpose;
  using Vector::all;
  using Vector::exp;
  using Vector::load;
  using Vector::max;
  using Vector::store;
  using Vector::sum;

  // Draws the words for the queries [first, end) of a head, unless they decide on nothing; gives
  // where the first weight's half is.
  static INLINE const uint16_t* draw(const Attention& call, uint64_t seed, int32_t threshold,
                                     int64_t head, int64_t first, int64_t end,
                                     const ForwardHead& kept) {
    const philox::Sequence sequence = philox::sequence(seed, static_cast<uint32_t>(head));
    const int64_t begin = first * call.frames / kChunk;
    uint32_t* words = kept.words.get();
    const int64_t after = threshold > 0 ? end * call.frames : 0;
    for (int64_t chunk = begin; chunk * kChunk < after; ++chunk) {
      for (int64_t block = 0; block < kBlocks; block += kLanes) {
        uint32_t* const to = words + block;
        write_words<kLanes / 2>(sequence, static_cast<uint32_t>(chunk * kBlocks + block), to,
                                to + kBlocks, to + 2 * kBlocks, to + 3 * kBlocks);
      }
      words += kChunkWords;
    }
    return reinterpret_cast<const uint16_t*>(kept.words.get()) + first * call.frames -
           begin * kChunk;
  }

  static INLINE Ints are_kept(const uint16_t* halves, int32_t threshold) {
    Halves read;
    std::memcpy(&read, halves, sizeof read);
    return __builtin_convertvector(read, Ints) >= threshold;
  }

  // Minus infinity where nothing is attended.
  static INLINE Floats masked(const float* scores, const float* attended) {
    return load(attended) > 0.0f ? load(scores) : all(-std::numeric_limits<float>::infinity());
  }

  // Marks the frames of a row that are attended.
  static INLINE void mark(const Attention& call, int64_t row, const Head& kept) {
    for (int64_t j = 0; j < kept.frame_pitch; ++j) {
      const bool is_absent =
          j >= call.frames || (call.padding != nullptr && call.padding[row * call.frames + j]);
      kept.attended[j] = is_absent ? 0.0f : 1.0f;
    }
  }

  // Turns a query's scores into its weights but for the factor that comes back.
  static INLINE float weigh(int64_t frames, float scale, int32_t threshold, const uint16_t* halves,
                            const float* attended, float* scores, float* shares) {
    Floats highest = all(-std::numeric_limits<float>::infinity());
    for (int64_t j = 0; j < frames; j += kLanes) {
      const Floats score = masked(scores + j, attended + j);
      highest = score > highest ? score : highest;
    }
    float shift = max(highest);
    // Nothing is attended by a query of a row of padding, whose weights are zero. Elsewhere scores
    // are all minus infinity only if a query or a key is infinite, which has to show: infinity
    // minus infinity is NaN.
    const bool is_empty =
        std::all_of(attended, attended + frames, [](float is) { return is == 0.0f; });
    shift = is_empty ? 0.0f : shift * scale;

    Floats totals = {};
    for (int64_t j = 0; j < frames; j += kLanes) {
      const Floats power = masked(scores + j, attended + j) * scale - shift;
      const Floats share = exp(power) * load(attended + j);
      totals += share;
      const Ints kept = are_kept(halves + j, threshold);
      store(scores + j, kept ? share : Floats{});
      if (shares != nullptr) store(shares + j, kept ? share : -share);
    }
    if (shares != nullptr) std::fill(shares + frames, shares + weights_pitch(frames), 0.0f);
    const float total = sum(totals);
    return total == 0.0f ? 0.0f : 1 / total;
  }

  // Computes a query's weights, but for the scale of those that are kept, and turns gradients by
  // them into those by scores.
  static INLINE void weigh_backward(int64_t frames, float scale, float dropping_scale,
                                    const float* attended, const float* shares, float factor,
                                    float* weights, float* grad_weights) {
    Floats products = {};
    for (int64_t j = 0; j < frames; j += kLanes) {
      const Floats share = load(shares + j);
      const Floats weight = (share < 0.0f ? Floats{} : share) * factor;
      products += weight * load(grad_weights + j);
      store(weights + j, weight);
    }
    const float mean = sum(products) * dropping_scale * scale * factor;
    const float grad_scale = dropping_scale * scale;
    for (int64_t j = 0; j < frames; j += kLanes) {
      const Floats share = load(shares + j);
      const Floats size = share < 0.0f ? -share : share;
      const Floats grad_score =
          load(weights + j) * load(grad_weights + j) * grad_scale - size * mean;
      store(grad_weights + j, load(attended + j) > 0.0f ? grad_score : Floats{});
    }
  }

  static INLINE void forward(const Attention& call, uint64_t seed, const Weights& weights,
                             void* output, int64_t begin, int64_t end) {
    const auto [frames, channels] = std::pair(call.frames, call.channels);
    const float scale = scale_of(channels);
    const Dropping dropping(call.probability);
    const ForwardHead kept(call);
    for (int64_t head = begin; head < end; ++head) {
      mark(call, head / call.heads, kept);
      // Memory of the values, which come later.
      fetch(call, call.keys, head, 0, frames, kept.values);
      transpose(kept.values, frames, channels, kept.keys_by_channel);
      fetch(call, call.values, head, 0, frames, kept.values);

      int64_t first = 0;
      for (int64_t block = 1; block <= kept.blocks; ++block) {
        const int64_t next = frames * block / kept.blocks, lines = next - first;
        fetch(call, call.queries, head, first, lines, kept.queries);
        multiply({kept.queries.data, kept.queries.pitch, 1}, kept.keys_by_channel, lines, channels,
                 frames, kept.weights);
        const uint16_t* const halves =
            draw(call, seed, dropping.threshold, head, first, next, kept);
        for (int64_t i = 0; i < lines; ++i) {
          const int64_t query = head * frames + first + i;
          float* const shares =
              weights.shares == nullptr ? nullptr : weights.shares + query * weights_pitch(frames);
          kept.factors[i] = weigh(frames, scale, dropping.threshold, halves + i * frames,
                                  kept.attended, kept.weights.line(i), shares);
          if (shares != nullptr) weights.factors[query] = kept.factors[i];
        }
        multiply({kept.weights.data, kept.weights.pitch, 1}, kept.values, lines, frames, channels,
                 kept.sums);
        for (int64_t i = 0; i < lines; ++i) {
          put(call, kept.sums.line(i), kept.factors[i] * dropping.scale, head, first + i, output);
        }
        first = next;
      }
    }
  }

  static INLINE void backward(const Attention& call, const Weights& weights,
                              const Frames& grad_output, const AttentionGradients& gradients,
                              int64_t begin, int64_t end) {
    const auto [frames, channels] = std::pair(call.frames, call.channels);
    const float scale = scale_of(channels);
    const Dropping dropping(call.probability);
    const BackwardHead kept(call);
    for (int64_t head = begin; head < end; ++head) {
      mark(call, head / call.heads, kept);
      fetch(call, call.keys, head, 0, frames, kept.keys);
      fetch(call, call.values, head, 0, frames, kept.values);
      transpose(kept.values, frames, channels, kept.values_by_channel);
      // From here on their memory holds sums of gradients.
      std::fill(kept.values.data, kept.values.line(frames), 0.0f);
      std::fill(kept.grad_keys.data, kept.grad_keys.line(frames), 0.0f);

      int64_t first = 0;
      for (int64_t block = 1; block <= kept.blocks; ++block) {
        const int64_t next = frames * block / kept.blocks, lines = next - first;
        fetch(call, call.queries, head, first, lines, kept.queries);
        fetch(call, grad_output, head, first, lines, kept.grad_output);
        multiply({kept.grad_output.data, kept.grad_output.pitch, 1}, kept.values_by_channel, lines,
                 channels, frames, kept.grad_weights);
        for (int64_t i = 0; i < lines; ++i) {
          const int64_t query = head * frames + first + i;
          weigh_backward(frames, scale, dropping.scale, kept.attended,
                         weights.shares + query * weights_pitch(frames), weights.factors[query],
                         kept.weights.line(i), kept.grad_weights.line(i));
        }
        add_product({kept.weights.data, 1, kept.weights.pitch}, kept.grad_output, frames, lines,
                    channels, kept.values);
        add_product({kept.grad_weights.data, 1, kept.grad_weights.pitch}, kept.queries, frames,
                    lines, channels, kept.grad_keys);
        multiply({kept.grad_weights.data, kept.grad_weights.pitch, 1}, kept.keys, lines, frames,
                 channels, kept.sums);
        for (int64_t i = 0; i < lines; ++i) {
          put(call, kept.sums.line(i), 1, head, first + i, gradients.grad_queries);
        }
        first = next;
      }
      for (int64_t j = 0; j < frames; ++j) {
        put(call, kept.grad_keys.line(j), 1, head, j, gradients.grad_keys);
        put(call, kept.values.line(j), dropping.scale, head, j, gradients.grad_values);
      }
    }
  }
};

}  // namespace

void attention(const Attention& call, uint64_t seed, const Weights& weights, void* output,
               int64_t begin, int64_t end) {
  dispatch<Arithmetic::kFused>(VARIANTS(Kernel<kLanes>::forward), call, seed, weights, output,
                               begin, end);
}

void attention_backward(const Attention& call, const Weights& weights, const Frames& grad_output,
                        const AttentionGradients& gradients, int64_t begin, int64_t end) {
  dispatch<Arithmetic::kFused>(VARIANTS(Kernel<kLanes>::backward), call, weights, grad_output,
                               gradients, begin, end);
}

}  // namespace fairseq_ecg::cpu
