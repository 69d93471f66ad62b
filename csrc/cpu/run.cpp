#include "run.h"

#include <algorithm>
#include <mutex>

#include "block_table.h"
#include "dispatch.h"
#include "pool.h"

namespace negmerge {

bool run_merge(const Merge& merge, const std::vector<Tensor>& tensors, TensorStats* stats, int64_t* histogram,
               int threads, const Poll& poll) {
  BlockTable blocks;
  for (const Tensor& tensor : tensors) blocks.append(tensor.numel);
  blocks.allocate();
  const Kernels& kernels = active_kernels();
  const size_t bins = merge.models + 1;
  std::mutex histogram_mutex;

  const auto work = [&](size_t block) {
    const size_t t = blocks.tensor_of(block), number = block - blocks.first(t);
    const size_t begin = number * kBlock, end = std::min(begin + kBlock, tensors[t].numel);
    std::vector<int64_t> own(merge.histogram ? bins : 0);
    kernels.merge_block(merge, tensors[t], begin, end, blocks.stats(t, number), own.data());
    if (!merge.histogram || !merge.end) return;
    const std::lock_guard<std::mutex> lock(histogram_mutex);
    for (size_t h = 0; h < bins; h++) histogram[t * bins + h] += own[h];
  };
  if (!parallel_for(blocks.size(), threads, work, poll)) return false;
  if (merge.end) blocks.add_up(stats);
  return true;
}

}  // namespace negmerge
