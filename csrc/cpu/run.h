// Whole calls on the CPU: many tensors, cut into blocks, spread over threads.
#pragma once

#include <functional>
#include <vector>

#include "../merge.h"

namespace negmerge {

using Poll = std::function<bool()>;

// One row per tensor, added to. The layout is negmerge_ext/stats.py's NATIVE_STATS.
struct TensorStats {
  int64_t kept, non_finite;
  double sum_squares, max_abs;
};

// `stats` is by tensor or null, `histogram` [tensors][models + 1] or null; both are added to. Returns false if poll()
// stopped it.
bool run_merge(const Merge& merge, const std::vector<Tensor>& tensors, TensorStats* stats, int64_t* histogram,
               int threads, const Poll& poll);

}  // namespace negmerge
