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

  static NEGMERGE_HD Mask above(F32 a, F32 b) { return _mm512_cmp_ps_mask(a.r, b.r, _CMP_GT_OQ); }
  static NEGMERGE_HD Mask not_equal(F32 a, F32 b) { return _mm512_cmp_ps_mask(a.r, b.r, _CMP_NEQ_UQ); }
  static NEGMERGE_HD F32 select(Mask m, F32 a, F32 b) { return _mm512_mask_blend_ps(m, b.r, a.r); }
  static NEGMERGE_HD Mask mask_and(Mask a, Mask b) { return static_cast<Mask>(a & b); }
  static NEGMERGE_HD uint32_t mask_bits(Mask m) { return m; }
  static NEGMERGE_HD Mask mask_from_bits(uint32_t bits) { return static_cast<Mask>(bits); }

  static NEGMERGE_HD F32 load_f16(const unsigned char* from) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  }
  NEGMERGE_HD void store_f16(unsigned char* to) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtps_ph(r, _MM_FROUND_TO_NEAREST_INT));
  }
  static NEGMERGE_HD F32 load_bf16(const unsigned char* from) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
  // Not VCVTNEPS2BF16, which flushes denormals.
  NEGMERGE_HD void store_bf16(unsigned char* to) const {
    const __m512i bits = _mm512_castps_si512(r), high = _mm512_srli_epi32(bits, 16);
    const __m512i even = _mm512_and_si512(high, _mm512_set1_epi32(1));
    const __m512i rounded =
        _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(even, _mm512_set1_epi32(0x7fff))), 16);
    const __m512i quiet = _mm512_or_si512(high, _mm512_set1_epi32(0x40));
    const __m512i encoded = _mm512_mask_blend_epi32(not_equal(r, r), rounded, quiet);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(encoded));
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

  static NEGMERGE_HD Mask above(F64 a, F64 b) { return _mm512_cmp_pd_mask(a.r, b.r, _CMP_GT_OQ); }
  static NEGMERGE_HD Mask not_equal(F64 a, F64 b) { return _mm512_cmp_pd_mask(a.r, b.r, _CMP_NEQ_UQ); }
  static NEGMERGE_HD F64 select(Mask m, F64 a, F64 b) { return _mm512_mask_blend_pd(m, b.r, a.r); }
  static NEGMERGE_HD Mask mask_and(Mask a, Mask b) { return static_cast<Mask>(a & b); }
  static NEGMERGE_HD uint32_t mask_bits(Mask m) { return m; }
  static NEGMERGE_HD Mask mask_from_bits(uint32_t bits) { return static_cast<Mask>(bits); }

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
