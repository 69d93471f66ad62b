#include "run_apply.h"

#include <algorithm>
#include <atomic>

#include "block_table.h"
#include "dispatch.h"
#include "pool.h"

namespace negmerge {
namespace {

size_t blocks_of(size_t numel) { return (numel + kBlock - 1) / kBlock; }

// One block of several tensors: its elements [begin, end), the first of whose kept ones is number `first`.
struct Block {
  const CountedTensor& counted;
  size_t begin, end, first;
};

// The blocks of several tensors, numbered one after the other.
class Blocks {
 public:
  explicit Blocks(const std::vector<CountedTensor>& tensors) : tensors_(tensors) {
    for (const CountedTensor& counted : tensors) table_.append(counted.tensor.numel);
  }
  size_t count() const { return table_.size(); }
  Block operator[](size_t number) const {
    const size_t t = table_.tensor_of(number), block = number - table_.first(t), begin = block * kBlock;
    return {tensors_[t], begin, std::min(begin + kBlock, tensors_[t].tensor.numel),
            static_cast<size_t>(tensors_[t].kept_before[block])};
  }

 private:
  const std::vector<CountedTensor>& tensors_;
  BlockTable table_;
};

bool never() { return false; }

}  // namespace

std::vector<int64_t> count_before_blocks(size_t numel, const uint16_t* keep) {
  const SparseKernels& kernels = active_kernels().sparse;
  std::vector<int64_t> before = {0};
  for (size_t begin = 0; begin < numel; begin += kBlock)
    before.push_back(before.back() +
                     static_cast<int64_t>(kernels.count(std::min(kBlock, numel - begin), keep + begin / kPack)));
  return before;
}

bool run_apply(Mode mode, double scale, const Tensor& tensor, const SparseVector& vector, int threads,
               const Poll& poll) {
  const SparseKernels& kernels = active_kernels().sparse;
  const std::vector<int64_t> before = count_before_blocks(tensor.numel, vector.keep);
  const auto work = [&](size_t block) {
    const char* values =
        static_cast<const char*>(vector.values) + static_cast<size_t>(before[block]) * item_size(tensor.compute);
    const size_t begin = block * kBlock, end = std::min(begin + kBlock, tensor.numel);
    kernels.apply_block(mode, scale, tensor, {vector.keep, values}, begin, end);
  };
  return parallel_for(blocks_of(tensor.numel), threads, work, poll);
}

bool run_remember(const std::vector<CountedTensor>& tensors, int threads, const Poll& poll) {
  const SparseKernels& kernels = active_kernels().sparse;
  const Blocks blocks(tensors);
  const auto work = [&](size_t number) {
    const Block block = blocks[number];
    const PatchedTensor& tensor = block.counted.tensor;
    const size_t size = item_size(tensor.dtype);
    kernels.gather(size, block.end - block.begin, static_cast<const char*>(tensor.elements) + block.begin * size,
                   tensor.vector.keep + block.begin / kPack, static_cast<char*>(tensor.base) + block.first * size);
  };
  return parallel_for(blocks.count(), threads, work, poll);
}

Moved run_move(const std::vector<CountedTensor>& tensors, const Position& from, const Position* otherwise,
               const Position& to, int threads, const Poll& poll) {
  const SparseKernels& kernels = active_kernels().sparse;
  const Blocks blocks(tensors);
  std::vector<size_t> moved(blocks.count());  // of each block, the element up to which it was moved
  std::atomic<bool> elsewhere{false};
  const auto work = [&](size_t number) {
    const Block block = blocks[number];
    moved[number] = block.begin;
    if (elsewhere) return;
    moved[number] = kernels.move_block(block.counted.tensor, from, otherwise, to, block.begin, block.end, block.first);
    if (moved[number] != block.end) elsewhere = true;
  };
  if (!parallel_for(blocks.count(), threads, work, poll)) return Moved::stopped;
  if (!elsewhere) return Moved::done;
  const auto put_back = [&](size_t number) {
    const Block block = blocks[number];
    kernels.move_block(block.counted.tensor, to, nullptr, from, block.begin, moved[number], block.first);
  };
  parallel_for(blocks.count(), threads, put_back, never);
  return Moved::elsewhere;
}

}  // namespace negmerge
