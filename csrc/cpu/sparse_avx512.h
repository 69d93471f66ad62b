// Packing and unpacking raw elements with AVX-512 (F, BW, VL).
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace negmerge {
namespace {

// See sparse_plain.h. Elements of up to four bytes are handled in lanes of four: narrower ones cannot be expanded
// without VBMI2. Expansion and compression are from register to register, much faster than to and from memory.
template <size_t kSize>
struct Lanes {
  static void compress(const unsigned char* dense, uint32_t bits, unsigned char* packed) {
    store(packed, _mm512_maskz_compress_epi32(mask(bits), load(dense)));
  }
  static void expand(const unsigned char* packed, uint32_t bits, unsigned char* dense) {
    store(dense, _mm512_mask_expand_epi32(load(dense), mask(bits), load(packed)));
  }
  static uint32_t differing(const unsigned char* packed, uint32_t bits, const unsigned char* dense) {
    return _mm512_mask_cmpneq_epi32_mask(mask(bits), load(dense), _mm512_maskz_expand_epi32(mask(bits), load(packed)));
  }

 private:
  static __mmask16 mask(uint32_t bits) { return static_cast<__mmask16>(bits); }
  static __m512i load(const unsigned char* from) {
    if constexpr (kSize == 4)
      return _mm512_loadu_si512(from);
    else if constexpr (kSize == 2)
      return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
    else
      return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }
  static void store(unsigned char* to, __m512i lanes) {
    if constexpr (kSize == 4)
      _mm512_storeu_si512(to, lanes);
    else if constexpr (kSize == 2)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(lanes));
    else
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(lanes));
  }
};

template <>
struct Lanes<8> {
  static void compress(const unsigned char* dense, uint32_t bits, unsigned char* packed) {
    _mm512_storeu_si512(packed, _mm512_maskz_compress_epi64(low(bits), _mm512_loadu_si512(dense)));
    _mm512_storeu_si512(packed + behind_low(bits),
                        _mm512_maskz_compress_epi64(high(bits), _mm512_loadu_si512(dense + 64)));
  }
  static void expand(const unsigned char* packed, uint32_t bits, unsigned char* dense) {
    const __m512i first = _mm512_loadu_si512(packed), second = _mm512_loadu_si512(packed + behind_low(bits));
    _mm512_storeu_si512(dense, _mm512_mask_expand_epi64(_mm512_loadu_si512(dense), low(bits), first));
    _mm512_storeu_si512(dense + 64, _mm512_mask_expand_epi64(_mm512_loadu_si512(dense + 64), high(bits), second));
  }
  static uint32_t differing(const unsigned char* packed, uint32_t bits, const unsigned char* dense) {
    const __m512i first = _mm512_maskz_expand_epi64(low(bits), _mm512_loadu_si512(packed));
    const __m512i second = _mm512_maskz_expand_epi64(high(bits), _mm512_loadu_si512(packed + behind_low(bits)));
    const uint32_t low_found = _mm512_mask_cmpneq_epi64_mask(low(bits), _mm512_loadu_si512(dense), first);
    const uint32_t high_found = _mm512_mask_cmpneq_epi64_mask(high(bits), _mm512_loadu_si512(dense + 64), second);
    return low_found | high_found << 8;
  }

 private:
  static __mmask8 low(uint32_t bits) { return static_cast<__mmask8>(bits); }
  static __mmask8 high(uint32_t bits) { return static_cast<__mmask8>(bits >> 8); }
  static size_t behind_low(uint32_t bits) { return 8 * static_cast<size_t>(__builtin_popcount(bits & 0xff)); }
};

}  // namespace
}  // namespace negmerge
