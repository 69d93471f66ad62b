// Vectors as GCC and Clang have them, 16 bytes long: registers that every CPU of the architectures has.
#pragma once

#include "../dtype.h"

namespace negmerge {
namespace {

// Self is the register itself; Int and Word are as wide as T. A mask is all ones or all zeros per lane.
template <class Self, class T, class Int, class Word>
struct Vector {
  using Scalar = T;
  static constexpr size_t kBytes = 16;
  static constexpr int kLanes = kBytes / sizeof(T);
  typedef T Values __attribute__((vector_size(kBytes)));
  typedef Int Mask __attribute__((vector_size(kBytes)));  // as comparisons give it
  Values r;

  Vector() = default;
  NEGMERGE_HD explicit Vector(T value) {
    for (int i = 0; i < kLanes; i++) r[i] = value;
  }
  static NEGMERGE_HD Self load(const T* from) {
    Self loaded;
    memcpy(&loaded.r, from, kBytes);
    return loaded;
  }
  NEGMERGE_HD void store(T* to) const { memcpy(to, &r, kBytes); }

  friend NEGMERGE_HD Self operator+(Self a, Self b) { return of(a.r + b.r); }
  friend NEGMERGE_HD Self operator-(Self a, Self b) { return of(a.r - b.r); }
  friend NEGMERGE_HD Self operator*(Self a, Self b) { return of(a.r * b.r); }
  friend NEGMERGE_HD Self operator/(Self a, Self b) { return of(a.r / b.r); }
  static NEGMERGE_HD Self magnitude(Self a) { return from_bits(a.bits() & ~Self(-T{0}).bits()); }
  static NEGMERGE_HD Self larger(Self a, Self b) { return select(a.r > b.r, a, b); }

  static NEGMERGE_HD Self least() { return Self(-static_cast<T>(kInfinity)); }
  static NEGMERGE_HD Self most() { return Self(static_cast<T>(kInfinity)); }
  static NEGMERGE_HD Self lower(Self a, Self b) { return select(a.r < b.r, a, b); }
  static NEGMERGE_HD Self higher(Self a, Self b) { return larger(a, b); }
  static NEGMERGE_HD Mask range_above_zero(Self lowest) { return above(lowest, Self(T{0})); }
  static NEGMERGE_HD Mask range_below_zero(Self, Self highest) { return above(Self(T{0}), highest); }

  static NEGMERGE_HD Mask above(Self a, Self b) { return a.r > b.r; }
  static NEGMERGE_HD Mask equal(Self a, Self b) { return a.r == b.r; }
  static NEGMERGE_HD Mask not_equal(Self a, Self b) { return a.r != b.r; }
  static NEGMERGE_HD Mask non_finite(Self a) {
    const Self nothing = a - a;  // 0 where finite, else NaN
    return not_equal(nothing, nothing);
  }
  static NEGMERGE_HD Self select(Mask m, Self a, Self b) { return from_bits(choose(m, a.bits(), b.bits())); }
  static NEGMERGE_HD Mask mask_and(Mask a, Mask b) { return a & b; }
  static NEGMERGE_HD Mask mask_or(Mask a, Mask b) { return a | b; }
  static NEGMERGE_HD bool any(Mask m) { return mask_bits(m) != 0; }
  static NEGMERGE_HD uint32_t mask_bits(Mask m) {
    m &= lane_bits();
    Int bits = 0;
    for (int i = 0; i < kLanes; i++) bits |= m[i];
    return static_cast<uint32_t>(bits);
  }
  static NEGMERGE_HD Mask mask_from_bits(uint32_t bits) { return (static_cast<Int>(bits) & lane_bits()) != 0; }
  // Add one to the counters of the lanes that are set.
  static NEGMERGE_HD void count(Mask m, uint16_t* counters) {
    for (int i = 0; i < kLanes; i++) counters[i] = static_cast<uint16_t>(counters[i] - m[i]);
  }

 protected:
  typedef Word Bits __attribute__((vector_size(kBytes)));

  NEGMERGE_HD Bits bits() const { return reinterpret_cast<Bits>(r); }
  static NEGMERGE_HD Self from_bits(Bits bits) { return of(reinterpret_cast<Values>(bits)); }
  static NEGMERGE_HD Bits choose(Mask m, Bits a, Bits b) {
    const Bits chosen = reinterpret_cast<Bits>(m);
    return (chosen & a) | (~chosen & b);
  }

