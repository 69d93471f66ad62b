// Cutting tensors into loads, what a device is given to merge at a time. Nothing here knows of devices.
#pragma once

#include <cstddef>
#include <vector>

#include "../files/merge_files.h"
#include "table.h"

namespace negmerge::cuda {

// Everything in a slot begins at a multiple of this: a line of the device's cache.
constexpr size_t kSlotAlignment = 128;
// Tensors, or blocks of them, that one load has at most.
constexpr size_t kMostRows = 1024;
// Blocks of a tensor that are merged at a time if its models do not fit a slot together.
constexpr size_t kGroupedBlocks = 8;

constexpr size_t slot_aligned(size_t bytes) { return (bytes + kSlotAlignment - 1) / kSlotAlignment * kSlotAlignment; }
constexpr size_t keep_bytes(size_t elements) { return (elements + kPack - 1) / kPack * sizeof(uint16_t); }

// Elements [begin, end) of a tensor; begin is a multiple of kBlock.
struct Piece {
  size_t tensor, begin, end;
  size_t elements() const { return end - begin; }
};

// Pieces that fit a slot together with all their models; or, in groups, one piece of which not all models do.
struct Load {
  std::vector<Piece> pieces;
  bool in_groups = false;
};

// Bytes of the smallest slot there can be: a block of a base, of one model, and what is made of them, of any dtype.
// Only a histogram has a part in it that grows with the number of models.
size_t least_slot(size_t models, bool histogram);

// Bytes of a slot that pieces of one tensor take.
class Footprint {
 public:
  Footprint(const Merge& merge, const FileTensor& source);

  size_t base(size_t elements) const { return slot_aligned(elements * base_item_); }
  size_t model(size_t elements, size_t k) const { return slot_aligned(elements * item_size(dtypes_[k])); }
  size_t outputs(size_t elements) const;
  // With all models.
  size_t all(size_t elements) const;
  // Elements of a piece whose models come in groups.
  size_t grouped_elements(size_t slot) const;

 private:
  size_t base_item_, out_item_, row_bytes_, models_[kDtypes] = {};
  const Dtype* dtypes_;
  bool keep_;
};

// Loads that hold every element of every tensor once. Throws std::invalid_argument for a slot that is too small.
std::vector<Load> cut_into_loads(const Merge& merge, const std::vector<FileTensor>& tensors, size_t slot);

}  // namespace negmerge::cuda
