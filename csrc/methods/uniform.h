// The mean everywhere: Wortsman et al., Model soups, ICML 2022.
#pragma once

#include "sign_mean.h"

namespace negmerge {

struct Uniform : SignMeanMethod<true, true> {
  static constexpr const char* kName = "uniform";
};

}  // namespace negmerge
