#include "run_magnitudes.h"

#include <algorithm>
#include <memory>
#include <mutex>

#include "block_table.h"
#include "dispatch.h"
#include "pool.h"

namespace negmerge {
namespace {

// Blocks for each thread from which it is worth adding up a table of its own.
constexpr size_t kWorthATable = 16;

// A table of counts for each thread at work.
class Tables {
 public:
  explicit Tables(size_t bins) : bins_(bins) {}

  int64_t* take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (idle_.empty()) {
      all_.push_back(std::make_unique<std::vector<int64_t>>(bins_));
      return all_.back()->data();
    }
    int64_t* const table = idle_.back();
    idle_.pop_back();
    return table;
  }
  void give_back(int64_t* table) {
    const std::lock_guard<std::mutex> lock(mutex_);
    idle_.push_back(table);
  }
  void add_to(int64_t* counts) const {
    for (const auto& table : all_)
      for (size_t bin = 0; bin < bins_; bin++) counts[bin] += (*table)[bin];
  }

 private:
  const size_t bins_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<std::vector<int64_t>>> all_;
  std::vector<int64_t*> idle_;
};

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
    Tables tables(bins);
    const auto work = [&](size_t block) {
      const size_t t = blocks.tensor_of(block), begin = (block - blocks.first(t)) * kBlock;
      const size_t end = std::min(begin + kBlock, tensors[t].numel);
      int64_t* const table = alone ? total : tables.take();
      kernels.count_magnitudes(tensors[t], begin, end, model, digit, table);
      if (!alone) tables.give_back(table);
    };
    if (!parallel_for(blocks.size(), alone ? 1 : threads, work, poll)) return false;
    tables.add_to(total);
  }
  return true;
}

}  // namespace negmerge
