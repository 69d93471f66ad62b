// How elements stand in the registers of a fused merge, and what it remembers of the signs of their differences. A
// layout L of a dtype and a register V:
//   L::P, L::kElements                           the numbers of a pack; how many, a multiple of kPack
//   L::Base, L::base(from), L::value(base)       the base's elements; as numbers
//   L::Range                                     lowest and highest of something that tells the differences' signs
//   L::visit_first(from, base, sum, range)       one model's elements, the first or another
//   L::visit(from, base, sum, range)
//   L::agreed(base, own, range) -> where         the elements whose differences have one sign, unless their sum is NaN;
//                                                own: the base's elements as they are stored
//   L::where(mask), L::mask(where)               from the mask of a P and back; where.bits() are in the order of memory
//   L::in_order(pack)                            in the order of memory
//   L::result(mode, base, merged, kept, scale)   what is written; in a mode that moves the base, at least where kept
//   L::store(result, mode, kept, own, to)        write it, or the base's elements where they are not moved; without NaN
//   L::load_wide(values, i)                      the elements 16 i to 16 i + 15 of a P in memory, as fp64; in_order()
//                                                turns them round as it does a P
//   L::kWholeRanges                              whether ranges wait whole between two groups of models
#pragma once

#include <type_traits>

#include "../methods/sign_mean.h"
#include "pack.h"
#include "tuning.h"

namespace negmerge {
namespace {

// As in memory, with the range of the differences themselves.
template <class V, Dtype kDtype>
struct InOrder {
  static constexpr size_t kElements = kPack;
  using P = Pack<V>;
  using Base = P;
  using Range = DeltaRange<P>;
  static constexpr bool kWholeRanges = item_size(kDtype) == 2;

  static NEGMERGE_HD Base base(const unsigned char* from) { return load_as<V, kDtype>(from); }
  static NEGMERGE_HD P value(const Base& base) { return base; }
  static NEGMERGE_HD void visit_first(const unsigned char* from, const Base& base, P& sum, Range& range) {
    negmerge::visit_first(load_as<V, kDtype>(from), base, sum, range);
  }
  static NEGMERGE_HD void visit(const unsigned char* from, const Base& base, P& sum, Range& range) {
    negmerge::visit(load_as<V, kDtype>(from), base, sum, range);
  }
  static NEGMERGE_HD PackMask<V> agreed(const Base&, const unsigned char*, const Range& range) {
    return either(above_zero(range), below_zero(range));
  }
  static NEGMERGE_HD PackMask<V> where(const PackMask<V>& mask) { return mask; }
  static NEGMERGE_HD PackMask<V> mask(const PackMask<V>& where) { return where; }
  template <class AnyPack>
  static NEGMERGE_HD AnyPack in_order(const AnyPack& pack) {
    return pack;
  }
  static NEGMERGE_HD P result(Mode mode, const P& base, const P& merged, const PackMask<V>& kept, const P& scale) {
    return negmerge::result(mode, base, merged, kept, scale);
  }
  static NEGMERGE_HD void store(const P& result, Mode, const PackMask<V>&, const unsigned char*, unsigned char* to) {
    store_as<false>(kDtype, result, to);
  }
  static NEGMERGE_HD Pack<F64> load_wide(const typename V::Scalar* values, size_t) {
    return negmerge::load_wide(values);
  }
};

// Two registers of bf16 elements, the even and the odd ones: split by a shift and a mask instead of a load and a
// permutation for each.
template <class V>
struct EvenAndOdd {
  static constexpr size_t kElements = 2 * V::kLanes;
  using P = Pack<V, kElements>;
  using Mask = typename P::Mask;
  using Stored = typename V::StoredBf16;

  static NEGMERGE_HD P numbers(const unsigned char*, Stored stored) {
    return P::of(stored.even_bf16(), stored.odd_bf16());
  }
  static NEGMERGE_HD Stored stored(const P& pack) { return Stored::interleaved_bf16(pack.v[0], pack.v[1]); }
  static NEGMERGE_HD typename Stored::Where where(const Mask& mask) {
    return Stored::Where::interleaved(mask.m[0], mask.m[1]);
  }
  static NEGMERGE_HD Mask mask(const typename Stored::Where& where) { return {{where.even(), where.odd()}}; }
  template <class AnyPack>
  static AnyPack in_order(const AnyPack& pack) {
    typename AnyPack::Scalar lane[AnyPack::kLanes], element[AnyPack::kLanes];
    pack.store(lane);
    for (size_t l = 0; l < AnyPack::kLanes; l++) element[l] = lane[l / 2 + l % 2 * (AnyPack::kLanes / 2)];
    return AnyPack::load(element);
  }
  static NEGMERGE_HD Pack<F64> load_wide(const float* values, size_t i) {
    const float* const even = values + i * (kPack / 2);
    return negmerge::load_wide(even, even + V::kLanes);
  }
};

// Two registers of fp16 elements as in memory.
template <class V>
struct Halves {
  static constexpr size_t kElements = 2 * V::kLanes;
  using P = Pack<V, kElements>;
  using Mask = typename P::Mask;
  using Stored = typename V::StoredF16;

