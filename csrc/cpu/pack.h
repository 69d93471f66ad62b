// Elements in as many registers as the instruction set needs: sixteen, or what a layout (layout.h) has together. V is a
// register of csrc/cpu/simd_*.h.
#pragma once

#include "../merge.h"
#include "fp8_tables.h"

namespace negmerge {
namespace {

template <class V, size_t kElements = kPack>
struct PackMask {
  static constexpr int kRegisters = kElements / V::kLanes;
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

template <class V, size_t kElements = kPack>
struct Pack {
  using Scalar = typename V::Scalar;
  using Mask = PackMask<V, kElements>;
  static constexpr size_t kLanes = kElements;
  static constexpr int kRegisters = kElements / V::kLanes;
  V v[kRegisters];

  Pack() = default;
  NEGMERGE_HD explicit Pack(Scalar value) {
    for (V& r : v) r = V(value);
  }
  static NEGMERGE_HD Pack of(V first, V second) {
    static_assert(kRegisters == 2, "both of them");
    Pack p;
    p.v[0] = first;
    p.v[1] = second;
    return p;
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

template <class V, size_t kElements>
NEGMERGE_HD Pack<V, kElements> operator+(Pack<V, kElements> a, const Pack<V, kElements>& b) {
  for (int i = 0; i < Pack<V, kElements>::kRegisters; i++) a.v[i] = a.v[i] + b.v[i];
  return a;
}
template <class V, size_t kElements>
NEGMERGE_HD Pack<V, kElements> operator-(Pack<V, kElements> a, const Pack<V, kElements>& b) {
  for (int i = 0; i < Pack<V, kElements>::kRegisters; i++) a.v[i] = a.v[i] - b.v[i];
  return a;
}
template <class V, size_t kElements>
NEGMERGE_HD Pack<V, kElements> operator*(Pack<V, kElements> a, const Pack<V, kElements>& b) {
  for (int i = 0; i < Pack<V, kElements>::kRegisters; i++) a.v[i] = a.v[i] * b.v[i];
  return a;
}
template <class V, size_t kElements>
NEGMERGE_HD Pack<V, kElements> operator/(Pack<V, kElements> a, const Pack<V, kElements>& b) {
  for (int i = 0; i < Pack<V, kElements>::kRegisters; i++) a.v[i] = a.v[i] / b.v[i];
  return a;
}
template <class V, size_t kElements>
NEGMERGE_HD Pack<V, kElements> magnitude(Pack<V, kElements> a) {
  for (V& r : a.v) r = V::magnitude(r);
  return a;
}
// The ends of a range of differences, see csrc/methods/sign_mean.h.
template <class V, size_t kElements>
NEGMERGE_HD Pack<V, kElements> lower(Pack<V, kElements> a, const Pack<V, kElements>& b) {
  for (int i = 0; i < Pack<V, kElements>::kRegisters; i++) a.v[i] = V::lower(a.v[i], b.v[i]);
  return a;
}
template <class V, size_t kElements>
NEGMERGE_HD Pack<V, kElements> higher(Pack<V, kElements> a, const Pack<V, kElements>& b) {
  for (int i = 0; i < Pack<V, kElements>::kRegisters; i++) a.v[i] = V::higher(a.v[i], b.v[i]);
  return a;
}
template <class V, size_t kElements>
NEGMERGE_HD PackMask<V, kElements> above_zero(const DeltaRange<Pack<V, kElements>>& range) {
  PackMask<V, kElements> mask;
  for (int i = 0; i < Pack<V, kElements>::kRegisters; i++) mask.m[i] = V::range_above_zero(range.lowest.v[i]);
  return mask;
}
template <class V, size_t kElements>
NEGMERGE_HD PackMask<V, kElements> below_zero(const DeltaRange<Pack<V, kElements>>& range) {
  PackMask<V, kElements> mask;
  for (int i = 0; i < Pack<V, kElements>::kRegisters; i++)
    mask.m[i] = V::range_below_zero(range.lowest.v[i], range.highest.v[i]);
  return mask;
}

// The larger by value; b where a is NaN.
template <class V, size_t kElements>
NEGMERGE_HD Pack<V, kElements> larger(Pack<V, kElements> a, const Pack<V, kElements>& b) {
  for (int i = 0; i < Pack<V, kElements>::kRegisters; i++) a.v[i] = V::larger(a.v[i], b.v[i]);
  return a;
}
template <class V, size_t kElements>
NEGMERGE_HD PackMask<V, kElements> above_zero(const Pack<V, kElements>& a) {
  PackMask<V, kElements> mask;
  for (int i = 0; i < Pack<V, kElements>::kRegisters; i++) mask.m[i] = V::above(a.v[i], V(0));
  return mask;
}
template <class V, size_t kElements>
NEGMERGE_HD PackMask<V, kElements> below_zero(const Pack<V, kElements>& a) {
  PackMask<V, kElements> mask;
  for (int i = 0; i < Pack<V, kElements>::kRegisters; i++) mask.m[i] = V::above(V(0), a.v[i]);
  return mask;
}
template <class V, size_t kElements>
NEGMERGE_HD PackMask<V, kElements> is_number(const Pack<V, kElements>& a) {
  PackMask<V, kElements> mask;
  for (int i = 0; i < Pack<V, kElements>::kRegisters; i++) mask.m[i] = V::equal(a.v[i], a.v[i]);
  return mask;
}
template <class V, size_t kElements>
NEGMERGE_HD PackMask<V, kElements> at_least(const Pack<V, kElements>& a, const Pack<V, kElements>& b) {
  PackMask<V, kElements> mask;
  for (int i = 0; i < Pack<V, kElements>::kRegisters; i++)
    mask.m[i] = V::mask_or(V::above(a.v[i], b.v[i]), V::equal(a.v[i], b.v[i]));
  return mask;
}
// NaN too.
template <class V, size_t kElements>
NEGMERGE_HD PackMask<V, kElements> not_zero(const Pack<V, kElements>& a) {
  PackMask<V, kElements> mask;
  for (int i = 0; i < Pack<V, kElements>::kRegisters; i++) mask.m[i] = V::not_equal(a.v[i], V(0));
  return mask;
}
template <class V, size_t kElements>
NEGMERGE_HD PackMask<V, kElements> everywhere(const PackMask<V, kElements>&) {
  return PackMask<V, kElements>::all();
}
template <class V, size_t kElements>
NEGMERGE_HD PackMask<V, kElements> complement(const PackMask<V, kElements>& a) {
  return PackMask<V, kElements>::from_bits(~a.bits());
}
template <class V, size_t kElements>
NEGMERGE_HD PackMask<V, kElements> both(PackMask<V, kElements> a, const PackMask<V, kElements>& b) {
  for (int i = 0; i < PackMask<V, kElements>::kRegisters; i++) a.m[i] = V::mask_and(a.m[i], b.m[i]);
  return a;
}
template <class V, size_t kElements>
NEGMERGE_HD PackMask<V, kElements> either(PackMask<V, kElements> a, const PackMask<V, kElements>& b) {
  for (int i = 0; i < PackMask<V, kElements>::kRegisters; i++) a.m[i] = V::mask_or(a.m[i], b.m[i]);
  return a;
}
template <class V, size_t kElements>
NEGMERGE_HD Pack<V, kElements> select(const PackMask<V, kElements>& mask, Pack<V, kElements> a,
                                      const Pack<V, kElements>& b) {
  for (int i = 0; i < Pack<V, kElements>::kRegisters; i++) a.v[i] = V::select(mask.m[i], a.v[i], b.v[i]);
  return a;
}
template <class V, size_t kElements>
NEGMERGE_HD PackMask<V, kElements> non_finite(const Pack<V, kElements>& a) {
  PackMask<V, kElements> mask;
  for (int i = 0; i < Pack<V, kElements>::kRegisters; i++) mask.m[i] = V::non_finite(a.v[i]);
  return mask;
}
template <class V, size_t kElements>
NEGMERGE_HD bool any_nan(const Pack<V, kElements>& a) {
  uint32_t bits = 0;
  for (int i = 0; i < Pack<V, kElements>::kRegisters; i++) bits |= V::mask_bits(V::not_equal(a.v[i], a.v[i]));
  return bits != 0;
}

template <size_t kElements>
NEGMERGE_HD Pack<F64, kElements> widen(const Pack<F32, kElements>& a) {
  Pack<F64, kElements> wide;
  for (int i = 0; i < Pack<F32, kElements>::kRegisters; i++) F64::widen(a.v[i], wide.v[2 * i], wide.v[2 * i + 1]);
  return wide;
}
// Sixteen elements as fp64, half of them from one place and half from another.
NEGMERGE_HD Pack<F64> load_wide(const float* first, const float* second) {
  constexpr int kHalf = Pack<F64>::kRegisters / 2;
  Pack<F64> wide;
  for (int i = 0; i < kHalf; i++) {
    wide.v[i] = F64::load_wide(first + i * F64::kLanes);
    wide.v[kHalf + i] = F64::load_wide(second + i * F64::kLanes);
  }
  return wide;
}
NEGMERGE_HD Pack<F64> load_wide(const float* from) { return load_wide(from, from + kPack / 2); }
NEGMERGE_HD Pack<F64> load_wide(const double* from) { return Pack<F64>::load(from); }
template <size_t kElements>
NEGMERGE_HD Pack<F32, kElements> narrow(const Pack<F64, kElements>& a) {
  Pack<F32, kElements> small;
  for (int i = 0; i < Pack<F32, kElements>::kRegisters; i++) small.v[i] = F64::narrow(a.v[2 * i], a.v[2 * i + 1]);
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

template <bool kNan = true, size_t kElements>
NEGMERGE_HD void store_as(Dtype dtype, const Pack<F32, kElements>& p, unsigned char* to) {
  alignas(64) float values[kElements];
  switch (dtype) {
    case Dtype::f64: widen(p).store(to); break;
    case Dtype::f32: p.store(to); break;
    case Dtype::f16:
      for (int i = 0; i < Pack<F32, kElements>::kRegisters; i++) p.v[i].store_f16(to + 2 * i * F32::kLanes);
      break;
    case Dtype::bf16:
      for (int i = 0; i < Pack<F32, kElements>::kRegisters; i += F32::kRegistersOfBf16)
        F32::store_bf16<kNan>(p.v + i, to + 2 * i * F32::kLanes);
      break;
    case Dtype::e4m3:
      p.store(values);
      for (size_t l = 0; l < kElements; l++) to[l] = static_cast<unsigned char>(E4M3::encode(values[l]));
      break;
    case Dtype::e5m2:
      p.store(values);
      for (size_t l = 0; l < kElements; l++) to[l] = static_cast<unsigned char>(E5M2::encode(values[l]));
      break;
  }
}
template <bool kNan = true, size_t kElements>
NEGMERGE_HD void store_as(Dtype dtype, const Pack<F64, kElements>& p, unsigned char* to) {
  if (dtype == Dtype::f64)
    p.store(to);
  else
    store_as<kNan>(dtype, narrow(p), to);  // through fp32, as torch converts
}

}  // namespace
}  // namespace negmerge
