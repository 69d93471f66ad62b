// What is known of a method by its number. Not for kernels: they must have no functions that a linker could share.
#pragma once

#include "methods.h"

namespace negmerge {

struct MethodFacts {
  const char* name;
  size_t values;  // running values of an element
  bool signs, thresholds, sign_mean;
};

inline MethodFacts facts_of(uint8_t number) {
  MethodFacts facts = {};
  Methods::with(number, [&](auto method) {
    using M = decltype(method);
    using A = typename M::Accumulation;
    facts = {M::kName, A::kValues, A::kSigns, A::kThresholds, kIsSignMean<M>};
  });
  return facts;
}

}  // namespace negmerge
