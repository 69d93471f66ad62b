// The difference of largest magnitude: Marczak et al., MagMax: Leveraging Model Merging for Seamless Continual
// Learning, ECCV 2024.
#pragma once

#include "method.h"

namespace negmerge {

struct MagMax {
  static constexpr const char* kName = "magmax";
  using Accumulation = MagMax;
  static constexpr int kValues = 1;
  static constexpr bool kSigns = false, kThresholds = false;

  template <class V>
  struct Running {
    V value[kValues];  // the largest so far
  };

  template <class V>
  static NEGMERGE_HD void start(Running<V>& running) {
    running.value[0] = V(0);
  }
  // Of equal magnitudes the later one stays. A NaN stays whatever follows: no magnitude is at least its own.
  template <class V>
  static NEGMERGE_HD V add(V finetuned, V base, Running<V>& running) {
    const V delta = finetuned - base;
    V& largest = running.value[0];
    const V number = select(at_least(magnitude(delta), magnitude(largest)), delta, largest);
    largest = select(is_number(delta), number, delta);
    return delta;
  }
  template <class V>
  static NEGMERGE_HD Outcome<V> finish(const Running<V>& running, V) {
    const V largest = running.value[0];
    const auto kept = not_zero(largest);
    return {largest, select(kept, largest, V(0)), kept};
  }
};

}  // namespace negmerge
