#include "run.h"

#include <algorithm>
#include <mutex>

#include "../keep_bits.h"
#include "block_table.h"
#include "dispatch.h"
#include "pool.h"

namespace negmerge {
namespace {

size_t blocks_of(size_t numel) { return (numel + kBlock - 1) / kBlock; }

}  // namespace

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

bool run_apply(Mode mode, double scale, const Tensor& tensor, const SparseVector& patch, int threads,
               const Poll& poll) {
  const size_t blocks = blocks_of(tensor.numel);
  std::vector<size_t> values_before(blocks + 1);
  for (size_t block = 0; block < blocks; block++) {
    const size_t begin = block * kBlock, elements = std::min(kBlock, tensor.numel - begin);
    values_before[block + 1] = values_before[block] + count_kept(elements, patch.keep + begin / kPack);
  }
  const size_t value_size = item_size(tensor.compute);
  const Kernels& kernels = active_kernels();
  const auto work = [&](size_t block) {
    const SparseVector part = {patch.keep, static_cast<const char*>(patch.values) + values_before[block] * value_size};
    kernels.apply_block(mode, scale, tensor, part, block * kBlock, std::min((block + 1) * kBlock, tensor.numel));
  };
  return parallel_for(blocks, threads, work, poll);
}

}  // namespace negmerge
