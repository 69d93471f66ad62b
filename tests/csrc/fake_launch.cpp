// Merges of the fake device, by the CPU's kernels.
#include <algorithm>

#include "cpu/dispatch.h"
#include "fake_device.h"

namespace negmerge::cuda {

void fake_launch(const DeviceMerge& asked) {
  const Merge& merge = asked.merge;
  const size_t bins = merge.models + 1;
  for (size_t t = 0; t < asked.tensors.size(); t++) {
    const Tensor& tensor = asked.tensors[t];
    std::vector<int64_t> counts(merge.histogram ? bins : 0);
    for (size_t begin = 0; begin < tensor.numel; begin += kBlock) {
      BlockStats block;
      const size_t end = std::min(begin + kBlock, tensor.numel);
      active_kernels().merge_block(merge, tensor, begin, end, &block, counts.data());
      if (!merge.end) continue;
      TensorStats& row = asked.stats[t];
      row.kept += block.kept;
      row.non_finite += block.non_finite;
      row.sum_squares += block.sum_squares;
      row.max_abs = std::max(row.max_abs, block.max_abs);
    }
    if (merge.end)
      for (size_t h = 0; h < counts.size(); h++) asked.histogram[t * bins + h] += counts[h];
  }
}

size_t fake_workspace_bytes(size_t tensors, size_t inputs) { return tensors * 256 + inputs * 16; }

}  // namespace negmerge::cuda
