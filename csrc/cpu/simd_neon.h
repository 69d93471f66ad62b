// NEON registers of AArch64.
#pragma once

#include <arm_neon.h>

#include "../dtype.h"

namespace negmerge {
namespace {

struct F32 {
  using Scalar = float;
  using Mask = uint32x4_t;
  static constexpr int kLanes = 4;
  float32x4_t r;

  F32() = default;
  NEGMERGE_HD F32(float32x4_t value) : r(value) {}
  NEGMERGE_HD explicit F32(float value) : r(vdupq_n_f32(value)) {}
  static NEGMERGE_HD F32 load(const float* from) { return vld1q_f32(from); }
  NEGMERGE_HD void store(float* to) const { vst1q_f32(to, r); }

  friend NEGMERGE_HD F32 operator+(F32 a, F32 b) { return vaddq_f32(a.r, b.r); }
  friend NEGMERGE_HD F32 operator-(F32 a, F32 b) { return vsubq_f32(a.r, b.r); }
  friend NEGMERGE_HD F32 operator*(F32 a, F32 b) { return vmulq_f32(a.r, b.r); }
  friend NEGMERGE_HD F32 operator/(F32 a, F32 b) { return vdivq_f32(a.r, b.r); }
  static NEGMERGE_HD F32 magnitude(F32 a) { return vabsq_f32(a.r); }
  static NEGMERGE_HD F32 larger(F32 a, F32 b) { return vbslq_f32(vcgtq_f32(a.r, b.r), a.r, b.r); }

  // Ranges by bits: minima of numbers would pass on a NaN.
  static NEGMERGE_HD F32 least() { return F32(-0.0f); }
  static NEGMERGE_HD F32 most() { return F32(kInfinity); }
  static NEGMERGE_HD F32 lower(F32 a, F32 b) { return vreinterpretq_f32_s32(vminq_s32(a.bits(), b.bits())); }
  static NEGMERGE_HD F32 higher(F32 a, F32 b) { return vreinterpretq_f32_s32(vmaxq_s32(a.bits(), b.bits())); }
  static NEGMERGE_HD Mask range_above_zero(F32 lowest) { return vcgtzq_s32(lowest.bits()); }
  static NEGMERGE_HD Mask range_below_zero(F32 lowest, F32 highest) {
    return vbicq_u32(vcltzq_s32(highest.bits()), vceqq_s32(lowest.bits(), least().bits()));
  }

  static NEGMERGE_HD Mask above(F32 a, F32 b) { return vcgtq_f32(a.r, b.r); }
  static NEGMERGE_HD Mask equal(F32 a, F32 b) { return vceqq_f32(a.r, b.r); }
  static NEGMERGE_HD Mask not_equal(F32 a, F32 b) { return vmvnq_u32(vceqq_f32(a.r, b.r)); }
  static NEGMERGE_HD Mask non_finite(F32 a) {
    const F32 nothing = a - a;  // 0 where finite, else NaN
    return not_equal(nothing, nothing);
  }
  static NEGMERGE_HD F32 select(Mask m, F32 a, F32 b) { return vbslq_f32(m, a.r, b.r); }
  static NEGMERGE_HD Mask mask_and(Mask a, Mask b) { return vandq_u32(a, b); }
  static NEGMERGE_HD Mask mask_or(Mask a, Mask b) { return vorrq_u32(a, b); }
  static NEGMERGE_HD void count(Mask m, uint16_t* counters) {
    vst1_u16(counters, vsub_u16(vld1_u16(counters), vmovn_u32(m)));
  }
  static NEGMERGE_HD bool any(Mask m) { return vmaxvq_u32(m) != 0; }
  static NEGMERGE_HD uint32_t mask_bits(Mask m) {
    const uint32x4_t lane = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(m, lane));
  }
  static NEGMERGE_HD Mask mask_from_bits(uint32_t bits) {
    const uint32x4_t lane = {1, 2, 4, 8};
    return vtstq_u32(vdupq_n_u32(bits), lane);
  }

  static NEGMERGE_HD F32 load_f16(const unsigned char* from) {
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(from)));
  }
  NEGMERGE_HD void store_f16(unsigned char* to) const { vst1_u8(to, vreinterpret_u8_f16(vcvt_f16_f32(r))); }
  static NEGMERGE_HD F32 load_bf16(const unsigned char* from) {
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(from)), 16));
  }
  static constexpr int kRegistersOfBf16 = 1;
  template <bool kNan>
  static NEGMERGE_HD void store_bf16(const F32* from, unsigned char* to) {
    const uint32x4_t bits = vreinterpretq_u32_f32(from->r), high = vshrq_n_u32(bits, 16);
    const uint32x4_t even = vandq_u32(high, vdupq_n_u32(1));
    uint32x4_t encoded = vshrq_n_u32(vaddq_u32(bits, vaddq_u32(even, vdupq_n_u32(0x7fff))), 16);
    if constexpr (kNan) encoded = vbslq_u32(not_equal(*from, *from), vorrq_u32(high, vdupq_n_u32(0x40)), encoded);
    vst1_u8(to, vreinterpret_u8_u16(vmovn_u32(encoded)));
  }

 private:
  NEGMERGE_HD int32x4_t bits() const { return vreinterpretq_s32_f32(r); }
};

