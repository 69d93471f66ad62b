// What a method is to the kernels: how task vectors are accumulated, element by element, and what is made of that.
//
// An accumulation A says what is known of an element's differences between one model and the next:
//   A::kValues      running values of the compute type
//   A::kSigns       whether the range of all differences is known, too; of it, two bits outlast a call
//   A::kThresholds  whether each model has a threshold that its differences are compared with
//   A::Running<V>   V value[kValues], and DeltaRange<V> range with kSigns
//   A::start(running)
//   A::add(finetuned, base, running) or, with thresholds, A::add(finetuned, base, threshold, running) -> difference
//
// A method M names its Accumulation and makes an Outcome of what was accumulated over all models:
//   M::kName
//   M::finish(running, number of models) -> Outcome
#pragma once

#include <utility>

#include "../arithmetic.h"

namespace negmerge {

template <class V>
using MaskOf = decltype(is_number(std::declval<V>()));

template <class V>
struct Outcome {
  V total;         // infinite or NaN if a difference was, or if sums overflowed
  V merged;        // the merged task vector, zero where not kept
  MaskOf<V> kept;  // which elements enter it
};

// Adds the difference of one model, and returns it.
template <class A, class V, class Running>
NEGMERGE_HD V add_model(V finetuned, V base, [[maybe_unused]] const double* threshold, Running& running) {
  if constexpr (A::kThresholds)
    return A::add(finetuned, base, V(static_cast<typename V::Scalar>(*threshold)), running);
  else
    return A::add(finetuned, base, running);
}

}  // namespace negmerge
