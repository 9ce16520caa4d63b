// Philox in registers. Compilers make no good code of its products of 32 bits: words stay in the
// lower halves of 64 bits, where one instruction gives a product's higher and lower word, and the
// upper halves hold anything.
#pragma once

#include <cstdint>
#include <cstring>

#include "philox.h"

namespace fairseq_ecg::cpu {

// Registers of 2, 4 or 8 words, each the lower half of 64 bits. Products are written in assembler
// because intrinsics can only be inlined where the instruction set is known, above templates.
template <int kWords>
struct WordRegister;

template <>
struct WordRegister<2> {
  typedef uint64_t Type __attribute__((vector_size(16)));

  static INLINE Type multiply(const Type& a, const Type& b) {
#if defined(__x86_64__)
    Type product = a;
    asm("pmuludq %1, %0" : "+x"(product) : "x"(b));
    return product;
#else
    return (a & 0xffffffffu) * (b & 0xffffffffu);
#endif
  }
};

#if defined(__x86_64__)
template <>
struct WordRegister<4> {
  typedef uint64_t Type __attribute__((vector_size(32)));

  static INLINE Type multiply(const Type& a, const Type& b) {
    Type product;
    asm("vpmuludq %2, %1, %0" : "=x"(product) : "x"(a), "x"(b));
    return product;
  }
};

template <>
struct WordRegister<8> {
  typedef uint64_t Type __attribute__((vector_size(64)));

  static INLINE Type multiply(const Type& a, const Type& b) {
    Type product;
    asm("vpmuludq %2, %1, %0" : "=v"(product) : "v"(a), "v"(b));
    return product;
  }
};
#endif

// Counters that become words.
template <int kWords>
struct WordVectors {
  using Register = typename WordRegister<kWords>::Type;

  Register x, y, z, w;

  INLINE void round(const Register& key0, const Register& key1) {
    const Register one = WordRegister<kWords>::multiply(x, Register{} + 0xd2511f53u);
    const Register other = WordRegister<kWords>::multiply(z, Register{} + 0xcd9e8d57u);
    x = other >> 32 ^ (y ^ key0);
    y = other;
    z = one >> 32 ^ (w ^ key1);
    w = one;
  }
};

// Several counters at once keep a processor busier.
template <int kWords, int kCount>
INLINE void encrypt(WordVectors<kWords> (&counters)[kCount],
                    typename WordRegister<kWords>::Type& key0,
                    typename WordRegister<kWords>::Type& key1) {
  UNROLL
  for (int round = 0; round < 10; ++round) {
    for (WordVectors<kWords>& each : counters) each.round(key0, key1);
    key0 += 0x9e3779b9u;
    key1 += 0xbb67ae85u;
  }
}

template <class Register>
INLINE void interleave(const Register& even, const Register& odd, uint32_t* to) {
  const Register both = (even & 0xffffffffu) | odd << 32;
  std::memcpy(to, &both, sizeof both);
}

// Writes the words of 2 * kWords blocks of a sequence, from its block first.
template <int kWords>
INLINE void write_words(const philox::Sequence& from, uint32_t first, uint32_t* x, uint32_t* y,
                        uint32_t* z, uint32_t* w) {
  using Register = typename WordRegister<kWords>::Type;
  // Even blocks and odd ones, so that at last these can be shifted into the gaps between those.
  Register even = {};
  for (int i = 0; i < kWords; ++i) even[i] = static_cast<uint64_t>(2 * i);
  even += first;
  const Register record = Register{} + from.record, epoch = Register{} + from.epoch,
                 purpose = Register{} + from.purpose;
  WordVectors<kWords> blocks[2]{{even, record, epoch, purpose}, {even + 1, record, epoch, purpose}};
  Register key0 = Register{} + from.key[0], key1 = Register{} + from.key[1];
  encrypt(blocks, key0, key1);
  interleave(blocks[0].x, blocks[1].x, x);
  interleave(blocks[0].y, blocks[1].y, y);
  interleave(blocks[0].z, blocks[1].z, z);
  interleave(blocks[0].w, blocks[1].w, w);
}

}  // namespace fairseq_ecg::cpu
