// AVX-512 (F, BW, DQ, VL) registers.
#pragma once

#include <immintrin.h>

#include "../dtype.h"

namespace negmerge {
namespace {

struct F32 {
  using Scalar = float;
  using Mask = __mmask16;
  static constexpr int kLanes = 16;
  __m512 r;

  F32() = default;
  NEGMERGE_HD F32(__m512 value) : r(value) {}
  NEGMERGE_HD explicit F32(float value) : r(_mm512_set1_ps(value)) {}
  static NEGMERGE_HD F32 load(const float* from) { return _mm512_loadu_ps(from); }
  NEGMERGE_HD void store(float* to) const { _mm512_storeu_ps(to, r); }

  friend NEGMERGE_HD F32 operator+(F32 a, F32 b) { return _mm512_add_ps(a.r, b.r); }
  friend NEGMERGE_HD F32 operator-(F32 a, F32 b) { return _mm512_sub_ps(a.r, b.r); }
  friend NEGMERGE_HD F32 operator*(F32 a, F32 b) { return _mm512_mul_ps(a.r, b.r); }
  friend NEGMERGE_HD F32 operator/(F32 a, F32 b) { return _mm512_div_ps(a.r, b.r); }
  static NEGMERGE_HD F32 magnitude(F32 a) { return _mm512_abs_ps(a.r); }
  static NEGMERGE_HD F32 larger(F32 a, F32 b) { return _mm512_max_ps(a.r, b.r); }

  // Ranges by bits: units that add floating-point numbers are busy with sums.
  static NEGMERGE_HD F32 least() { return from_bits(constant(INT32_MIN)); }
  static NEGMERGE_HD F32 most() { return F32(kInfinity); }
  static NEGMERGE_HD F32 lower(F32 a, F32 b) { return from_bits(_mm512_min_epi32(a.bits(), b.bits())); }
  static NEGMERGE_HD F32 higher(F32 a, F32 b) { return from_bits(_mm512_max_epi32(a.bits(), b.bits())); }
  static NEGMERGE_HD Mask range_above_zero(F32 lowest) {
    return _mm512_cmpgt_epi32_mask(lowest.bits(), _mm512_setzero_si512());
  }
  static NEGMERGE_HD Mask range_below_zero(F32 lowest, F32 highest) {
    const Mask negative = _mm512_cmplt_epi32_mask(highest.bits(), _mm512_setzero_si512());
    return _mm512_mask_cmpneq_epi32_mask(negative, lowest.bits(), least().bits());
  }

  static NEGMERGE_HD Mask above(F32 a, F32 b) { return _mm512_cmp_ps_mask(a.r, b.r, _CMP_GT_OQ); }
  static NEGMERGE_HD Mask equal(F32 a, F32 b) { return _mm512_cmp_ps_mask(a.r, b.r, _CMP_EQ_OQ); }
  static NEGMERGE_HD Mask not_equal(F32 a, F32 b) { return _mm512_cmp_ps_mask(a.r, b.r, _CMP_NEQ_UQ); }
  // Quiet or signalling NaN, infinity of either sign.
  static NEGMERGE_HD Mask non_finite(F32 a) { return _mm512_fpclass_ps_mask(a.r, 0x99); }
  static NEGMERGE_HD F32 select(Mask m, F32 a, F32 b) { return _mm512_mask_blend_ps(m, b.r, a.r); }
  static NEGMERGE_HD Mask mask_and(Mask a, Mask b) { return _kand_mask16(a, b); }
  static NEGMERGE_HD Mask mask_or(Mask a, Mask b) { return _kor_mask16(a, b); }
  static NEGMERGE_HD bool any(Mask m) { return !_kortestz_mask16_u8(m, m); }
  static NEGMERGE_HD uint32_t mask_bits(Mask m) { return m; }
  static NEGMERGE_HD Mask mask_from_bits(uint32_t bits) { return static_cast<Mask>(bits); }

  static NEGMERGE_HD void count(Mask m, uint16_t* counts) {
    auto* const to = reinterpret_cast<__m256i*>(counts);
    _mm256_storeu_si256(to, _mm256_sub_epi16(_mm256_loadu_si256(to), _mm256_movm_epi16(m)));
  }