struct F64 {
  using Scalar = double;
  using Mask = uint64x2_t;
  static constexpr int kLanes = 2;
  float64x2_t r;

  F64() = default;
  NEGMERGE_HD F64(float64x2_t value) : r(value) {}
  NEGMERGE_HD explicit F64(double value) : r(vdupq_n_f64(value)) {}
  static NEGMERGE_HD F64 load(const double* from) { return vld1q_f64(from); }
  NEGMERGE_HD void store(double* to) const { vst1q_f64(to, r); }

  friend NEGMERGE_HD F64 operator+(F64 a, F64 b) { return vaddq_f64(a.r, b.r); }
  friend NEGMERGE_HD F64 operator-(F64 a, F64 b) { return vsubq_f64(a.r, b.r); }
  friend NEGMERGE_HD F64 operator*(F64 a, F64 b) { return vmulq_f64(a.r, b.r); }
  friend NEGMERGE_HD F64 operator/(F64 a, F64 b) { return vdivq_f64(a.r, b.r); }
  static NEGMERGE_HD F64 magnitude(F64 a) { return vabsq_f64(a.r); }
  static NEGMERGE_HD F64 larger(F64 a, F64 b) { return vbslq_f64(vcgtq_f64(a.r, b.r), a.r, b.r); }

  static NEGMERGE_HD F64 least() { return F64(-kInfinity); }
  static NEGMERGE_HD F64 most() { return F64(kInfinity); }
  static NEGMERGE_HD F64 lower(F64 a, F64 b) { return vbslq_f64(vcltq_f64(a.r, b.r), a.r, b.r); }
  static NEGMERGE_HD F64 higher(F64 a, F64 b) { return larger(a, b); }
  static NEGMERGE_HD Mask range_above_zero(F64 lowest) { return above(lowest, F64(0.0)); }
  static NEGMERGE_HD Mask range_below_zero(F64, F64 highest) { return above(F64(0.0), highest); }

  static NEGMERGE_HD Mask above(F64 a, F64 b) { return vcgtq_f64(a.r, b.r); }
  static NEGMERGE_HD Mask equal(F64 a, F64 b) { return vceqq_f64(a.r, b.r); }
  static NEGMERGE_HD Mask not_equal(F64 a, F64 b) {
    return vreinterpretq_u64_u32(vmvnq_u32(vreinterpretq_u32_u64(vceqq_f64(a.r, b.r))));
  }
  static NEGMERGE_HD Mask non_finite(F64 a) {
    const F64 nothing = a - a;
    return not_equal(nothing, nothing);
  }
  static NEGMERGE_HD F64 select(Mask m, F64 a, F64 b) { return vbslq_f64(m, a.r, b.r); }
  static NEGMERGE_HD Mask mask_and(Mask a, Mask b) { return vandq_u64(a, b); }
  static NEGMERGE_HD Mask mask_or(Mask a, Mask b) { return vorrq_u64(a, b); }
  static NEGMERGE_HD void count(Mask m, uint16_t* counters) {
    counters[0] = static_cast<uint16_t>(counters[0] - vgetq_lane_u64(m, 0));
    counters[1] = static_cast<uint16_t>(counters[1] - vgetq_lane_u64(m, 1));
  }
  static NEGMERGE_HD bool any(Mask m) { return (vgetq_lane_u64(m, 0) | vgetq_lane_u64(m, 1)) != 0; }
  static NEGMERGE_HD uint32_t mask_bits(Mask m) {
    return static_cast<uint32_t>((vgetq_lane_u64(m, 0) & 1) | (vgetq_lane_u64(m, 1) & 2));
  }
  static NEGMERGE_HD Mask mask_from_bits(uint32_t bits) {
    const uint64x2_t lane = {1, 2};
    return vtstq_u64(vdupq_n_u64(bits), lane);
  }

  static NEGMERGE_HD F64 load_wide(const float* from) { return vcvt_f64_f32(vld1_f32(from)); }
  static NEGMERGE_HD void widen(F32 a, F64& low, F64& high) {
    low = vcvt_f64_f32(vget_low_f32(a.r));
    high = vcvt_high_f64_f32(a.r);
  }
  static NEGMERGE_HD F32 narrow(F64 low, F64 high) { return vcvt_high_f32_f64(vcvt_f32_f64(low.r), high.r); }
};

}  // namespace
}  // namespace negmerge
