// The mean over all models, of elements that are chosen by whether all differences agree in sign. It takes a sum and
// the range of differences. Kernels have fast paths for this accumulation.
#pragma once

#include "method.h"

namespace negmerge {

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
NEGMERGE_HD MaskOf<V> all_positive(V sum, const DeltaRange<V>& range) {
  return both(above_zero(range), is_number(sum));
}
template <class V>
NEGMERGE_HD MaskOf<V> all_negative(V sum, const DeltaRange<V>& range) {
  return both(below_zero(range), is_number(sum));
}

// The merged task vector: the mean over all models where kept, zero elsewhere.
template <class V, class Mask>
NEGMERGE_HD V merged_vector(V sum, V models, Mask kept) {
  return select(kept, sum / models, V(0));
}

// Which elements enter the mean: those on whose sign all differences agree, and the others.
struct SignRule {
  bool agreeing, others;
};

template <class Mask>
NEGMERGE_HD Mask kept_by(SignRule rule, Mask agreed) {
  if (!rule.others) return agreed;
  return rule.agreeing ? everywhere(agreed) : complement(agreed);
}

struct SignMean {
  static constexpr int kValues = 1;
  static constexpr bool kSigns = true, kThresholds = false;

  template <class V>
  struct Running {
    V value[kValues];  // the sum
    DeltaRange<V> range;
  };

  template <class V>
  static NEGMERGE_HD void start(Running<V>& running) {
    running.value[0] = V(static_cast<typename V::Scalar>(kEmptySum));
    running.range = DeltaRange<V>();
  }
  template <class V>
  static NEGMERGE_HD V add(V finetuned, V base, Running<V>& running) {
    return visit(finetuned, base, running.value[0], running.range);
  }
};

// What every method of this accumulation is, given its rule.
template <bool kAgreeing, bool kOthers>
struct SignMeanMethod {
  using Accumulation = SignMean;
  static NEGMERGE_HD SignRule rule() { return {kAgreeing, kOthers}; }

  template <class V>
  static NEGMERGE_HD Outcome<V> finish(const SignMean::Running<V>& running, V models) {
    const V sum = running.value[0];
    const auto agreed = either(all_positive(sum, running.range), all_negative(sum, running.range));
    const auto kept = kept_by(rule(), agreed);
    return {sum, merged_vector(sum, models, kept), kept};
  }
};

}  // namespace negmerge
