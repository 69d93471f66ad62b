// What the kernel that counts magnitudes is told.
#pragma once

#include "../magnitude.h"
#include "table.h"

namespace negmerge::cuda {

struct MagnitudeCall {
  Table table;  // first_block: that of the group
  uint32_t rows, models;
  const uint64_t* prefixes;  // by model, as in Digit
  int shift, bits;
  bool wide;
  int64_t* counts;  // [models][1 << bits]
};

}  // namespace negmerge::cuda
