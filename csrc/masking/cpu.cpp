// Masks on the CPU.
#include <algorithm>
#include <utility>
#include <vector>

#include "masking.h"

namespace fairseq_ecg::cpu {
namespace {

constexpr int kWords = 624, kShift = 397;

// numpy.random.RandomState(MT19937(SeedSequence(keys))): O'Neill, "Developing a seed_seq
// alternative", 2015; Matsumoto and Nishimura, "Mersenne twister", TOMACS 8, 1998.
class Stream {
 public:
  Stream(const int64_t* keys, int64_t n_keys) {
    uint32_t pool[4];
    fill(keys, n_keys, pool);
    uint32_t factor = 0x8b51f9ddu;
    for (int i = 0; i < kWords; ++i) {
      uint32_t word = pool[i % 4] ^ factor;
      factor *= 0x58f38dedu;
      word *= factor;
      state_[i] = word ^ word >> 16;
    }
    state_[0] = 0x80000000u;
    next_ = kWords - 1;
  }

  uint32_t word() {
    if (next_ == kWords) {
      twist();
    }
    uint32_t word = state_[next_++];
    word ^= word >> 11;
    word ^= (word << 7 & 0x9d2c5680u);
    word ^= (word << 15 & 0xefc60000u);
    return word ^ word >> 18;
  }

  // Uniform in [0, 1), a multiple of 2^-53.
  double uniform() {
    const uint32_t high = word() >> 5, low = word() >> 6;
    return (high * 67108864.0 + low) / 9007199254740992.0;
  }

  // Uniform from 0 to most, drawn again where it is more.
  uint32_t up_to(uint32_t most) {
    uint32_t mask = most;
    for (const int shift : {1, 2, 4, 8, 16}) {
      mask |= mask >> shift;
    }
    uint32_t value;
    do {
      value = word() & mask;
    } while (value > most);
    return value;
  }

 private:
  static uint32_t hashed(uint32_t word, uint32_t& factor) {
    word ^= factor;
    factor *= 0x931e8875u;
    word *= factor;
    return word ^ word >> 16;
  }

  static uint32_t mixed(uint32_t one, uint32_t other) {
    const uint32_t word = 0xca01f9ddu * one - 0x4973f715u * other;
    return word ^ word >> 16;
  }

  // Mixes the keys, each as one word or, where it is longer, as two.
  static void fill(const int64_t* keys, int64_t n_keys, uint32_t (&pool)[4]) {
    std::vector<uint32_t> words;
    for (int64_t i = 0; i < n_keys; ++i) {
      words.push_back(static_cast<uint32_t>(keys[i]));
      if (keys[i] >> 32 != 0) {
        words.push_back(static_cast<uint32_t>(keys[i] >> 32));
      }
    }
    uint32_t factor = 0x43b0d7e5u;
    for (size_t i = 0; i < 4; ++i) {
      pool[i] = hashed(i < words.size() ? words[i] : 0, factor);
    }
    for (int from = 0; from < 4; ++from) {
      for (int to = 0; to < 4; ++to) {
        if (from != to) {
          pool[to] = mixed(pool[to], hashed(pool[from], factor));
        }
      }
    }
    for (size_t from = 4; from < words.size(); ++from) {
      for (uint32_t& to : pool) {
        to = mixed(to, hashed(words[from], factor));
      }
    }
  }

  static uint32_t twisted(uint32_t high, uint32_t low, uint32_t far) {
    const uint32_t joined = (high & 0x80000000u) | (low & 0x7fffffffu);
    return far ^ joined >> 1 ^ ((low & 1) * 0x9908b0dfu);
  }

  void twist() {
    for (int i = 0; i < kWords - kShift; ++i) {
      state_[i] = twisted(state_[i], state_[i + 1], state_[i + kShift]);
    }
    for (int i = kWords - kShift; i < kWords - 1; ++i) {
      state_[i] = twisted(state_[i], state_[i + 1], state_[i + kShift - kWords]);
    }
    state_[kWords - 1] = twisted(state_[kWords - 1], state_[0], state_[kShift - 1]);
    next_ = 0;
  }

  uint32_t state_[kWords];
  int next_;
};

// Marks the positions of spans in masked and returns how many there are.
int64_t mark(const Spans& spans, int64_t valid, Stream& stream, std::vector<uint8_t>& masked,
             std::vector<int64_t>& starts) {
  const double share =
      spans.mask_prob * static_cast<double>(valid) / static_cast<double>(spans.mask_length);
  const int64_t count = std::max(spans.min_masks, static_cast<int64_t>(share + stream.uniform()));
  masked.assign(valid, 0);
  if (count == 0) {
    return 0;
  }
  int64_t shortest = spans.mask_length;
  if (valid - shortest <= count) {
    shortest = valid - count - 1;
  }
  starts.resize(valid - shortest);
  for (size_t i = 0; i < starts.size(); ++i) {
    starts[i] = static_cast<int64_t>(i);
  }
  for (size_t i = starts.size() - 1; i > 0; --i) {
    std::swap(starts[i], starts[stream.up_to(static_cast<uint32_t>(i))]);
  }
  for (int64_t i = 0; i < count; ++i) {
    const int64_t end = std::min(starts[i] + spans.mask_length, valid);
    for (int64_t position = starts[i]; position < end; ++position) {
      masked[position] = 1;
    }
  }
  return std::count(masked.begin(), masked.end(), 1);
}

}  // namespace

void rank_positions(const int64_t* keys, int64_t n_keys, const MaskRanks* axes, int64_t n_axes,
                    int64_t begin, int64_t end) {
  std::vector<uint8_t> masked;
  std::vector<int64_t> starts;
  for (int64_t row = begin; row < end; ++row) {
    Stream stream(keys + row * n_keys, n_keys);
    for (const MaskRanks* axis = axes; axis < axes + n_axes; ++axis) {
      const int64_t valid = axis->valid[row];
      axis->counts[row] = mark(axis->spans, valid, stream, masked, starts);
      double* const ranks = axis->ranks + row * axis->width;
      for (int64_t position = 0; position < valid; ++position) {
        // Rounded as in the definition, which adds first.
        const double rank = stream.uniform() + 1;
        ranks[position] = masked[position] ? rank - 1 : rank;
      }
    }
  }
}

void choose_positions(const MaskChoice& call, int64_t begin, int64_t end) {
  if (call.number == 0) {
    return;
  }
  std::vector<double> order;
  for (int64_t row = begin; row < end; ++row) {
    const double* const ranks = call.ranks + row * call.width;
    order.assign(ranks, ranks + call.valid[row]);
    const auto last = order.begin() + call.number - 1;
    std::nth_element(order.begin(), last, order.end());
    // Of positions with the very rank of the last one, the first are chosen.
    int64_t ties =
        call.number - std::count_if(order.begin(), last, [&](double rank) { return rank < *last; });
    int64_t* chosen = call.chosen + row * call.number;
    for (int64_t position = 0; position < call.valid[row]; ++position) {
      if (ranks[position] < *last || (ranks[position] == *last && ties-- > 0)) {
        *chosen++ = position;
      }
    }
  }
}

}  // namespace fairseq_ecg::cpu
