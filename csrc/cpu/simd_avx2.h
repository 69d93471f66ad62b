// AVX2 and F16C registers.
#pragma once

#include <immintrin.h>

#include "../dtype.h"

namespace negmerge {
namespace {

struct F32 {
  using Scalar = float;
  using Mask = __m256;
  static constexpr int kLanes = 8;
  __m256 r;

  F32() = default;
  NEGMERGE_HD F32(__m256 value) : r(value) {}
  NEGMERGE_HD explicit F32(float value) : r(_mm256_set1_ps(value)) {}
  static NEGMERGE_HD F32 load(const float* from) { return _mm256_loadu_ps(from); }
  NEGMERGE_HD void store(float* to) const { _mm256_storeu_ps(to, r); }

  friend NEGMERGE_HD F32 operator+(F32 a, F32 b) { return _mm256_add_ps(a.r, b.r); }
  friend NEGMERGE_HD F32 operator-(F32 a, F32 b) { return _mm256_sub_ps(a.r, b.r); }
  friend NEGMERGE_HD F32 operator*(F32 a, F32 b) { return _mm256_mul_ps(a.r, b.r); }
  friend NEGMERGE_HD F32 operator/(F32 a, F32 b) { return _mm256_div_ps(a.r, b.r); }
  static NEGMERGE_HD F32 magnitude(F32 a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.r); }
  static NEGMERGE_HD F32 larger(F32 a, F32 b) { return _mm256_max_ps(a.r, b.r); }

  // Ranges by bits: units that add floating-point numbers are busy with sums.
  static NEGMERGE_HD F32 least() { return F32(-0.0f); }
  static NEGMERGE_HD F32 most() { return F32(kInfinity); }
  static NEGMERGE_HD F32 lower(F32 a, F32 b) { return from_bits(_mm256_min_epi32(a.bits(), b.bits())); }
  static NEGMERGE_HD F32 higher(F32 a, F32 b) { return from_bits(_mm256_max_epi32(a.bits(), b.bits())); }
  static NEGMERGE_HD Mask range_above_zero(F32 lowest) {
    return from_bits(_mm256_cmpgt_epi32(lowest.bits(), _mm256_setzero_si256())).r;
  }
  static NEGMERGE_HD Mask range_below_zero(F32 lowest, F32 highest) {
    const __m256i zeros = _mm256_cmpeq_epi32(lowest.bits(), least().bits());
    return from_bits(_mm256_andnot_si256(zeros, _mm256_cmpgt_epi32(_mm256_setzero_si256(), highest.bits()))).r;
  }

  static NEGMERGE_HD Mask above(F32 a, F32 b) { return _mm256_cmp_ps(a.r, b.r, _CMP_GT_OQ); }
  static NEGMERGE_HD Mask equal(F32 a, F32 b) { return _mm256_cmp_ps(a.r, b.r, _CMP_EQ_OQ); }
  static NEGMERGE_HD Mask not_equal(F32 a, F32 b) { return _mm256_cmp_ps(a.r, b.r, _CMP_NEQ_UQ); }
  static NEGMERGE_HD Mask non_finite(F32 a) {
    const __m256 nothing = _mm256_sub_ps(a.r, a.r);  // 0 where finite, else NaN
    return _mm256_cmp_ps(nothing, nothing, _CMP_UNORD_Q);
  }
  static NEGMERGE_HD F32 select(Mask m, F32 a, F32 b) { return _mm256_blendv_ps(b.r, a.r, m); }
  static NEGMERGE_HD Mask mask_and(Mask a, Mask b) { return _mm256_and_ps(a, b); }
  static NEGMERGE_HD Mask mask_or(Mask a, Mask b) { return _mm256_or_ps(a, b); }
  static NEGMERGE_HD bool any(Mask m) { return _mm256_movemask_ps(m) != 0; }
  static NEGMERGE_HD uint32_t mask_bits(Mask m) { return static_cast<uint32_t>(_mm256_movemask_ps(m)); }
  static NEGMERGE_HD Mask mask_from_bits(uint32_t bits) {
    const __m256i lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i set = _mm256_and_si256(_mm256_set1_epi32(static_cast<int>(bits)), lane);
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(set, lane));
  }

