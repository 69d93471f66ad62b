// Writing past the caches, where an architecture can: what would only push other data out of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "../dtype.h"

namespace negmerge {
namespace {

constexpr size_t kLine = 64;

#if defined(__x86_64__)
constexpr bool kCanStream = true;

// Some bytes, a power of two and 32 or more, to a multiple of their number or of a line's; with as few instructions as
// there are registers for.
template <size_t kBytes>
NEGMERGE_HD void stream_aligned(const unsigned char* from, unsigned char* to) {
#if defined(__AVX512F__)
  if constexpr (kBytes >= sizeof(__m512i)) {
    for (size_t i = 0; i < kBytes; i += sizeof(__m512i))
      _mm512_stream_si512(reinterpret_cast<__m512i*>(to + i), _mm512_loadu_si512(from + i));
    return;
  }
#endif
#if defined(__AVX2__)
  using Register = __m256i;
  for (size_t i = 0; i < kBytes; i += sizeof(Register))
    _mm256_stream_si256(reinterpret_cast<Register*>(to + i),
                        _mm256_loadu_si256(reinterpret_cast<const Register*>(from + i)));
#else
  using Register = __m128i;
  for (size_t i = 0; i < kBytes; i += sizeof(Register))
    _mm_stream_si128(reinterpret_cast<Register*>(to + i), _mm_loadu_si128(reinterpret_cast<const Register*>(from + i)));
#endif
}

// Whole lines of the destination go past the caches; its first and last bytes, which share lines with others, do not.
NEGMERGE_HD void stream(const unsigned char* from, size_t bytes, unsigned char* to) {
  size_t i = -reinterpret_cast<uintptr_t>(to) % kLine;
  if (i > bytes) i = bytes;
  memcpy(to, from, i);
  for (; i + kLine <= bytes; i += kLine) stream_aligned<kLine>(from + i, to + i);
  memcpy(to + i, from + i, bytes - i);
}

// After it, other threads see what was streamed as they see ordinary writes.
NEGMERGE_HD void finish_streaming() { _mm_sfence(); }
#else
constexpr bool kCanStream = false;
template <size_t kBytes>
NEGMERGE_HD void stream_aligned(const unsigned char* from, unsigned char* to) {
  memcpy(to, from, kBytes);
}
NEGMERGE_HD void stream(const unsigned char* from, size_t bytes, unsigned char* to) { memcpy(to, from, bytes); }
NEGMERGE_HD void finish_streaming() {}
#endif

}  // namespace
}  // namespace negmerge
