// Plain C++ "registers": what every CPU can run.
#pragma once

#include "../dtype.h"

namespace negmerge {
namespace {

template <class Self, class T, int kCount>
struct Plain {
  using Scalar = T;
  using Mask = uint32_t;
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

  static NEGMERGE_HD Mask above(const Self& a, const Self& b) {
    Mask m = 0;
    for (int i = 0; i < kLanes; i++) m |= static_cast<Mask>(a.v[i] > b.v[i]) << i;
    return m;
  }
  static NEGMERGE_HD Mask not_equal(const Self& a, const Self& b) {
    Mask m = 0;
    for (int i = 0; i < kLanes; i++) m |= static_cast<Mask>(a.v[i] != b.v[i]) << i;
    return m;
  }
  static NEGMERGE_HD Self select(Mask m, Self a, const Self& b) {
    for (int i = 0; i < kLanes; i++) a.v[i] = m >> i & 1 ? a.v[i] : b.v[i];
    return a;
  }
  static NEGMERGE_HD Mask mask_and(Mask a, Mask b) { return a & b; }
  static NEGMERGE_HD uint32_t mask_bits(Mask m) { return m; }
  static NEGMERGE_HD Mask mask_from_bits(uint32_t bits) { return bits & ((1u << kLanes) - 1); }
};

struct F32 : Plain<F32, float, 8> {
  using Plain::Plain;

  static NEGMERGE_HD F32 load_f16(const unsigned char* from) { return load_16<Half>(from); }
  static NEGMERGE_HD F32 load_bf16(const unsigned char* from) { return load_16<Bfloat16>(from); }
  NEGMERGE_HD void store_f16(unsigned char* to) const { store_16<Half>(to); }
  NEGMERGE_HD void store_bf16(unsigned char* to) const { store_16<Bfloat16>(to); }

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

struct F64 : Plain<F64, double, 4> {
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
