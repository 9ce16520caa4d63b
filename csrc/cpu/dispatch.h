// Which of a kernel's variants runs: told by the processor at run time, not by the one that compiled.
#pragma once

namespace fairseq_ecg::cpu {

enum class Instructions { kBase, kAVX2, kAVX512 };  // AVX2 comes with FMA, AVX-512 with both

// What this processor has, at most what the environment variable FAIRSEQ_ECG_CPU (base, avx2 or
// avx512) allows.
Instructions instructions();

}  // namespace fairseq_ecg::cpu
