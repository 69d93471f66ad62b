// Elements as bits and as values of the compute type.
#pragma once

#include <type_traits>

#include "value.h"

namespace negmerge::cuda {

template <Dtype kDtype>
using BitsOf = std::conditional_t<kDtype == Dtype::f64, uint64_t, uint32_t>;
template <Dtype kDtype>
using DtypeTag = std::integral_constant<Dtype, kDtype>;

// Calls body(DtypeTag<dtype>()) for a dtype that is known at run time.
template <class Body>
NEGMERGE_HD void with_dtype(Dtype dtype, Body&& body) {
  switch (dtype) {
    case Dtype::f64: body(DtypeTag<Dtype::f64>()); break;
    case Dtype::f32: body(DtypeTag<Dtype::f32>()); break;
    case Dtype::f16: body(DtypeTag<Dtype::f16>()); break;
    case Dtype::bf16: body(DtypeTag<Dtype::bf16>()); break;
    case Dtype::e4m3: body(DtypeTag<Dtype::e4m3>()); break;
    case Dtype::e5m2: body(DtypeTag<Dtype::e5m2>()); break;
  }
}
// The same for an input of a merge in C: fp64 has the compute type fp64.
template <class C, class Body>
NEGMERGE_HD void with_input_dtype(Dtype dtype, Body&& body) {
  with_dtype(dtype, [&](auto tag) {
    if constexpr (std::is_same_v<C, double> || tag.value != Dtype::f64) body(tag);
  });
}

template <Dtype kDtype>
NEGMERGE_HD float single_of(uint32_t bits) {
  if constexpr (kDtype == Dtype::f32) return float_of(bits);
  if constexpr (kDtype == Dtype::bf16) return Bfloat16::decode(bits);
  if constexpr (kDtype == Dtype::e4m3) return E4M3::decode(bits);
  if constexpr (kDtype == Dtype::e5m2) return E5M2::decode(bits);
  if constexpr (kDtype == Dtype::f16) {
#if defined(__CUDA_ARCH__)
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(static_cast<uint16_t>(bits)));
    return value;
#else
    return Half::decode(bits);
#endif
  }
}

template <Dtype kDtype>
NEGMERGE_HD uint32_t bits_of_single(float value) {
  if constexpr (kDtype == Dtype::f32) return bits_of(value);
  if constexpr (kDtype == Dtype::e4m3) return E4M3::encode(value);
  if constexpr (kDtype == Dtype::e5m2) return E5M2::encode(value);
  if constexpr (kDtype == Dtype::f16) {
#if defined(__CUDA_ARCH__)
    uint16_t bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
#else
    return Half::encode(value);
#endif
  }
  if constexpr (kDtype == Dtype::bf16) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    uint16_t bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
#else
    return Bfloat16::encode(value);
#endif
  }
}

template <class C, Dtype kDtype>
NEGMERGE_HD Value<C> decode(BitsOf<kDtype> bits) {
  if constexpr (kDtype == Dtype::f64) {
    double value;
    memcpy(&value, &bits, sizeof(value));
    return Value<C>(value);
  } else {
    return Value<C>(single_of<kDtype>(bits));
  }
}

// fp64 goes to 16 and 8 bits through fp32.
template <Dtype kDtype, class C>
NEGMERGE_HD BitsOf<kDtype> encode(Value<C> value) {
  if constexpr (kDtype == Dtype::f64) {
    const double wide = value.v;
    uint64_t bits;
    memcpy(&bits, &wide, sizeof(bits));
    return bits;
  } else {
    return bits_of_single<kDtype>(static_cast<float>(value.v));
  }
}

}  // namespace negmerge::cuda
