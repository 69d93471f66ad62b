// Trimmed differences, of which those with the sign of their sum are averaged: Yadav et al., TIES-Merging: Resolving
// Interference When Merging Models, NeurIPS 2023. The thresholds of the trimming come from csrc/cpu/magnitudes.inc.
#pragma once

#include "method.h"

namespace negmerge {

struct Ties {
  static constexpr const char* kName = "ties";
  using Accumulation = Ties;
  static constexpr int kValues = 4;
  static constexpr bool kSigns = false, kThresholds = true;

  template <class V>
  struct Running {
    V value[kValues];  // sums of positive and of negative differences, numbers of both
  };

  template <class V>
  static NEGMERGE_HD void start(Running<V>& running) {
    for (V& value : running.value) value = V(0);
  }
  // A NaN is not trimmed; it goes to the first sum.
  template <class V>
  static NEGMERGE_HD V add(V finetuned, V base, V threshold, Running<V>& running) {
    const V zero(0), one(1), delta = finetuned - base;
    const V number = select(at_least(magnitude(delta), threshold), delta, zero);
    const V trimmed = select(is_number(delta), number, delta);
    const auto positive = above_zero(trimmed), negative = below_zero(trimmed);
    V* const value = running.value;
    value[0] = value[0] + select(negative, zero, trimmed);
    value[1] = value[1] + select(negative, trimmed, zero);
    value[2] = value[2] + select(positive, one, zero);
    value[3] = value[3] + select(negative, one, zero);
    return delta;
  }
  // Where the sums cancel, no sign is elected.
  template <class V>
  static NEGMERGE_HD Outcome<V> finish(const Running<V>& running, V) {
    const V* const value = running.value;
    const V total = value[0] + value[1];
    const V of_negative = select(below_zero(total), value[1] / value[3], select(is_number(total), V(0), total));
    return {total, select(above_zero(total), value[0] / value[2], of_negative), not_zero(total)};
  }
};

}  // namespace negmerge