  static NEGMERGE_HD void count(Mask m, uint16_t* counts) {
    auto* const to = reinterpret_cast<__m128i*>(counts);
    const __m256i wide = _mm256_castps_si256(m);
    const __m128i ones = _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
    _mm_storeu_si128(to, _mm_sub_epi16(_mm_loadu_si128(to), ones));
  }

  static NEGMERGE_HD F32 load_f16(const unsigned char* from) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }
  NEGMERGE_HD void store_f16(unsigned char* to) const {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_cvtps_ph(r, _MM_FROUND_TO_NEAREST_INT));
  }
  static NEGMERGE_HD F32 load_bf16(const unsigned char* from) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    const __m256i to_upper_half = _mm256_setr_epi8(-1, -1, 0, 1, -1, -1, 2, 3, -1, -1, 4, 5, -1, -1, 6, 7,  //
                                                   -1, -1, 8, 9, -1, -1, 10, 11, -1, -1, 12, 13, -1, -1, 14, 15);
    return _mm256_castsi256_ps(_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(bits), to_upper_half));
  }
  // Two registers make one.
  static constexpr int kRegistersOfBf16 = 2;
  template <bool kNan>
  static NEGMERGE_HD void store_bf16(const F32* from, unsigned char* to) {
    const __m256i packed = _mm256_packus_epi32(from[0].encode_bf16<kNan>(), from[1].encode_bf16<kNan>());
    // Packing works within 128-bit halves.
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_permute4x64_epi64(packed, 0xd8));
  }

  // Sixteen 16-bit elements as they are stored. bf16 ones are two to a lane of an F32, the even and the odd ones.
  struct Stored16 {
    __m256i r;
    static NEGMERGE_HD Stored16 load(const void* from) {
      return {_mm256_loadu_si256(static_cast<const __m256i*>(from))};
    }
    NEGMERGE_HD void store(void* to) const { _mm256_storeu_si256(static_cast<__m256i*>(to), r); }

    NEGMERGE_HD F32 even_bf16() const { return from_bits(_mm256_slli_epi32(r, 16)); }
    NEGMERGE_HD F32 odd_bf16() const { return from_bits(_mm256_and_si256(r, _mm256_set1_epi32(kOdd))); }
    // Of numbers only, not of NaN.
    static NEGMERGE_HD Stored16 interleaved_bf16(F32 even, F32 odd) {
      return {interleave(_mm256_srli_epi32(even.round_to_bf16(), 16), odd.round_to_bf16())};
    }

    NEGMERGE_HD Stored16 sign() const { return {_mm256_and_si256(r, signs())}; }
    friend NEGMERGE_HD Stored16 operator^(Stored16 a, Stored16 b) { return {_mm256_xor_si256(a.r, b.r)}; }
    // As signed integers.
    friend NEGMERGE_HD Stored16 lower(Stored16 a, Stored16 b) { return {_mm256_min_epi16(a.r, b.r)}; }
    friend NEGMERGE_HD Stored16 higher(Stored16 a, Stored16 b) { return {_mm256_max_epi16(a.r, b.r)}; }

    // Some of the elements: all ones there, and elsewhere zeros. Only a lane's sign is meant to be looked at in the
    // masks of even and odd ones, as select() does; not for count(), which takes whole lanes.
    struct Where {
      __m256i r;
      static NEGMERGE_HD Where interleaved(Mask even, Mask odd) {
        return {interleave(_mm256_srli_epi32(_mm256_castps_si256(even), 16), _mm256_castps_si256(odd))};
      }
      friend NEGMERGE_HD Where both(Where a, Where b) { return {_mm256_and_si256(a.r, b.r)}; }
      NEGMERGE_HD bool any() const { return !_mm256_testz_si256(r, r); }
      NEGMERGE_HD uint32_t bits() const {
        // Packing works within 128-bit halves.
        const auto bytes = static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_packs_epi16(r, _mm256_setzero_si256())));
        return (bytes & 0xff) | (bytes >> 8 & 0xff00);
      }
      NEGMERGE_HD Mask even() const { return from_bits(_mm256_slli_epi32(r, 16)).r; }
      NEGMERGE_HD Mask odd() const { return from_bits(r).r; }
    };
    // Where the range is beyond the base's magnitude, as signed integers: wholly above it, or wholly below and without
    // the exception, a zero of the other sign than a zero base's (layout.h).
    static NEGMERGE_HD Where beyond(Stored16 lowest, Stored16 highest, Stored16 magnitude) {
      // Zero for the exception.
      const __m256i usual = _mm256_or_si256(_mm256_xor_si256(lowest.r, signs()), magnitude.r);
      const __m256i exception = _mm256_cmpeq_epi16(usual, _mm256_setzero_si256());
      const __m256i below = _mm256_andnot_si256(exception, _mm256_cmpgt_epi16(magnitude.r, highest.r));
      return {_mm256_or_si256(below, _mm256_cmpgt_epi16(lowest.r, magnitude.r))};
    }
    friend NEGMERGE_HD Stored16 select(Where where, Stored16 a, Stored16 b) {
      return {_mm256_blendv_epi8(b.r, a.r, where.r)};
    }

   private:
    static constexpr auto kOdd = static_cast<int>(0xffff0000);
    static NEGMERGE_HD __m256i signs() { return _mm256_set1_epi16(-0x8000); }
    // The lower halves of lanes and the upper ones.
    static NEGMERGE_HD __m256i interleave(__m256i low, __m256i high) { return _mm256_blend_epi16(low, high, 0xaa); }
  };
  using StoredBf16 = Stored16;

 private:
  NEGMERGE_HD __m256i bits() const { return _mm256_castps_si256(r); }
  static NEGMERGE_HD F32 from_bits(__m256i bits) { return _mm256_castsi256_ps(bits); }

  // In the upper half of each lane.
  NEGMERGE_HD __m256i round_to_bf16() const {
    const __m256i even = _mm256_and_si256(_mm256_srli_epi32(bits(), 16), _mm256_set1_epi32(1));
    return _mm256_add_epi32(bits(), _mm256_add_epi32(even, _mm256_set1_epi32(0x7fff)));
  }
  template <bool kNan>
  NEGMERGE_HD __m256i encode_bf16() const {
    __m256i encoded = round_to_bf16();
    if constexpr (kNan) {
      const __m256i quiet = _mm256_or_si256(bits(), _mm256_set1_epi32(0x400000));
      encoded = _mm256_blendv_epi8(encoded, quiet, _mm256_castps_si256(not_equal(r, r)));
    }
    return _mm256_srli_epi32(encoded, 16);
  }
};

