// Writing past the caches, where an architecture can: what would only push other data out of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#include <emmintrin.h>
#endif

#include "../dtype.h"

namespace negmerge {
namespace {

#if defined(__x86_64__)
constexpr bool kCanStream = true;
constexpr size_t kLine = 64;

// Whole lines of the destination go past the caches; its first and last bytes, which share lines with others, do not.
NEGMERGE_HD void stream(const unsigned char* from, size_t bytes, unsigned char* to) {
  size_t i = -reinterpret_cast<uintptr_t>(to) % kLine;
  if (i > bytes) i = bytes;
  memcpy(to, from, i);
  for (; i + kLine <= bytes; i += kLine)
    for (size_t part = i; part < i + kLine; part += sizeof(__m128i))
      _mm_stream_si128(reinterpret_cast<__m128i*>(to + part),
                       _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + part)));
  memcpy(to + i, from + i, bytes - i);
}

// After it, other threads see what was streamed as they see ordinary writes.
NEGMERGE_HD void finish_streaming() { _mm_sfence(); }
#else
constexpr bool kCanStream = false;
NEGMERGE_HD void stream(const unsigned char* from, size_t bytes, unsigned char* to) { memcpy(to, from, bytes); }
NEGMERGE_HD void finish_streaming() {}
#endif

}  // namespace
}  // namespace negmerge
