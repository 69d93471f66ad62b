// What the kernels of patched tensors are told.
#pragma once

#include "../cpu/run_apply.h"

namespace negmerge::cuda {

struct PatchCall {
  const CountedTensor* rows;    // none is empty
  const uint32_t* first_block;  // [count + 1] numbers of the first block of each row, and one past them
  uint32_t count;
  // Of a move: where the kept elements may be (two positions that may be one) and where they go.
  Position from, otherwise, to;
  int64_t* misplaced;
};

}  // namespace negmerge::cuda
