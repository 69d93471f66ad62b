// Where all differences agree in sign, their mean: Kim et al., NegMerge: Sign-Consensual Weight Merging for Machine
// Unlearning, ICML 2025.
#pragma once

#include "sign_mean.h"

namespace negmerge {

struct NegMerge : SignMeanMethod<true, false> {
  static constexpr const char* kName = "negmerge";
};

}  // namespace negmerge
