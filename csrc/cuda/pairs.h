// Pairs of 16-bit elements in a word, compared two at a time. Comparing models instead of their differences from the
// base gives the same signs: a difference of two such numbers in fp32 is zero only if they are equal.
#pragma once

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

#include "convert.h"

namespace negmerge::cuda {

template <Dtype kDtype>
struct Pairs {
  static constexpr uint32_t kInfinities = kDtype == Dtype::f16 ? 0x7c007c00u : 0x7f807f80u;
  static constexpr uint32_t kSigns = 0x80008000u;

#if defined(__CUDACC__)
  using Two = std::conditional_t<kDtype == Dtype::f16, __half2, __nv_bfloat162>;
  static __device__ __forceinline__ Two two(uint32_t word) {
    Two pair;
    memcpy(&pair, &word, sizeof(pair));
    return pair;
  }
  static __device__ __forceinline__ uint32_t word(Two pair) {
    uint32_t bits;
    memcpy(&bits, &pair, sizeof(bits));
    return bits;
  }
#endif

  // The lower and the higher of each; NaN if either is.
  static NEGMERGE_HD uint32_t lower(uint32_t a, uint32_t b) {
#if defined(__CUDA_ARCH__)
    return word(__hmin2_nan(two(a), two(b)));
#else
    return of_each(
        a, b, [](float x, float y, uint32_t x_bits, uint32_t y_bits) { return x != x || x < y ? x_bits : y_bits; });
#endif
  }
  static NEGMERGE_HD uint32_t higher(uint32_t a, uint32_t b) {
#if defined(__CUDA_ARCH__)
    return word(__hmax2_nan(two(a), two(b)));
#else
    return of_each(
        a, b, [](float x, float y, uint32_t x_bits, uint32_t y_bits) { return x != x || x > y ? x_bits : y_bits; });
#endif
  }
  // All ones where a is above b.
  static NEGMERGE_HD uint32_t above(uint32_t a, uint32_t b) {
#if defined(__CUDA_ARCH__)
    return __hgt2_mask(two(a), two(b));
#else
    return of_each(a, b, [](float x, float y, uint32_t, uint32_t) { return x > y ? 0xffffu : 0u; });
#endif
  }

  static NEGMERGE_HD uint32_t encode(float first, float second) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    uint32_t bits;
    if constexpr (kDtype == Dtype::f16)
      asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(second), "f"(first));
    else
      asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(second), "f"(first));
    return bits;
#else
    return bits_of_single<kDtype>(first) | bits_of_single<kDtype>(second) << 16;
#endif
  }

 private:
  template <class Body>
  static uint32_t of_each(uint32_t a, uint32_t b, Body&& body) {
    uint32_t both = 0;
    for (int shift = 0; shift < 32; shift += 16) {
      const uint32_t x = a >> shift & 0xffff, y = b >> shift & 0xffff;
      both |= body(single_of<kDtype>(x), single_of<kDtype>(y), x, y) << shift;
    }
    return both;
  }
};

}  // namespace negmerge::cuda