  static NEGMERGE_HD F32 load_f16(const unsigned char* from) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  }
  NEGMERGE_HD void store_f16(unsigned char* to) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtps_ph(r, _MM_FROUND_TO_NEAREST_INT));
  }
  static NEGMERGE_HD F32 load_bf16(const unsigned char* from) {
    const __m512i bits = _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
    const __m512i to_upper_half = _mm512_slli_epi32(lane_numbers(), 16);
    return _mm512_castsi512_ps(_mm512_maskz_permutexvar_epi16(0xaaaaaaaa, to_upper_half, bits));
  }
  // Not VCVTNEPS2BF16, which flushes denormals.
  static constexpr int kRegistersOfBf16 = 1;
  template <bool kNan>
  static NEGMERGE_HD void store_bf16(const F32* from, unsigned char* to) {
    __m512i encoded = from->round_to_bf16();
    if constexpr (kNan)
      encoded = _mm512_mask_or_epi32(encoded, not_equal(*from, *from), from->bits(), _mm512_set1_epi32(0x400000));
    const __m512i lanes = lane_numbers();
    const __m512i upper_halves = _mm512_castsi256_si512(
        _mm512_cvtepi32_epi16(_mm512_add_epi32(_mm512_add_epi32(lanes, lanes), _mm512_set1_epi32(1))));
    const __m512i packed = _mm512_permutexvar_epi16(upper_halves, encoded);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_castsi512_si256(packed));
  }

  // Thirty-two 16-bit elements as they are stored. bf16 ones are two to a lane of an F32, the even and the odd ones.
  struct Stored16 {
    __m512i r;
    static NEGMERGE_HD Stored16 load(const void* from) { return {_mm512_loadu_si512(from)}; }
    NEGMERGE_HD void store(void* to) const { _mm512_storeu_si512(to, r); }

    NEGMERGE_HD F32 even_bf16() const { return from_bits(_mm512_slli_epi32(r, 16)); }
    NEGMERGE_HD F32 odd_bf16() const { return from_bits(_mm512_and_si512(r, constant(kOdd))); }
    // Of numbers only, not of NaN.
    static NEGMERGE_HD Stored16 interleaved_bf16(F32 even, F32 odd) {
      return {interleave(_mm512_srli_epi32(even.round_to_bf16(), 16), odd.round_to_bf16())};
    }
    static NEGMERGE_HD Stored16 joined_f16(F32 low, F32 high) {
      return {_mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtps_ph(low.r, _MM_FROUND_TO_NEAREST_INT)),
                                 _mm512_cvtps_ph(high.r, _MM_FROUND_TO_NEAREST_INT), 1)};
    }

    NEGMERGE_HD Stored16 sign() const { return {_mm512_and_si512(r, constant(kSigns))}; }
    friend NEGMERGE_HD Stored16 operator^(Stored16 a, Stored16 b) { return {_mm512_xor_si512(a.r, b.r)}; }
    // As signed integers.
    friend NEGMERGE_HD Stored16 lower(Stored16 a, Stored16 b) { return {_mm512_min_epi16(a.r, b.r)}; }
    friend NEGMERGE_HD Stored16 higher(Stored16 a, Stored16 b) { return {_mm512_max_epi16(a.r, b.r)}; }

    // Some of the elements.
    struct Where {
      __mmask32 m;
      static NEGMERGE_HD Where interleaved(Mask even, Mask odd) {
        return {_mm512_movepi16_mask(interleave(_mm512_movm_epi32(even), _mm512_movm_epi32(odd)))};
      }
      static NEGMERGE_HD Where joined(Mask low, Mask high) { return {_mm512_kunpackw(high, low)}; }
      friend NEGMERGE_HD Where both(Where a, Where b) { return {_kand_mask32(a.m, b.m)}; }
      NEGMERGE_HD bool any() const { return !_kortestz_mask32_u8(m, m); }
      NEGMERGE_HD uint32_t bits() const { return m; }
      NEGMERGE_HD Mask even() const { return _mm512_movepi32_mask(_mm512_slli_epi32(_mm512_movm_epi16(m), 16)); }
      NEGMERGE_HD Mask odd() const { return _mm512_movepi32_mask(_mm512_movm_epi16(m)); }
      NEGMERGE_HD Mask low() const { return static_cast<Mask>(m); }
      NEGMERGE_HD Mask high() const { return static_cast<Mask>(_kshiftri_mask32(m, 16)); }
    };
    // Where the range is beyond the base's magnitude, as signed integers: wholly above it, or wholly below and without
    // the exception, a zero of the other sign than a zero base's (layout.h).
    static NEGMERGE_HD Where beyond(Stored16 lowest, Stored16 highest, Stored16 magnitude) {
      // Zero for the exception.
      const __m512i usual = _mm512_or_si512(_mm512_xor_si512(lowest.r, constant(kSigns)), magnitude.r);
      const __mmask32 above = _mm512_cmpgt_epi16_mask(lowest.r, magnitude.r);
      const __mmask32 below = _mm512_cmpgt_epi16_mask(magnitude.r, highest.r);
      return {_kor_mask32(above, _mm512_mask_test_epi16_mask(below, usual, usual))};
    }
    friend NEGMERGE_HD Stored16 select(Where where, Stored16 a, Stored16 b) {
      return {_mm512_mask_blend_epi16(where.m, b.r, a.r)};
    }

   private:
    static constexpr auto kOdd = static_cast<int>(0xffff0000), kSigns = static_cast<int>(0x80008000);
    // The lower halves of lanes and the upper ones.
    static NEGMERGE_HD __m512i interleave(__m512i low, __m512i high) {
      return _mm512_mask_blend_epi16(0xaaaaaaaa, low, high);
    }
  };
  using StoredBf16 = Stored16;
  using StoredF16 = Stored16;

 private:
  NEGMERGE_HD __m512i bits() const { return _mm512_castps_si512(r); }
  static NEGMERGE_HD F32 from_bits(__m512i bits) { return _mm512_castsi512_ps(bits); }
  // GCC makes constants anew wherever they are used, in loops too, unless it does not know them.
  static NEGMERGE_HD __m512i constant(int32_t value) {
    __m512i all = _mm512_set1_epi32(value);
    __asm__("" : "+v"(all));
    return all;
  }
  // In the upper half of each lane.
  NEGMERGE_HD __m512i round_to_bf16() const {
    const __m512i even = _mm512_and_si512(_mm512_srli_epi32(bits(), 16), constant(1));
    return _mm512_add_epi32(bits(), _mm512_add_epi32(even, constant(0x7fff)));
  }
  static NEGMERGE_HD __m512i lane_numbers() {
    return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  }
};

