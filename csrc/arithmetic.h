// The arithmetic of every method, once, for scalars, SIMD registers and CUDA alike (docs/arithmetic.md).
//
// V is a value or a vector of values of the compute type, Mask what its comparisons give; their functions (lower,
// higher, above_zero, below_zero, is_number, both, either, select) are found by argument type. Each operation is
// rounded by itself: translation units that include this header are compiled without contraction of multiplications and
// additions.
#pragma once

#include "dtype.h"

namespace negmerge {

// The numbers are part of the interface: negmerge_ext/methods.py and negmerge_ext/options.py list the same.
enum class Method : uint8_t { negmerge = 0, uniform = 1 };
enum class Mode : uint8_t { negate = 0, add = 1, vector = 2 };
constexpr int kMethods = 2, kModes = 3;

// The running sum starts here: -0.0 + x is x for every x, +0.0 + -0.0 is not.
constexpr double kEmptySum = -0.0;

// The lowest and the highest difference seen, in an order that V chooses: by value, or by their bits as signed integers
// where that is faster. Either puts positive numbers above +0 and negative ones below; -0 is the lowest of all bits.
template <class V>
struct DeltaRange {
  V lowest = V::most(), highest = V::least();
};

// Add one task vector to the running sum and widen the range of differences. Minimum and maximum cost half of what
// comparisons do; they may pass over a NaN or take it for a number of its sign, but it stays in the sum.
template <class V>
NEGMERGE_HD V visit(V finetuned, V base, V& sum, DeltaRange<V>& range) {
  const V delta = finetuned - base;
  sum = sum + delta;
  range.lowest = lower(delta, range.lowest);
  range.highest = higher(delta, range.highest);
  return delta;
}

// The same for the first task vector, whatever sum and range are.
template <class V>
NEGMERGE_HD void visit_first(V finetuned, V base, V& sum, DeltaRange<V>& range) {
  sum = range.lowest = range.highest = finetuned - base;
}

// Where all differences are positive. A sum is NaN if some difference is, or if infinities of both signs met; either
// way there is no consensus.
template <class V>
NEGMERGE_HD auto all_positive(V sum, const DeltaRange<V>& range) -> decltype(is_number(sum)) {
  return both(above_zero(range), is_number(sum));
}
template <class V>
NEGMERGE_HD auto all_negative(V sum, const DeltaRange<V>& range) -> decltype(is_number(sum)) {
  return both(below_zero(range), is_number(sum));
}

// The merged task vector: the mean over all models where kept, zero elsewhere.
template <class V, class Mask>
NEGMERGE_HD V merged_vector(V sum, V models, Mask kept) {
  return select(kept, sum / models, V(0));
}

// The same to the bit where the number of models is a power of two: its reciprocal is exact, so that the product and
// the quotient are roundings of one number.
template <class V, class Mask>
NEGMERGE_HD V merged_vector_by_reciprocal(V sum, V reciprocal, Mask kept) {
  return select(kept, sum * reciprocal, V(0));
}

// What is written: the base moved along the merged vector where kept, the base's own value elsewhere.
template <class V, class Mask>
NEGMERGE_HD V result(Mode mode, V base, V merged, Mask kept, V scale) {
  if (mode == Mode::vector) return merged;
  const V step = scale * merged;
  return select(kept, mode == Mode::negate ? base - step : base + step, base);
}

}  // namespace negmerge
