// The norms of a tensor's blocks, added in order to its statistics.
#pragma once

#include "launch.h"
#include "merge_call.h"
#include "value.h"

namespace negmerge::cuda {

struct SharedNorms {
  BlockNorm block[kThreads];
};

// Each block of the launch takes one row. Threads fetch, one of them adds.
NEGMERGE_HD void add_norms(const Cta& cta, const Call& call, SharedNorms& shared) {
  const Row& row = call.table.rows[cta.block];
  const size_t blocks = blocks_of(row.numel);
  TensorStats& stats = call.stats[row.tensor];
  for (size_t first = 0; first < blocks; first += kThreads) {
    const int count = static_cast<int>(blocks - first < kThreads ? blocks - first : kThreads);
    cta.each([&](int thread) {
      if (thread < count)
        shared.block[thread] = call.block_norms[row.first_block + first + static_cast<size_t>(thread)];
    });
    cta.each([&](int thread) {
      if (thread > 0) return;
      Value<double> sum(stats.sum_squares), largest(stats.max_abs);
      for (int i = 0; i < count; i++) {
        sum = sum + Value<double>(shared.block[i].sum_squares);
        largest = larger(Value<double>(shared.block[i].max_abs), largest);
      }
      // Which NaN an addition gives is up to the machine.
      stats.sum_squares = sum.v == sum.v ? sum.v : __builtin_nan("");
      stats.max_abs = largest.v;
    });
  }
}

}  // namespace negmerge::cuda
