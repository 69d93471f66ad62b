// The mean exactly where NegMerge keeps nothing: its complement within the uniform mean, by which its paper shows where
// forgetting comes from.
#pragma once

#include "sign_mean.h"

namespace negmerge {

struct Conflict : SignMeanMethod<false, true> {
  static constexpr const char* kName = "conflict";
};

}  // namespace negmerge
