// A merge whose inputs lie in files: each thread reads a piece of every model, merges it while it is in its cache,
// and goes on to the next.
#pragma once

#include <vector>

#include "../cpu/run.h"
#include "read.h"

namespace negmerge {

// A tensor of which some inputs lie in files: their addresses are then byte offsets. -1: in memory.
struct FileTensor {
  Tensor tensor;
  int base_file = -1;
  const int32_t* finetuned_file = nullptr;  // [models]
};

// All models at once, as run_merge without a state. Throws ReadError.
bool run_merge_files(const Merge& merge, const std::vector<FileTensor>& tensors, const std::vector<File>& files,
                     TensorStats* stats, int64_t* histogram, int threads, const Poll& poll);

}  // namespace negmerge
