// How a kernel sees its launch. A kernel is written in phases: cta.each([&](int thread) {...}) does the body once for
// every thread of the block, and all of them have done it when it returns. On the device a thread does its own part and
// waits at a barrier; on the host a loop does all parts. What threads hand from one phase to the next lies in shared
// memory, and no thread looks at another's registers: that is what lets the same source run on the host.
#pragma once

#include "../dtype.h"

#if defined(__CUDACC__)
#define NEGMERGE_UNROLL _Pragma("unroll")
#else
#define NEGMERGE_UNROLL
#endif

namespace negmerge::cuda {

constexpr int kThreads = 256;

struct Cta {
  uint32_t block;
  bool backwards = false;  // the loop on the host begins with the last thread

  template <class Body>
  NEGMERGE_HD void each(Body&& body) const {
#if defined(__CUDA_ARCH__)
    body(static_cast<int>(threadIdx.x));
    __syncthreads();
#else
    for (int i = 0; i < kThreads; i++) body(backwards ? kThreads - 1 - i : i);
#endif
  }
};

// Adds to a number that several threads add to.
NEGMERGE_HD void add(uint32_t& to, uint32_t value) {
#if defined(__CUDA_ARCH__)
  atomicAdd(&to, value);
#else
  to += value;
#endif
}
NEGMERGE_HD void add(int64_t& to, int64_t value) {
#if defined(__CUDA_ARCH__)
  // Two's complement: the sum is the same.
  atomicAdd(reinterpret_cast<unsigned long long*>(&to), static_cast<unsigned long long>(value));
#else
  to += value;
#endif
}

NEGMERGE_HD int bits_set(uint32_t word) {
#if defined(__CUDA_ARCH__)
  return __popc(word);
#else
  return __builtin_popcount(word);
#endif
}

}  // namespace negmerge::cuda
