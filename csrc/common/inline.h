// Functions that are compiled into whatever calls them, with the instructions that it may use.
#pragma once

#ifdef __CUDACC__
#define INLINE __host__ __device__ __forceinline__
#define UNROLL _Pragma("unroll")
#else
#define INLINE inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")
#endif

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wpsabi"  // vectors are passed to inlined functions only
#endif
