// The tensors of a batch as kernels look them up: one row each, in groups that one launch works off.
#pragma once

#include <vector>

#include "../merge.h"

namespace negmerge::cuda {

// plain: base, models and output of one dtype, all models at once, and nothing asked for but the output.
// general: everything else, in fp32 or fp64.
enum class Variant : uint8_t { plain_f64, plain_f32, plain_f16, plain_bf16, general_f32, general_f64 };
constexpr int kVariants = 6;

// Elements that a thread of a general kernel takes at once; one of a plain kernel takes 16 bytes.
constexpr size_t kQuad = 4;
// Blocks of threads that work off one block of a merge, at most.
constexpr uint32_t kMostParts = 8;

struct Row {
  const void* base;
  void* out;  // null: nothing is written
  uint16_t* keep;
  State state;
  uint64_t numel;
  uint64_t first_model;  // where its models begin among the addresses, dtypes and thresholds
  uint32_t tensor;       // its number in the batch
  uint32_t first_block;  // the number of its first block among those of the whole batch
  Dtype base_dtype, out_dtype;
  bool wide;  // every address allows accesses of the variant's whole width
};

// Where the parts of a table lie in device memory.
struct Table {
  const Row* rows;
  const uint32_t* first_block;  // [rows + groups]: numbers of the first block of each row of a group, and one past them
  const void* const* finetuned;
  const double* threshold;  // if the method has thresholds
  const Dtype* finetuned_dtype;
};

// Rows that one launch works off.
struct Group {
  Variant variant;
  uint32_t first_row, rows, blocks;
  uint32_t first_offset;  // of its part of Table::first_block
};

// The row that a block of a group belongs to: the last one whose first block is not behind it.
NEGMERGE_HD uint32_t find_row(const uint32_t* first_block, uint32_t rows, uint32_t block) {
  uint32_t low = 0, high = rows;
  while (high - low > 1) {
    const uint32_t middle = low + (high - low) / 2;
    if (first_block[middle] <= block)
      low = middle;
    else
      high = middle;
  }
  return low;
}

// Elements [begin, end) of a tensor.
struct Range {
  size_t begin, end;
};
NEGMERGE_HD Range range_of_block(size_t numel, uint32_t block) {
  const size_t begin = static_cast<size_t>(block) * kBlock;
  return {begin, numel - begin < kBlock ? numel : begin + kBlock};
}

NEGMERGE_HD size_t blocks_of(size_t numel) { return (numel + kBlock - 1) / kBlock; }

// A table before it is on the device: the bytes to be put at an address there.
class HostTable {
 public:
  // plain_allowed: nothing is asked for that the plain kernels do not do. Throws std::invalid_argument for more
  // elements than one launch takes (2^42).
  HostTable(const std::vector<Tensor>& tensors, size_t models, bool plain_allowed);

  const std::vector<Group>& groups() const { return groups_; }
  const std::vector<unsigned char>& bytes() const { return bytes_; }
  uint32_t blocks() const { return blocks_; }
  // Where its parts are when its bytes have been put at `address`.
  Table at(const void* address) const;

 private:
  std::vector<Group> groups_;
  std::vector<unsigned char> bytes_;
  size_t first_block_ = 0, finetuned_ = 0, threshold_ = 0, finetuned_dtype_ = 0;
  uint32_t blocks_ = 0;
};

// At least HostTable::bytes().size() for so many tensors.
size_t largest_table(size_t tensors, size_t models);

}  // namespace negmerge::cuda
