// How the sixteen elements of a pack stand in the registers of a fused merge, and what it remembers of the signs of
// their differences. A layout L of a dtype and a register V:
//   L::Base, L::base(from), L::value(base)       the base's elements; as numbers
//   L::Range                                     lowest and highest of something that tells the differences' signs
//   L::visit_first(from, base, sum, range)       one model's elements, the first or another
//   L::visit(from, base, sum, range)
//   L::agreed(own, range) -> mask                where all differences have one sign, unless the sum is NaN; own: the
//                                                base's elements as they are stored
//   L::bits(mask), L::in_order(pack)             back to the order of memory
//   L::store(pack, to)                           the same, for packs without NaN
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
  using P = Pack<V>;
  using Base = P;
  using Range = DeltaRange<P>;
  static constexpr bool kWholeRanges = item_size(kDtype) == 2 && kKeepRanges<V>;

  static NEGMERGE_HD Base base(const unsigned char* from) { return load_as<V, kDtype>(from); }
  static NEGMERGE_HD P value(const Base& base) { return base; }
  static NEGMERGE_HD void visit_first(const unsigned char* from, const Base& base, P& sum, Range& range) {
    negmerge::visit_first(load_as<V, kDtype>(from), base, sum, range);
  }
  static NEGMERGE_HD void visit(const unsigned char* from, const Base& base, P& sum, Range& range) {
    negmerge::visit(load_as<V, kDtype>(from), base, sum, range);
  }
  static NEGMERGE_HD PackMask<V> agreed(const unsigned char*, const Range& range) {
    return either(above_zero(range), below_zero(range));
  }
  static NEGMERGE_HD uint32_t bits(const PackMask<V>& mask) { return mask.bits(); }
  template <class AnyPack>
  static NEGMERGE_HD AnyPack in_order(const AnyPack& pack) {
    return pack;
  }
  static NEGMERGE_HD void store(const P& pack, unsigned char* to) { store_as<false>(kDtype, pack, to); }
};

// bf16, where V has a register of sixteen: split into two that hold the even elements and the odd ones, by a shift and
// a mask instead of a load and a permutation for each.
//
// Signs are told by the stored bits, half as wide as differences. Of an element whose sign is turned by the base's, as
// an integer: it is above the base's magnitude if it lies on the far side of the base as seen from zero, equal if they
// are equal, and else below. The exception is a zero of the other sign than a zero base's: equal, and yet the lowest of
// all integers. Differences of two bf16 numbers are never rounded to zero, so these are the signs of the rounded ones.
// NaN is left to the sum.
template <class V>
struct Split {
  using P = Pack<V>;
  using Stored = typename V::Bf16;
  struct Base {
    P value;
    Stored sign;
  };
  struct Range {
    Stored lowest, highest;
  };
  static constexpr bool kWholeRanges = true;
  static_assert(P::kRegisters == 2, "even and odd elements");

  static NEGMERGE_HD Base base(const unsigned char* from) {
    const Stored stored = Stored::load(from);
    return {split(stored), stored.sign()};
  }
  static NEGMERGE_HD P value(const Base& base) { return base.value; }
  static NEGMERGE_HD void visit_first(const unsigned char* from, const Base& base, P& sum, Range& range) {
    const Stored stored = Stored::load(from);
    sum = split(stored) - base.value;
    range.lowest = range.highest = stored ^ base.sign;
  }
  static NEGMERGE_HD void visit(const unsigned char* from, const Base& base, P& sum, Range& range) {
    const Stored stored = Stored::load(from), turned = stored ^ base.sign;
    sum = sum + (split(stored) - base.value);
    range.lowest = lower(turned, range.lowest);
    range.highest = higher(turned, range.highest);
  }
  static NEGMERGE_HD PackMask<V> agreed(const unsigned char* own, const Range& range) {
    const auto beyond = Stored::beyond(range.lowest, range.highest, Stored::load(own).magnitude());
    return {{beyond.even_mask(), beyond.odd_mask()}};
  }
  static NEGMERGE_HD uint32_t bits(const PackMask<V>& mask) { return Stored::mask_bits(mask.m[0], mask.m[1]); }
  template <class AnyPack>
  static AnyPack in_order(const AnyPack& pack) {
    typename AnyPack::Scalar lane[kPack], element[kPack];
    pack.store(lane);
    for (size_t l = 0; l < kPack; l++) element[l] = lane[l / 2 + l % 2 * (kPack / 2)];
    return AnyPack::load(element);
  }
  static NEGMERGE_HD void store(const P& pack, unsigned char* to) { Stored::join(pack.v[0], pack.v[1]).store(to); }

 private:
  static NEGMERGE_HD P split(Stored stored) {
    P pack;
    pack.v[0] = stored.even();
    pack.v[1] = stored.odd();
    return pack;
  }
};

template <class V, Dtype kDtype, class = void>
struct LayoutOf {
  using Type = InOrder<V, kDtype>;
};
template <class V>
struct LayoutOf<V, Dtype::bf16, std::void_t<typename V::Bf16>> {
  using Type = Split<V>;
};
template <class V, Dtype kDtype>
using Layout = typename LayoutOf<V, kDtype>::Type;

}  // namespace
}  // namespace negmerge
