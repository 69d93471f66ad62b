// Sixteen elements in as many registers as the instruction set needs. V is a register of csrc/cpu/simd_*.h.
#pragma once

#include "../merge.h"
#include "fp8_tables.h"

namespace negmerge {
namespace {

template <class V>
struct PackMask {
  static constexpr int kRegisters = kPack / V::kLanes;
  typename V::Mask m[kRegisters];

  static NEGMERGE_HD PackMask all() {
    PackMask mask;
    for (int i = 0; i < kRegisters; i++) mask.m[i] = V::mask_from_bits(~0u);
    return mask;
  }
  static NEGMERGE_HD PackMask from_bits(uint32_t bits) {
    PackMask mask;
    for (int i = 0; i < kRegisters; i++) mask.m[i] = V::mask_from_bits(bits >> (i * V::kLanes));
    return mask;
  }
  NEGMERGE_HD uint32_t bits() const {
    uint32_t bits = 0;
    for (int i = 0; i < kRegisters; i++) bits |= V::mask_bits(m[i]) << (i * V::kLanes);
    return bits;
  }
  NEGMERGE_HD bool any() const {
    typename V::Mask some = m[0];
    for (int i = 1; i < kRegisters; i++) some = V::mask_or(some, m[i]);
    return V::any(some);
  }
};

template <class V>
struct Pack {
  using Scalar = typename V::Scalar;
  using Mask = PackMask<V>;
  static constexpr int kRegisters = kPack / V::kLanes;
  V v[kRegisters];

  Pack() = default;
  NEGMERGE_HD explicit Pack(Scalar value) {
    for (V& r : v) r = V(value);
  }
  static NEGMERGE_HD Pack load(const void* from) {
    Pack p;
    for (int i = 0; i < kRegisters; i++) p.v[i] = V::load(static_cast<const Scalar*>(from) + i * V::kLanes);
    return p;
  }
  NEGMERGE_HD void store(void* to) const {
    for (int i = 0; i < kRegisters; i++) v[i].store(static_cast<Scalar*>(to) + i * V::kLanes);
  }
  static NEGMERGE_HD Pack least() { return all(V::least()); }
  static NEGMERGE_HD Pack most() { return all(V::most()); }

