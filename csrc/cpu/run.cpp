#include "run.h"

#include <algorithm>
#include <mutex>

#include "dispatch.h"
#include "float_environment.h"
#include "pool.h"

namespace negmerge {
namespace {

size_t blocks_of(size_t numel) { return (numel + kBlock - 1) / kBlock; }

}  // namespace

bool run_merge(const Merge& merge, const std::vector<Tensor>& tensors, TensorStats* stats, int64_t* histogram,
               int threads, const Poll& poll) {
  std::vector<size_t> first_block = {0};
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
  if (!parallel_for(block_stats.size(), threads, work, poll)) return false;
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

}  // namespace negmerge
