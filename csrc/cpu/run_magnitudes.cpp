#include "run_magnitudes.h"

#include <algorithm>
#include <memory>

#include "block_table.h"
#include "dispatch.h"
#include "per_thread.h"
#include "pool.h"

namespace negmerge {
namespace {

// Blocks for each thread from which it is worth adding up a table of its own.
constexpr size_t kWorthATable = 16;

using Counted = std::vector<int64_t>;

}  // namespace

bool run_count_magnitudes(const std::vector<Tensor>& tensors, const std::vector<Digit>& digits, int64_t* counts,
                          int threads, const Poll& poll) {
  BlockTable blocks;
  for (const Tensor& tensor : tensors) blocks.append(tensor.numel);
  const Kernels& kernels = active_kernels();
  const bool alone = blocks.size() < kWorthATable * static_cast<size_t>(threads);
  for (size_t model = 0; model < digits.size(); model++) {
    const Digit& digit = digits[model];
    const size_t bins = size_t{1} << digit.bits;
    int64_t* const total = counts + model * bins;
    PerThread<Counted> tables([=] { return std::make_unique<Counted>(bins); });
    const auto work = [&](size_t block) {
      const size_t t = blocks.tensor_of(block), begin = (block - blocks.first(t)) * kBlock;
      const size_t end = std::min(begin + kBlock, tensors[t].numel);
      if (alone) return kernels.count_magnitudes(tensors[t], begin, end, model, digit, total);
      Counted& table = tables.take();
      kernels.count_magnitudes(tensors[t], begin, end, model, digit, table.data());
      tables.give_back(table);
    };
    if (!parallel_for(blocks.size(), alone ? 1 : threads, work, poll)) return false;
    for (const auto& table : tables.all())
      for (size_t bin = 0; bin < bins; bin++) total[bin] += (*table)[bin];
  }
  return true;
}

}  // namespace negmerge