 private:
  static NEGMERGE_HD Pack all(V value) {
    Pack p;
    for (V& r : p.v) r = value;
    return p;
  }
};

template <class V>
NEGMERGE_HD Pack<V> operator+(Pack<V> a, const Pack<V>& b) {
  for (int i = 0; i < Pack<V>::kRegisters; i++) a.v[i] = a.v[i] + b.v[i];
  return a;
}
template <class V>
NEGMERGE_HD Pack<V> operator-(Pack<V> a, const Pack<V>& b) {
  for (int i = 0; i < Pack<V>::kRegisters; i++) a.v[i] = a.v[i] - b.v[i];
  return a;
}
template <class V>
NEGMERGE_HD Pack<V> operator*(Pack<V> a, const Pack<V>& b) {
  for (int i = 0; i < Pack<V>::kRegisters; i++) a.v[i] = a.v[i] * b.v[i];
  return a;
}
template <class V>
NEGMERGE_HD Pack<V> operator/(Pack<V> a, const Pack<V>& b) {
  for (int i = 0; i < Pack<V>::kRegisters; i++) a.v[i] = a.v[i] / b.v[i];
  return a;
}
template <class V>
NEGMERGE_HD Pack<V> magnitude(Pack<V> a) {
  for (V& r : a.v) r = V::magnitude(r);
  return a;
}
// The ends of a range of differences, see csrc/methods/sign_mean.h.
template <class V>
NEGMERGE_HD Pack<V> lower(Pack<V> a, const Pack<V>& b) {
  for (int i = 0; i < Pack<V>::kRegisters; i++) a.v[i] = V::lower(a.v[i], b.v[i]);
  return a;
}
template <class V>
NEGMERGE_HD Pack<V> higher(Pack<V> a, const Pack<V>& b) {
  for (int i = 0; i < Pack<V>::kRegisters; i++) a.v[i] = V::higher(a.v[i], b.v[i]);
  return a;
}
template <class V>
NEGMERGE_HD PackMask<V> above_zero(const DeltaRange<Pack<V>>& range) {
  PackMask<V> mask;
  for (int i = 0; i < Pack<V>::kRegisters; i++) mask.m[i] = V::range_above_zero(range.lowest.v[i]);
  return mask;
}
template <class V>
NEGMERGE_HD PackMask<V> below_zero(const DeltaRange<Pack<V>>& range) {
  PackMask<V> mask;
  for (int i = 0; i < Pack<V>::kRegisters; i++) mask.m[i] = V::range_below_zero(range.lowest.v[i], range.highest.v[i]);
  return mask;
}

// The larger by value; b where a is NaN.
template <class V>
NEGMERGE_HD Pack<V> larger(Pack<V> a, const Pack<V>& b) {
  for (int i = 0; i < Pack<V>::kRegisters; i++) a.v[i] = V::larger(a.v[i], b.v[i]);
  return a;
}
template <class V>
NEGMERGE_HD PackMask<V> above_zero(const Pack<V>& a) {
  PackMask<V> mask;
  for (int i = 0; i < Pack<V>::kRegisters; i++) mask.m[i] = V::above(a.v[i], V(0));
  return mask;
}
template <class V>
NEGMERGE_HD PackMask<V> below_zero(const Pack<V>& a) {
  PackMask<V> mask;
  for (int i = 0; i < Pack<V>::kRegisters; i++) mask.m[i] = V::above(V(0), a.v[i]);
  return mask;
}
template <class V>
NEGMERGE_HD PackMask<V> is_number(const Pack<V>& a) {
  PackMask<V> mask;
  for (int i = 0; i < Pack<V>::kRegisters; i++) mask.m[i] = V::equal(a.v[i], a.v[i]);
  return mask;
}
template <class V>
NEGMERGE_HD PackMask<V> at_least(const Pack<V>& a, const Pack<V>& b) {
  PackMask<V> mask;
  for (int i = 0; i < Pack<V>::kRegisters; i++)
    mask.m[i] = V::mask_or(V::above(a.v[i], b.v[i]), V::equal(a.v[i], b.v[i]));
  return mask;
}
// NaN too.
template <class V>
NEGMERGE_HD PackMask<V> not_zero(const Pack<V>& a) {
  PackMask<V> mask;
  for (int i = 0; i < Pack<V>::kRegisters; i++) mask.m[i] = V::not_equal(a.v[i], V(0));
  return mask;
}
template <class V>
NEGMERGE_HD PackMask<V> everywhere(const PackMask<V>&) {
  return PackMask<V>::all();
}
template <class V>
NEGMERGE_HD PackMask<V> complement(const PackMask<V>& a) {
  return PackMask<V>::from_bits(~a.bits());
}
template <class V>
NEGMERGE_HD PackMask<V> both(PackMask<V> a, const PackMask<V>& b) {
  for (int i = 0; i < PackMask<V>::kRegisters; i++) a.m[i] = V::mask_and(a.m[i], b.m[i]);
  return a;
}
template <class V>
NEGMERGE_HD PackMask<V> either(PackMask<V> a, const PackMask<V>& b) {
  for (int i = 0; i < PackMask<V>::kRegisters; i++) a.m[i] = V::mask_or(a.m[i], b.m[i]);
  return a;
}
template <class V>
NEGMERGE_HD Pack<V> select(const PackMask<V>& mask, Pack<V> a, const Pack<V>& b) {
  for (int i = 0; i < Pack<V>::kRegisters; i++) a.v[i] = V::select(mask.m[i], a.v[i], b.v[i]);
  return a;
}
template <class V>
NEGMERGE_HD PackMask<V> non_finite(const Pack<V>& a) {
  PackMask<V> mask;
  for (int i = 0; i < Pack<V>::kRegisters; i++) mask.m[i] = V::non_finite(a.v[i]);
  return mask;
}
template <class V>
NEGMERGE_HD bool any_nan(const Pack<V>& a) {
  uint32_t bits = 0;
  for (int i = 0; i < Pack<V>::kRegisters; i++) bits |= V::mask_bits(V::not_equal(a.v[i], a.v[i]));
  return bits != 0;
}

NEGMERGE_HD Pack<F64> widen(const Pack<F32>& a) {
  Pack<F64> wide;
  for (int i = 0; i < Pack<F32>::kRegisters; i++) F64::widen(a.v[i], wide.v[2 * i], wide.v[2 * i + 1]);
  return wide;
}
// Sixteen elements as fp64.
NEGMERGE_HD Pack<F64> load_wide(const float* from) {
  Pack<F64> wide;
  for (int i = 0; i < Pack<F64>::kRegisters; i++) wide.v[i] = F64::load_wide(from + i * F64::kLanes);
  return wide;
}
NEGMERGE_HD Pack<F64> load_wide(const double* from) { return Pack<F64>::load(from); }
NEGMERGE_HD Pack<F32> narrow(const Pack<F64>& a) {
  Pack<F32> small;
  for (int i = 0; i < Pack<F32>::kRegisters; i++) small.v[i] = F64::narrow(a.v[2 * i], a.v[2 * i + 1]);
  return small;
}

template <Dtype kDtype>
NEGMERGE_HD Pack<F32> load_f32(const unsigned char* from) {
  Pack<F32> p;
  if constexpr (kDtype == Dtype::f32) {
    p = Pack<F32>::load(from);
  } else if constexpr (kDtype == Dtype::f16) {
    for (int i = 0; i < Pack<F32>::kRegisters; i++) p.v[i] = F32::load_f16(from + 2 * i * F32::kLanes);
  } else if constexpr (kDtype == Dtype::bf16) {
    for (int i = 0; i < Pack<F32>::kRegisters; i++) p.v[i] = F32::load_bf16(from + 2 * i * F32::kLanes);
  } else {
    const Fp8Table& table = kDtype == Dtype::e4m3 ? kE4M3Table : kE5M2Table;
    alignas(64) float values[kPack];
    for (size_t l = 0; l < kPack; l++) values[l] = table.value[from[l]];
    p = Pack<F32>::load(values);
  }
  return p;
}

// Sixteen elements of a dtype as the compute type. fp64 is read only where the compute type is fp64.
template <class V, Dtype kDtype>
NEGMERGE_HD Pack<V> load_as(const unsigned char* from) {
  if constexpr (kDtype == Dtype::f64) {
    static_assert(sizeof(typename V::Scalar) == 8, "fp64 input needs fp64 arithmetic");
    return Pack<V>::load(from);
  } else if constexpr (sizeof(typename V::Scalar) == 8) {
    return widen(load_f32<kDtype>(from));
  } else {
    return load_f32<kDtype>(from);
  }
}

template <bool kNan = true>
NEGMERGE_HD void store_as(Dtype dtype, const Pack<F32>& p, unsigned char* to) {
  alignas(64) float values[kPack];
  switch (dtype) {
    case Dtype::f64: widen(p).store(to); break;
    case Dtype::f32: p.store(to); break;
    case Dtype::f16:
      for (int i = 0; i < Pack<F32>::kRegisters; i++) p.v[i].store_f16(to + 2 * i * F32::kLanes);
      break;
    case Dtype::bf16:
      for (int i = 0; i < Pack<F32>::kRegisters; i += F32::kRegistersOfBf16)
        F32::store_bf16<kNan>(p.v + i, to + 2 * i * F32::kLanes);
      break;
    case Dtype::e4m3:
      p.store(values);
      for (size_t l = 0; l < kPack; l++) to[l] = static_cast<unsigned char>(E4M3::encode(values[l]));
      break;
    case Dtype::e5m2:
      p.store(values);
      for (size_t l = 0; l < kPack; l++) to[l] = static_cast<unsigned char>(E5M2::encode(values[l]));
      break;
  }
}
template <bool kNan = true>
NEGMERGE_HD void store_as(Dtype dtype, const Pack<F64>& p, unsigned char* to) {
  if (dtype == Dtype::f64)
    p.store(to);
  else
    store_as<kNan>(dtype, narrow(p), to);  // through fp32, as torch converts
}

}  // namespace
}  // namespace negmerge