 private:
  static NEGMERGE_HD Self of(Values values) {
    Self self;
    self.r = values;
    return self;
  }
  static NEGMERGE_HD Mask lane_bits() {
    Mask lanes;
    for (int i = 0; i < kLanes; i++) lanes[i] = Int{1} << i;
    return lanes;
  }
};

// 16-bit elements are converted as in csrc/dtype.h, with choices where that has branches.
struct F32 : Vector<F32, float, int32_t, uint32_t> {
  using Vector::Vector;

  static NEGMERGE_HD F32 load_f16(const unsigned char* from) {
    const Bits half = load_words(from), unsigned_half = half & Half::kMagnitude;
    const Bits high = unsigned_half << Half::kShift;
    // Denormals of the small format become denormals of fp32, so that one exact multiplication serves all.
    const F32 number = from_bits(high) * F32(float_of((254u - Half::kBias) << 23));
    const Bits decoded = choose(unsigned_half >= Half::kInf, high | most().bits(), number.bits());
    return from_bits((half & Half::kSign) << 16 | decoded);
  }
  NEGMERGE_HD void store_f16(unsigned char* to) const {
    constexpr uint32_t kNormal = static_cast<uint32_t>(128 - Half::kBias) << 23;
    const Bits positive = magnitude(*this).bits(), sign = bits() >> 16 & Half::kSign;
    // Below the smallest normal: adding a number whose last place is the small format's rounds to it.
    const F32 ruler(float_of(kNormal + (static_cast<uint32_t>(Half::kShift) << 23)));
    const Bits denormal = (from_bits(positive) + ruler).bits() - ruler.bits();
    const Bits even = positive >> Half::kShift & 1;
    Bits encoded = (positive - (kNormal - (1u << 23)) + (1u << (Half::kShift - 1)) - 1 + even) >> Half::kShift;
    encoded = choose(encoded > Half::kLargest, Bits{} + Half::kInf, encoded);
    encoded = choose(positive < kNormal, denormal, encoded);
    encoded = choose(positive > most().bits(), Bits{} + Half::kNan, encoded);
    store_words(sign | encoded, to);
  }
  static NEGMERGE_HD F32 load_bf16(const unsigned char* from) { return from_bits(load_words(from) << 16); }
  static constexpr int kRegistersOfBf16 = 1;
  template <bool kNan>
  static NEGMERGE_HD void store_bf16(const F32* from, unsigned char* to) {
    const Bits bits = from->bits();
    Bits encoded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    if constexpr (kNan) encoded = choose(not_equal(*from, *from), bits >> 16 | 0x40, encoded);
    store_words(encoded, to);
  }

 private:
  typedef uint16_t Words __attribute__((vector_size(kLanes * sizeof(uint16_t))));

  static NEGMERGE_HD Bits load_words(const unsigned char* from) {
    Words words;
    memcpy(&words, from, sizeof(words));
    return __builtin_convertvector(words, Bits);
  }
  static NEGMERGE_HD void store_words(Bits bits, unsigned char* to) {
    const Words words = __builtin_convertvector(bits, Words);
    memcpy(to, &words, sizeof(words));
  }
};

struct F64 : Vector<F64, double, int64_t, uint64_t> {
  using Vector::Vector;

  static NEGMERGE_HD F64 load_wide(const float* from) {
    F64 wide;
    for (int i = 0; i < kLanes; i++) wide.r[i] = from[i];
    return wide;
  }
  static NEGMERGE_HD void widen(F32 a, F64& low, F64& high) {
    for (int i = 0; i < kLanes; i++) low.r[i] = a.r[i], high.r[i] = a.r[i + kLanes];
  }
  static NEGMERGE_HD F32 narrow(F64 low, F64 high) {
    F32 r;
    for (int i = 0; i < kLanes; i++) {
      r.r[i] = static_cast<float>(low.r[i]);
      r.r[i + kLanes] = static_cast<float>(high.r[i]);
    }
    return r;
  }
};

}  // namespace
}  // namespace negmerge
