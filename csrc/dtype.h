// Element types and their scalar conversions, for host and device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define NEGMERGE_HD __host__ __device__ __forceinline__
#else
#define NEGMERGE_HD inline __attribute__((always_inline))
#endif

namespace negmerge {

// The numbers are part of the interface: negmerge_ext/dtypes.py lists the same.
enum class Dtype : uint8_t { f64 = 0, f32 = 1, f16 = 2, bf16 = 3, e4m3 = 4, e5m2 = 5 };
constexpr int kDtypes = 6;

constexpr NEGMERGE_HD size_t item_size(Dtype dtype) {
  switch (dtype) {
    case Dtype::f64: return 8;
    case Dtype::f32: return 4;
    case Dtype::f16:
    case Dtype::bf16: return 2;
    default: return 1;
  }
}

constexpr float kInfinity = __builtin_huge_valf();

NEGMERGE_HD uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  return bits;
}

NEGMERGE_HD float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

// A binary format with one sign bit, kExponent exponent bits and kMantissa mantissa bits, stored in the low bits
// of a word. With kInfinity the largest exponent means infinity and NaN (IEEE 754: fp16, e5m2); without, only the
// pattern of all ones is NaN and encoding saturates (e4m3fn, as torch converts).
template <int kExponent, int kMantissa, bool kInfinity>
struct SmallFloat {
  static constexpr int kBias = (1 << (kExponent - 1)) - 1;
  static constexpr int kShift = 23 - kMantissa;
  static constexpr uint32_t kSign = 1u << (kExponent + kMantissa);
  static constexpr uint32_t kMagnitude = kSign - 1;
  static constexpr uint32_t kInf = ((1u << kExponent) - 1) << kMantissa;
  static constexpr uint32_t kNan = kInfinity ? kInf | (1u << (kMantissa - 1)) : kMagnitude;
  static constexpr uint32_t kLargest = kInfinity ? kInf - 1 : kMagnitude - 1;

  NEGMERGE_HD static float decode(uint32_t bits) {
    const uint32_t magnitude = bits & kMagnitude;
    const uint32_t sign = (bits & kSign) << (31 - kExponent - kMantissa);
    // Denormals of the small format become denormals of fp32, so that one exact multiplication serves all.
    const float value = float_of(magnitude << kShift) * float_of((254u - kBias) << 23);
    const bool special = kInfinity ? magnitude >= kInf : magnitude == kMagnitude;
    const uint32_t payload = kInfinity ? magnitude << kShift : 0x00400000u;
    return float_of(sign | (special ? 0x7f800000u | payload : bits_of(value)));
  }

  NEGMERGE_HD static uint32_t encode(float value) {
    const uint32_t bits = bits_of(value);
    const uint32_t magnitude = bits & 0x7fffffffu;
    const uint32_t sign = (bits >> (31 - kExponent - kMantissa)) & kSign;
    if (magnitude > 0x7f800000u) return sign | kNan;
    uint32_t rounded;
    if (magnitude < static_cast<uint32_t>(128 - kBias) << 23) {
      // Below the smallest normal: adding a number whose last place is the small format's rounds to it.
      const uint32_t ruler = static_cast<uint32_t>(128 - kBias + kShift) << 23;
      rounded = bits_of(float_of(magnitude) + float_of(ruler)) - ruler;
    } else {
      const uint32_t even = (magnitude >> kShift) & 1;
      rounded = (magnitude + (1u << (kShift - 1)) - 1 + even) >> kShift;
      rounded -= static_cast<uint32_t>(127 - kBias) << kMantissa;
      if (rounded > kLargest) rounded = kInfinity ? kInf : kLargest;
    }
    return sign | rounded;
  }
};

using Half = SmallFloat<5, 10, true>;
using E4M3 = SmallFloat<4, 3, false>;
using E5M2 = SmallFloat<5, 2, true>;

struct Bfloat16 {
  NEGMERGE_HD static float decode(uint32_t bits) { return float_of(bits << 16); }

  NEGMERGE_HD static uint32_t encode(float value) {
    const uint32_t bits = bits_of(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return bits >> 16 | 0x40;
    return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  }
};

}  // namespace negmerge
