#include "dispatch.h"

#include <algorithm>
#include <cstdlib>
#include <string>

namespace fairseq_ecg::cpu {
namespace {

Instructions of_processor() {
#ifdef FAIRSEQ_ECG_X86
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    return __builtin_cpu_supports("avx512f") ? Instructions::kAVX512 : Instructions::kAVX2;
  }
#endif
  return Instructions::kBase;
}

Instructions allowed() {
  const char* const value = std::getenv("FAIRSEQ_ECG_CPU");
  const std::string limit = value == nullptr ? "" : value;
  if (limit == "base") return Instructions::kBase;
  return limit == "avx2" ? Instructions::kAVX2 : Instructions::kAVX512;
}

}  // namespace

Instructions instructions() {
  static const Instructions chosen = std::min(of_processor(), allowed());
  return chosen;
}

}  // namespace fairseq_ecg::cpu
