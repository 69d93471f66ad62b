// Plain C++ "registers": what every CPU can run. The loops are such that compilers make vector code of them.
#pragma once

#include "../dtype.h"

namespace negmerge {
namespace {

// Int is as wide as T; a mask is all ones or all zeros per lane.
template <class Self, class T, class Int, int kCount>
struct Plain {
  using Scalar = T;
  struct Mask {
    Int v[kCount];
  };
  static constexpr int kLanes = kCount;
  T v[kCount];

  Plain() = default;
  NEGMERGE_HD explicit Plain(T value) {
    for (T& x : v) x = value;
  }
  static NEGMERGE_HD Self load(const T* from) {
    Self r;
    memcpy(r.v, from, sizeof(r.v));
    return r;
  }
  NEGMERGE_HD void store(T* to) const { memcpy(to, v, sizeof(v)); }

  friend NEGMERGE_HD Self operator+(Self a, const Self& b) {
    for (int i = 0; i < kLanes; i++) a.v[i] += b.v[i];
    return a;
  }
  friend NEGMERGE_HD Self operator-(Self a, const Self& b) {
    for (int i = 0; i < kLanes; i++) a.v[i] -= b.v[i];
    return a;
  }
  friend NEGMERGE_HD Self operator*(Self a, const Self& b) {
    for (int i = 0; i < kLanes; i++) a.v[i] *= b.v[i];
    return a;
  }
  friend NEGMERGE_HD Self operator/(Self a, const Self& b) {
    for (int i = 0; i < kLanes; i++) a.v[i] /= b.v[i];
    return a;
  }
  static NEGMERGE_HD Self magnitude(Self a) {
    for (T& x : a.v) x = x < 0 ? -x : x;
    return a;
  }
  static NEGMERGE_HD Self larger(Self a, const Self& b) {
    for (int i = 0; i < kLanes; i++) a.v[i] = a.v[i] > b.v[i] ? a.v[i] : b.v[i];
    return a;
  }

  static NEGMERGE_HD Self least() { return Self(-static_cast<T>(kInfinity)); }
  static NEGMERGE_HD Self most() { return Self(static_cast<T>(kInfinity)); }
  static NEGMERGE_HD Self lower(Self a, const Self& b) {
    for (int i = 0; i < kLanes; i++) a.v[i] = a.v[i] < b.v[i] ? a.v[i] : b.v[i];
    return a;
  }
  static NEGMERGE_HD Self higher(const Self& a, const Self& b) { return larger(a, b); }
  static NEGMERGE_HD Mask range_above_zero(const Self& lowest) { return above(lowest, Self(0)); }
  static NEGMERGE_HD Mask range_below_zero(const Self&, const Self& highest) { return above(Self(0), highest); }

  static NEGMERGE_HD Mask above(const Self& a, const Self& b) {
    Mask m;
    for (int i = 0; i < kLanes; i++) m.v[i] = a.v[i] > b.v[i] ? -1 : 0;
    return m;
  }
  static NEGMERGE_HD Mask equal(const Self& a, const Self& b) {
    Mask m;
    for (int i = 0; i < kLanes; i++) m.v[i] = a.v[i] == b.v[i] ? -1 : 0;
    return m;
  }
  static NEGMERGE_HD Mask not_equal(const Self& a, const Self& b) {
    Mask m;
    for (int i = 0; i < kLanes; i++) m.v[i] = a.v[i] != b.v[i] ? -1 : 0;
    return m;
  }
  static NEGMERGE_HD Mask non_finite(const Self& a) {
    const Self nothing = a - a;  // 0 where finite, else NaN
    return not_equal(nothing, nothing);
  }
  static NEGMERGE_HD Self select(const Mask& m, const Self& a, const Self& b) {
    Int x[kLanes], y[kLanes];
    memcpy(x, a.v, sizeof(x));
    memcpy(y, b.v, sizeof(y));
    for (int i = 0; i < kLanes; i++) x[i] = (m.v[i] & x[i]) | (~m.v[i] & y[i]);
    Self r;
    memcpy(r.v, x, sizeof(x));
    return r;
  }
  static NEGMERGE_HD Mask mask_and(Mask a, const Mask& b) {
    for (int i = 0; i < kLanes; i++) a.v[i] &= b.v[i];
    return a;
  }
  static NEGMERGE_HD Mask mask_or(Mask a, const Mask& b) {
    for (int i = 0; i < kLanes; i++) a.v[i] |= b.v[i];
    return a;
  }
  static NEGMERGE_HD bool any(const Mask& m) { return mask_bits(m) != 0; }
  static NEGMERGE_HD uint32_t mask_bits(const Mask& m) {
    uint32_t bits = 0;
    for (int i = 0; i < kLanes; i++) bits |= static_cast<uint32_t>(m.v[i] & 1) << i;
    return bits;
  }
  static NEGMERGE_HD Mask mask_from_bits(uint32_t bits) {
    Mask m;
    for (int i = 0; i < kLanes; i++) m.v[i] = (bits & 1u << i) != 0 ? -1 : 0;
    return m;
  }
  // Add one to the counters of the lanes that are set.
  static NEGMERGE_HD void count(const Mask& m, uint16_t* counters) {
    for (int i = 0; i < kLanes; i++) counters[i] = static_cast<uint16_t>(counters[i] - m.v[i]);
  }
};

struct F32 : Plain<F32, float, int32_t, 8> {
  using Plain::Plain;

  static NEGMERGE_HD F32 load_f16(const unsigned char* from) { return load_16<Half>(from); }
  static NEGMERGE_HD F32 load_bf16(const unsigned char* from) { return load_16<Bfloat16>(from); }
  NEGMERGE_HD void store_f16(unsigned char* to) const { store_16<Half>(to); }
  static constexpr int kRegistersOfBf16 = 1;
  template <bool kNan>
  static NEGMERGE_HD void store_bf16(const F32* from, unsigned char* to) {
    from->store_16<Bfloat16>(to);
  }

 private:
  template <class Format>
  static NEGMERGE_HD F32 load_16(const unsigned char* from) {
    uint16_t bits[kLanes];
    memcpy(bits, from, sizeof(bits));
    F32 r;
    for (int i = 0; i < kLanes; i++) r.v[i] = Format::decode(bits[i]);
    return r;
  }
  template <class Format>
  NEGMERGE_HD void store_16(unsigned char* to) const {
    uint16_t bits[kLanes];
    for (int i = 0; i < kLanes; i++) bits[i] = static_cast<uint16_t>(Format::encode(v[i]));
    memcpy(to, bits, sizeof(bits));
  }
};

struct F64 : Plain<F64, double, int64_t, 4> {
  using Plain::Plain;

  static NEGMERGE_HD void widen(const F32& a, F64& low, F64& high) {
    for (int i = 0; i < kLanes; i++) low.v[i] = a.v[i], high.v[i] = a.v[i + kLanes];
  }
  static NEGMERGE_HD F32 narrow(const F64& low, const F64& high) {
    F32 r;
    for (int i = 0; i < kLanes; i++) {
      r.v[i] = static_cast<float>(low.v[i]);
      r.v[i + kLanes] = static_cast<float>(high.v[i]);
    }
    return r;
  }
};

}  // namespace
}  // namespace negmerge
