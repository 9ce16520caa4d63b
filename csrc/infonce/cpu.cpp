// The contrastive loss on the CPU: everything of a row stays in a core's cache.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <utility>

#include "../common/dispatch.h"
#include "../common/products.h"
#include "infonce.h"

namespace fairseq_ecg::cpu {
namespace {

// What is kept of one row. Lines of frames end in zeros; other lines end in anything.
struct Row {
  Row(int64_t frames, int64_t channels, int64_t samples)
      : drawn(new uint32_t[(frames * samples + 3) / 4 * 4]),
        frame_pitch(pitch_of(frames)),
        channel_pitch(pitch_of(channels)) {
    const int64_t floats = 3 * frames * channel_pitch + (channels + frames + 3) * frame_pitch;
    names_memory.reset(new int32_t[frame_pitch + kCacheLine]);
    memory.reserve(floats);
    x = memory.take(frames, channel_pitch);
    y = memory.take(frames, channel_pitch);
    gradient = memory.take(frames, channel_pitch);
    y_by_channel = memory.take(channels, frame_pitch);
    pairs = memory.take(frames, frame_pitch);
    weights = memory.take(1, frame_pitch).data;
    x_norms = memory.take(1, frame_pitch).data;
    y_norms = memory.take(1, frame_pitch).data;
    names = aligned(names_memory.get());
    std::fill(names, names + frame_pitch, -1);
  }

  Memory memory;
  std::unique_ptr<int32_t[]> names_memory;
  std::unique_ptr<uint32_t[]> drawn;  // (frames, samples) negatives by their positions in the row
  int64_t frame_pitch;
  int64_t channel_pitch;
  Matrix x;             // (frames, channels) predictions of length one
  Matrix y;             // (frames, channels) targets of length one
  Matrix gradient;      // (frames, channels) grad_x or grad_y
  Matrix y_by_channel;  // (channels, frames)
  Matrix pairs;         // (frames, frames) cosines, then dlogits
  float* weights;       // (frames,) how often each target counts in the loss of one prediction
  float* x_norms;       // (frames,)
  float* y_norms;       // (frames,)
  int32_t* names;       // (frames,) equal for equal targets
};

// The kernel for registers of kLanes floats.
template <int kLanes>
struct Kernel : Products<kLanes> {
  using Vector = Vectors<kLanes>;
  using Floats = typename Vector::Floats;
  using Ints = typename Vector::Ints;
  using Vector::all;
  using Vector::any;
  using Vector::dot;
  using Vector::exp;
  using Vector::load;
  using Vector::max;
  using Vector::store;
  using Vector::sum;
  using Products<kLanes>::multiply;
  using Products<kLanes>::transpose;

  static INLINE bool is_equal(const float* one, const float* other, int64_t width) {
    if (one[0] != other[0]) return false;
    for (int64_t c = 0; c < width; c += kLanes) {
      if (any(load(one + c) != load(other + c))) return false;
    }
    return true;
  }

  static INLINE void name_equals(Matrix y, int64_t frames, int32_t* names) {
    for (int64_t i = 0; i < frames; ++i) {
      names[i] = static_cast<int32_t>(i);
      for (int64_t j = 0; j < i; ++j) {
        if (names[j] == j && is_equal(y.line(i), y.line(j), y.pitch)) {
          names[i] = static_cast<int32_t>(j);
          break;
        }
      }
    }
  }

  static INLINE void normalise(Matrix lines, int64_t frames, float* norms) {
    for (int64_t i = 0; i < frames; ++i) {
      float* const line = lines.line(i);
      norms[i] = std::sqrt(dot(line, line, lines.pitch));
      const float factor = 1.0f / divisor(norms[i]);
      for (int64_t c = 0; c < lines.pitch; c += kLanes) store(line + c, load(line + c) * factor);
    }
  }

  // Finds the positions of a row's given negatives in it. False if one of them is of another row.
  static INLINE bool locate(const InfoNCE& call, int64_t row, uint32_t* drawn) {
    const int64_t number = call.frames * call.samples;
    const int64_t* const given = call.negatives + row * number;
    bool is_outside = false;
    for (int64_t k = 0; k < number; ++k) {
      const uint64_t index = static_cast<uint64_t>(given[k] - row * call.frames);
      is_outside |= index >= static_cast<uint64_t>(call.frames);
      drawn[k] = static_cast<uint32_t>(index);
    }
    return !is_outside;
  }

  // Draws the positions of a row's negatives.
  static INLINE void draw(const InfoNCE& call, int64_t row, uint32_t* drawn) {
    const philox::Sequence sequence = philox::sequence(call.origins + row * philox::kOriginColumns,
                                                       kNegatives, philox::kCommonLane);
    const int64_t blocks = (call.frames * call.samples + 3) / 4;
    for (int64_t block = 0; block < blocks; ++block) {
      const philox::Words words = philox::words(sequence, static_cast<uint32_t>(block));
      philox::write(words, drawn + 4 * block);
    }
    const uint32_t frames = static_cast<uint32_t>(call.frames);
    for (uint32_t i = 0; i < frames; ++i) {
      uint32_t* const of_frame = drawn + i * call.samples;
      for (int64_t n = 0; n < call.samples; ++n) of_frame[n] = other_frame(of_frame[n], i, frames);
    }
  }

