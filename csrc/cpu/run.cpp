#include "run.h"

#include <algorithm>
#include <mutex>

#include "block_table.h"
#include "dispatch.h"
#include "pool.h"
#include "processor.h"
#include "tuning.h"

namespace negmerge {
namespace {

// What a merge needs to know of all its tensors together, and of the processor.
Merge tuned(Merge merge, const std::vector<Tensor>& tensors) {
  size_t bytes = 0;
  for (const Tensor& tensor : tensors)
    if (tensor.out != nullptr) bytes += tensor.numel * item_size(tensor.out_dtype);
  merge.stream = bytes > kStreamBytes;
  merge.prefetch_near = prefers_near_prefetch();
  return merge;
}

int useful_threads(const Merge& merge, const std::vector<Tensor>& tensors, int threads) {
  size_t elements = 0;
  for (const Tensor& tensor : tensors) elements += tensor.numel * (merge.models_given + 1);
  return elements <= kAloneElements ? 1 : threads;
}

}  // namespace

bool run_merge(const Merge& asked, const std::vector<Tensor>& tensors, TensorStats* stats, int64_t* histogram,
               int threads, const Poll& poll) {
  Merge merge = tuned(asked, tensors);
  merge.statistics = stats != nullptr;
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
  if (!parallel_for(blocks.size(), useful_threads(merge, tensors, threads), work, poll)) return false;
  if (merge.end && merge.statistics) blocks.add_up(stats);
  return true;
}

}  // namespace negmerge
