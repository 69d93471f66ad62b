// The blocks of a batch of tensors, and what is counted in each.
#pragma once

#include <algorithm>
#include <vector>

#include "float_environment.h"
#include "run.h"

namespace negmerge {

class BlockTable {
 public:
  // Adds the blocks of the next tensor.
  void append(size_t numel) { first_.push_back(first_.back() + (numel + kBlock - 1) / kBlock); }
  // To be called when all tensors are in it.
  void allocate() { stats_.resize(first_.back()); }

  size_t size() const { return first_.back(); }
  BlockStats* stats(size_t tensor, size_t block) { return &stats_[first_[tensor] + block]; }
  // The tensor that a block of the batch belongs to, and its number there.
  size_t tensor_of(size_t block) const {
    return static_cast<size_t>(std::upper_bound(first_.begin(), first_.end(), block) - first_.begin()) - 1;
  }
  size_t first(size_t tensor) const { return first_[tensor]; }

  // Adds the blocks of each tensor, in order, to its row.
  void add_up(TensorStats* rows) const {
    const FloatEnvironment environment;  // sums of squares may be denormal
    for (size_t t = 0; t + 1 < first_.size(); t++) {
      for (size_t block = first_[t]; block < first_[t + 1]; block++) {
        rows[t].kept += stats_[block].kept;
        rows[t].non_finite += stats_[block].non_finite;
        rows[t].sum_squares += stats_[block].sum_squares;
        rows[t].max_abs = std::max(rows[t].max_abs, stats_[block].max_abs);
      }
    }
  }

 private:
  std::vector<size_t> first_ = {0};
  std::vector<BlockStats> stats_;
};

}  // namespace negmerge