  // Turns the cosines of one prediction into the dlogits of its loss.
  static INLINE void weigh(const InfoNCE& call, int64_t row, int64_t i, const Row& kept) {
    float* const logits = kept.pairs.line(i);
    float* const weights = kept.weights;
    const int64_t position = row * call.frames + i;
    const uint32_t* const drawn = kept.drawn.get() + i * call.samples;

    std::fill(weights, weights + kept.frame_pitch, 0.0f);
    for (int64_t n = 0; n < call.samples; ++n) weights[drawn[n]] += 1;
    Ints excluded = {};
    for (int64_t j = 0; j < call.frames; j += kLanes) {
      Ints names;
      std::memcpy(&names, kept.names + j, sizeof names);
      const Floats counts = load(weights + j);
      const Ints equal = names == kept.names[i];
      excluded |= equal & (counts > 0.0f);
      store(weights + j, equal ? Floats{} : counts);
    }
    weights[i] = 1;

    const float positive = logits[i] / call.temperature;
    Ints not_below = {}, below = {};
    Floats highest = all(positive);
    for (int64_t j = 0; j < call.frames; j += kLanes) {
      const Ints counts = load(weights + j) > 0.0f;
      const Floats logit = load(logits + j) / call.temperature;
      store(logits + j, logit);
      not_below |= counts & ~(logit <= positive);  // NaN is not below
      below |= counts & (logit < positive);
      highest = (counts & (logit > highest)) ? logit : highest;
    }
    const float shift = std::max(positive, max(highest));
    call.correct[position] = !any(not_below) && (any(excluded) || any(below));

    Floats shares = {};
    for (int64_t j = 0; j < call.frames; j += kLanes) {
      const Floats counts = load(weights + j);
      // What does not count may be far above the shift.
      const Floats share = counts * exp(counts > 0.0f ? load(logits + j) - shift : Floats{});
      store(logits + j, share);
      shares += share;
    }
    const float total = sum(shares);
    call.losses[position] = std::log(total) - (positive - shift);
    const float factor = 1 / (total * call.temperature);
    for (int64_t j = 0; j < call.frames; j += kLanes) store(logits + j, load(logits + j) * factor);
    logits[i] -= 1 / call.temperature;
  }

  // Turns the gradient of frames of length one into that of frames as they came.
  static INLINE void unnormalise(Matrix gradient, Matrix unit, const float* norms, int64_t frames,
                                 int64_t channels, float* out) {
    for (int64_t i = 0; i < frames; ++i) {
      float* const line = gradient.line(i);
      const float* const direction = unit.line(i);
      const float product = dot(line, direction, rounded_up(channels, kLanes));
      // Below its least length a frame is divided by that, but autograd follows its true length.
      const float scale = divisor(norms[i]);
      const float along = norms[i] > 0 ? product * (scale / norms[i]) : 0;
      const float factor = 1 / scale;
      for (int64_t c = 0; c < channels; c += kLanes) {
        store(line + c, (load(line + c) - load(direction + c) * along) * factor);
      }
      std::memcpy(out + i * channels, line, channels * sizeof(float));
    }
  }

  static INLINE bool run(const InfoNCE& call, int64_t begin, int64_t end) {
    const auto [frames, channels] = std::pair(call.frames, call.channels);
    const Row kept(frames, channels, call.samples);
    for (int64_t row = begin; row < end; ++row) {
      if (call.negatives == nullptr) {
        draw(call, row, kept.drawn.get());
      } else if (!locate(call, row, kept.drawn.get())) {
        return false;
      }
      const int64_t offset = row * frames * channels;
      read(call.predictions + offset, channels, frames, channels, kept.x);
      read(call.targets + offset, channels, frames, channels, kept.y);
      name_equals(kept.y, frames, kept.names);
      normalise(kept.x, frames, kept.x_norms);
      normalise(kept.y, frames, kept.y_norms);
      transpose(kept.y, frames, channels, kept.y_by_channel);
      multiply({kept.x.data, kept.x.pitch, 1}, kept.y_by_channel, frames, channels, frames,
               kept.pairs);
      for (int64_t i = 0; i < frames; ++i) weigh(call, row, i, kept);
      if (call.grad_predictions == nullptr) continue;

      multiply({kept.pairs.data, kept.pairs.pitch, 1}, kept.y, frames, frames, channels,
               kept.gradient);
      unnormalise(kept.gradient, kept.x, kept.x_norms, frames, channels,
                  call.grad_predictions + offset);
      multiply({kept.pairs.data, 1, kept.pairs.pitch}, kept.x, frames, frames, channels,
               kept.gradient);
      unnormalise(kept.gradient, kept.y, kept.y_norms, frames, channels,
                  call.grad_targets + offset);
    }
    return true;
  }
};

}  // namespace

bool infonce(const InfoNCE& call, int64_t begin, int64_t end) {
  return dispatch<Arithmetic::kFused>(VARIANTS(Kernel<kLanes>::run), call, begin, end);
}

}  // namespace fairseq_ecg::cpu
