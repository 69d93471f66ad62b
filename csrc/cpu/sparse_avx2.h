// Unpacking raw elements with AVX2.
#pragma once

#include <immintrin.h>

#include "sparse_plain.h"

namespace negmerge {
namespace {

// For every mask of eight lanes, which packed element each lane takes: the number of bits set below it.
struct Ranks {
  uint8_t of[256][8];
};
constexpr Ranks ranks() {
  Ranks table = {};
  for (size_t bits = 0; bits < 256; bits++)
    for (size_t lane = 0, rank = 0; lane < 8; rank += bits >> lane & 1, lane++)
      table.of[bits][lane] = static_cast<uint8_t>(rank);
  return table;
}
alignas(64) constexpr Ranks kRanks = ranks();

// See sparse_plain.h. Elements of up to four bytes are handled in lanes of four, eight at a time. Packing has no
// instruction that pays.
template <size_t kSize>
struct Lanes : PlainLanes<kSize> {
  static void expand(const unsigned char* packed, uint32_t bits, unsigned char* dense) {
    for (size_t half = 0; half < 2; half++, bits >>= 8, dense += 8 * kSize) {
      const __m256i kept = expanded(packed, bits & 0xff);
      store(dense, _mm256_blendv_epi8(load(dense), kept, mask(bits)));
      packed += kSize * static_cast<size_t>(__builtin_popcount(bits & 0xff));
    }
  }
  static uint32_t differing(const unsigned char* packed, uint32_t bits, const unsigned char* dense) {
    const unsigned char* const second = packed + kSize * static_cast<size_t>(__builtin_popcount(bits & 0xff));
    const uint32_t low = equal(expanded(packed, bits & 0xff), load(dense));
    const uint32_t high = equal(expanded(second, bits >> 8), load(dense + 8 * kSize));
    return bits & ~(low | high << 8);
  }

 private:
  static __m256i expanded(const unsigned char* packed, uint32_t bits) {
    const __m128i rank = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kRanks.of[bits]));
    return _mm256_permutevar8x32_epi32(load(packed), _mm256_cvtepu8_epi32(rank));
  }
  static uint32_t equal(__m256i a, __m256i b) {
    return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(a, b))));
  }
  static __m256i mask(uint32_t bits) {
    const __m256i lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(static_cast<int>(bits)), lane), lane);
  }
  static __m256i load(const unsigned char* from) {
    if constexpr (kSize == 4)
      return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    else if constexpr (kSize == 2)
      return _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
    else
      return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
  }
  static void store(unsigned char* to, __m256i lanes) {
    if constexpr (kSize == 4) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), lanes);
      return;
    }
    const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
    if constexpr (kSize == 2)
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to), words);
    else
      _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packus_epi16(words, words));
  }
};

template <>
struct Lanes<8> : PlainLanes<8> {};

}  // namespace
}  // namespace negmerge