  static NEGMERGE_HD P numbers(const unsigned char* from, Stored) {
    return P::of(V::load_f16(from), V::load_f16(from + V::kLanes * item_size(Dtype::f16)));
  }
  static NEGMERGE_HD Stored stored(const P& pack) { return Stored::joined_f16(pack.v[0], pack.v[1]); }
  static NEGMERGE_HD typename Stored::Where where(const Mask& mask) {
    return Stored::Where::joined(mask.m[0], mask.m[1]);
  }
  static NEGMERGE_HD Mask mask(const typename Stored::Where& where) { return {{where.low(), where.high()}}; }
  template <class AnyPack>
  static NEGMERGE_HD AnyPack in_order(const AnyPack& pack) {
    return pack;
  }
  static NEGMERGE_HD Pack<F64> load_wide(const float* values, size_t i) {
    return negmerge::load_wide(values + i * kPack);
  }
};

// Signs told by the stored bits, half as wide as differences. Of an element whose sign is turned by the base's, as an
// integer: it is above the base's magnitude if it lies on the far side of the base as seen from zero, equal if they are
// equal, and else below. The exception is a zero of the other sign than a zero base's: equal, and yet the lowest of all
// integers. Differences of two 16-bit numbers are never rounded to zero, so these are the signs of the rounded ones.
// NaN is left to the sum.
template <class Order>
struct ByStoredBits : Order {
  using typename Order::P;
  using typename Order::Stored;
  using Where = typename Stored::Where;
  struct Base {
    P value;
    Stored sign;
  };
  struct Range {
    Stored lowest, highest;
  };
  static constexpr bool kWholeRanges = true;

  static NEGMERGE_HD Base base(const unsigned char* from) {
    const Stored stored = Stored::load(from);
    return {Order::numbers(from, stored), stored.sign()};
  }
  static NEGMERGE_HD P value(const Base& base) { return base.value; }
  static NEGMERGE_HD void visit_first(const unsigned char* from, const Base& base, P& sum, Range& range) {
    const Stored stored = Stored::load(from);
    sum = Order::numbers(from, stored) - base.value;
    range.lowest = range.highest = stored ^ base.sign;
  }
  static NEGMERGE_HD void visit(const unsigned char* from, const Base& base, P& sum, Range& range) {
    const Stored stored = Stored::load(from), turned = stored ^ base.sign;
    sum = sum + (Order::numbers(from, stored) - base.value);
    range.lowest = lower(turned, range.lowest);
    range.highest = higher(turned, range.highest);
  }
  static NEGMERGE_HD Where agreed(const Base& base, const unsigned char* own, const Range& range) {
    return Stored::beyond(range.lowest, range.highest, Stored::load(own) ^ base.sign);
  }
  // Everywhere: store() puts in the base's elements, half as wide as numbers.
  static NEGMERGE_HD P result(Mode mode, const P& base, const P& merged, const Where&, const P& scale) {
    return moved(mode, base, merged, scale);
  }
  static NEGMERGE_HD void store(const P& result, Mode mode, const Where& kept, const unsigned char* own,
                                unsigned char* to) {
    const Stored stored = Order::stored(result);
    (mode == Mode::vector ? stored : select(kept, stored, Stored::load(own))).store(to);
  }
};

// By stored bits where V has a register of them that was measured to be faster (tuning.h).
template <class V, Dtype kDtype, class = void>
struct LayoutOf {
  using Type = InOrder<V, kDtype>;
};
template <class V>
struct LayoutOf<V, Dtype::bf16, std::void_t<typename V::StoredBf16>> {
  using Type = ByStoredBits<EvenAndOdd<V>>;
};
template <class V>
struct LayoutOf<V, Dtype::f16, std::void_t<typename V::StoredF16>> {
  using Type = ByStoredBits<Halves<V>>;
};
template <class V, Dtype kDtype>
using Layout = typename LayoutOf<V, kDtype>::Type;

}  // namespace
}  // namespace negmerge