struct F64 {
  using Scalar = double;
  using Mask = __mmask8;
  static constexpr int kLanes = 8;
  __m512d r;

  F64() = default;
  NEGMERGE_HD F64(__m512d value) : r(value) {}
  NEGMERGE_HD explicit F64(double value) : r(_mm512_set1_pd(value)) {}
  static NEGMERGE_HD F64 load(const double* from) { return _mm512_loadu_pd(from); }
  NEGMERGE_HD void store(double* to) const { _mm512_storeu_pd(to, r); }

  friend NEGMERGE_HD F64 operator+(F64 a, F64 b) { return _mm512_add_pd(a.r, b.r); }
  friend NEGMERGE_HD F64 operator-(F64 a, F64 b) { return _mm512_sub_pd(a.r, b.r); }
  friend NEGMERGE_HD F64 operator*(F64 a, F64 b) { return _mm512_mul_pd(a.r, b.r); }
  friend NEGMERGE_HD F64 operator/(F64 a, F64 b) { return _mm512_div_pd(a.r, b.r); }
  static NEGMERGE_HD F64 magnitude(F64 a) { return _mm512_abs_pd(a.r); }
  static NEGMERGE_HD F64 larger(F64 a, F64 b) { return _mm512_max_pd(a.r, b.r); }

  static NEGMERGE_HD F64 least() { return F64(-kInfinity); }
  static NEGMERGE_HD F64 most() { return F64(kInfinity); }
  static NEGMERGE_HD F64 lower(F64 a, F64 b) { return _mm512_min_pd(a.r, b.r); }
  static NEGMERGE_HD F64 higher(F64 a, F64 b) { return larger(a, b); }
  static NEGMERGE_HD Mask range_above_zero(F64 lowest) { return above(lowest, F64(0.0)); }
  static NEGMERGE_HD Mask range_below_zero(F64, F64 highest) { return above(F64(0.0), highest); }

  static NEGMERGE_HD Mask above(F64 a, F64 b) { return _mm512_cmp_pd_mask(a.r, b.r, _CMP_GT_OQ); }
  static NEGMERGE_HD Mask equal(F64 a, F64 b) { return _mm512_cmp_pd_mask(a.r, b.r, _CMP_EQ_OQ); }
  static NEGMERGE_HD Mask not_equal(F64 a, F64 b) { return _mm512_cmp_pd_mask(a.r, b.r, _CMP_NEQ_UQ); }
  // Quiet or signalling NaN, infinity of either sign.
  static NEGMERGE_HD Mask non_finite(F64 a) { return _mm512_fpclass_pd_mask(a.r, 0x99); }
  static NEGMERGE_HD F64 select(Mask m, F64 a, F64 b) { return _mm512_mask_blend_pd(m, b.r, a.r); }
  static NEGMERGE_HD Mask mask_and(Mask a, Mask b) { return _kand_mask8(a, b); }
  static NEGMERGE_HD Mask mask_or(Mask a, Mask b) { return _kor_mask8(a, b); }
  static NEGMERGE_HD bool any(Mask m) { return !_kortestz_mask8_u8(m, m); }
  static NEGMERGE_HD uint32_t mask_bits(Mask m) { return m; }
  static NEGMERGE_HD Mask mask_from_bits(uint32_t bits) { return static_cast<Mask>(bits); }

  static NEGMERGE_HD void count(Mask m, uint16_t* counts) {
    auto* const to = reinterpret_cast<__m128i*>(counts);
    _mm_storeu_si128(to, _mm_sub_epi16(_mm_loadu_si128(to), _mm_movm_epi16(m)));
  }

  static NEGMERGE_HD F64 load_wide(const float* from) { return _mm512_cvtps_pd(_mm256_loadu_ps(from)); }
  static NEGMERGE_HD void widen(F32 a, F64& low, F64& high) {
    low = _mm512_cvtps_pd(_mm512_castps512_ps256(a.r));
    high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(a.r, 1));
  }
  static NEGMERGE_HD F32 narrow(F64 low, F64 high) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(low.r)), _mm512_cvtpd_ps(high.r), 1);
  }
};

}  // namespace
}  // namespace negmerge
