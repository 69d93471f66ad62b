#include "run.h"

#include <algorithm>
#include <mutex>

#include "../keep_bits.h"
#include "dispatch.h"
#include "float_environment.h"
#include "pool.h"
#include "tuning.h"

namespace negmerge {
namespace {

size_t blocks_of(size_t numel) { return (numel + kBlock - 1) / kBlock; }

// What a merge needs to know of all its tensors together.
Merge tuned(Merge merge, const std::vector<Tensor>& tensors) {
  size_t bytes = 0;
  for (const Tensor& tensor : tensors)
    if (tensor.out != nullptr) bytes += tensor.numel * item_size(tensor.out_dtype);
  merge.stream = bytes >= kStreamBytes;
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
  const Merge merge = tuned(asked, tensors);
  std::vector<size_t> first_block = {0};
  first_block.reserve(tensors.size() + 1);
  for (const Tensor& tensor : tensors) first_block.push_back(first_block.back() + blocks_of(tensor.numel));
  std::vector<BlockStats> block_stats(first_block.back());
  const Kernels& kernels = active_kernels();
  const size_t bins = merge.models + 1;
  std::mutex histogram_mutex;

  const auto work = [&](size_t block) {
    const size_t t =
        static_cast<size_t>(std::upper_bound(first_block.begin(), first_block.end(), block) - first_block.begin()) - 1;
    const size_t begin = (block - first_block[t]) * kBlock;
    const size_t end = std::min(begin + kBlock, tensors[t].numel);
    std::vector<int64_t> own(merge.histogram ? bins : 0);
    kernels.merge_block(merge, tensors[t], begin, end, &block_stats[block], own.data());
    if (!merge.histogram || !merge.end) return;
    const std::lock_guard<std::mutex> lock(histogram_mutex);
    for (size_t h = 0; h < bins; h++) histogram[t * bins + h] += own[h];
  };
  if (!parallel_for(block_stats.size(), useful_threads(merge, tensors, threads), work, poll)) return false;
  if (!merge.end) return true;

  const FloatEnvironment environment;  // sums of squares may be denormal
  for (size_t t = 0; t < tensors.size(); t++) {
    for (size_t block = first_block[t]; block < first_block[t + 1]; block++) {
      stats[t].kept += block_stats[block].kept;
      stats[t].non_finite += block_stats[block].non_finite;
      stats[t].sum_squares += block_stats[block].sum_squares;
      stats[t].max_abs = std::max(stats[t].max_abs, block_stats[block].max_abs);
    }
  }
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