struct F64 {
  using Scalar = double;
  using Mask = __m256d;
  static constexpr int kLanes = 4;
  __m256d r;

  F64() = default;
  NEGMERGE_HD F64(__m256d value) : r(value) {}
  NEGMERGE_HD explicit F64(double value) : r(_mm256_set1_pd(value)) {}
  static NEGMERGE_HD F64 load(const double* from) { return _mm256_loadu_pd(from); }
  NEGMERGE_HD void store(double* to) const { _mm256_storeu_pd(to, r); }

  friend NEGMERGE_HD F64 operator+(F64 a, F64 b) { return _mm256_add_pd(a.r, b.r); }
  friend NEGMERGE_HD F64 operator-(F64 a, F64 b) { return _mm256_sub_pd(a.r, b.r); }
  friend NEGMERGE_HD F64 operator*(F64 a, F64 b) { return _mm256_mul_pd(a.r, b.r); }
  friend NEGMERGE_HD F64 operator/(F64 a, F64 b) { return _mm256_div_pd(a.r, b.r); }
  static NEGMERGE_HD F64 magnitude(F64 a) { return _mm256_andnot_pd(_mm256_set1_pd(-0.0), a.r); }
  static NEGMERGE_HD F64 larger(F64 a, F64 b) { return _mm256_max_pd(a.r, b.r); }

  static NEGMERGE_HD F64 least() { return F64(-kInfinity); }
  static NEGMERGE_HD F64 most() { return F64(kInfinity); }
  static NEGMERGE_HD F64 lower(F64 a, F64 b) { return _mm256_min_pd(a.r, b.r); }
  static NEGMERGE_HD F64 higher(F64 a, F64 b) { return larger(a, b); }
  static NEGMERGE_HD Mask range_above_zero(F64 lowest) { return above(lowest, F64(0.0)); }
  static NEGMERGE_HD Mask range_below_zero(F64, F64 highest) { return above(F64(0.0), highest); }

  static NEGMERGE_HD Mask above(F64 a, F64 b) { return _mm256_cmp_pd(a.r, b.r, _CMP_GT_OQ); }
  static NEGMERGE_HD Mask equal(F64 a, F64 b) { return _mm256_cmp_pd(a.r, b.r, _CMP_EQ_OQ); }
  static NEGMERGE_HD Mask not_equal(F64 a, F64 b) { return _mm256_cmp_pd(a.r, b.r, _CMP_NEQ_UQ); }
  static NEGMERGE_HD Mask non_finite(F64 a) {
    const __m256d nothing = _mm256_sub_pd(a.r, a.r);  // 0 where finite, else NaN
    return _mm256_cmp_pd(nothing, nothing, _CMP_UNORD_Q);
  }
  static NEGMERGE_HD F64 select(Mask m, F64 a, F64 b) { return _mm256_blendv_pd(b.r, a.r, m); }
  static NEGMERGE_HD Mask mask_and(Mask a, Mask b) { return _mm256_and_pd(a, b); }
  static NEGMERGE_HD Mask mask_or(Mask a, Mask b) { return _mm256_or_pd(a, b); }
  static NEGMERGE_HD bool any(Mask m) { return _mm256_movemask_pd(m) != 0; }
  static NEGMERGE_HD uint32_t mask_bits(Mask m) { return static_cast<uint32_t>(_mm256_movemask_pd(m)); }
  static NEGMERGE_HD Mask mask_from_bits(uint32_t bits) {
    const __m256i lane = _mm256_setr_epi64x(1, 2, 4, 8);
    const __m256i set = _mm256_and_si256(_mm256_set1_epi64x(bits), lane);
    return _mm256_castsi256_pd(_mm256_cmpeq_epi64(set, lane));
  }

  static NEGMERGE_HD void count(Mask m, uint16_t* counts) {
    auto* const to = reinterpret_cast<__m128i*>(counts);
    const __m256 wide = _mm256_castpd_ps(m);
    const __m128i half = _mm_castps_si128(
        _mm_shuffle_ps(_mm256_castps256_ps128(wide), _mm256_extractf128_ps(wide, 1), _MM_SHUFFLE(2, 0, 2, 0)));
    _mm_storel_epi64(to, _mm_sub_epi16(_mm_loadl_epi64(to), _mm_packs_epi32(half, half)));
  }

  static NEGMERGE_HD F64 load_wide(const float* from) { return _mm256_cvtps_pd(_mm_loadu_ps(from)); }
  static NEGMERGE_HD void widen(F32 a, F64& low, F64& high) {
    low = _mm256_cvtps_pd(_mm256_castps256_ps128(a.r));
    high = _mm256_cvtps_pd(_mm256_extractf128_ps(a.r, 1));
  }
  static NEGMERGE_HD F32 narrow(F64 low, F64 high) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm256_cvtpd_ps(low.r)), _mm256_cvtpd_ps(high.r), 1);
  }
};

}  // namespace
}  // namespace negmerge
