#include "loads.h"

#include <algorithm>
#include <stdexcept>

namespace negmerge::cuda {
namespace {

constexpr size_t kWidest = 8;
// Models that a group should have at least, so that few of a piece's bytes are its base and output.
constexpr size_t kGroupModels = 8;

size_t row_bytes(size_t models, bool histogram) {
  return sizeof(TensorStats) + (histogram ? (models + 1) * sizeof(int64_t) : 0);
}

// What the alignment of a load's statistics and histogram may take.
constexpr size_t kRowSlack = 2 * kSlotAlignment;

}  // namespace

size_t least_slot(size_t models, bool histogram) {
  return slot_aligned(3 * kBlock * kWidest + keep_bytes(kBlock) + kRowSlack + row_bytes(models, histogram));
}

Footprint::Footprint(const Merge& merge, const FileTensor& source)
    : base_item_(item_size(source.tensor.base_dtype)),
      out_item_(source.tensor.out == nullptr ? 0 : item_size(source.tensor.out_dtype)),
      row_bytes_(row_bytes(merge.models, merge.histogram)),
      dtypes_(source.tensor.finetuned_dtype),
      keep_(source.tensor.keep != nullptr) {
  for (size_t k = 0; k < merge.models; k++) models_[static_cast<size_t>(dtypes_[k])]++;
}

size_t Footprint::outputs(size_t elements) const {
  return slot_aligned(elements * out_item_) + (keep_ ? slot_aligned(keep_bytes(elements)) : 0) +
         blocks_of(elements) * row_bytes_;
}

size_t Footprint::all(size_t elements) const {
  size_t bytes = base(elements) + outputs(elements);
  for (size_t code = 0; code < kDtypes; code++)
    bytes += models_[code] * slot_aligned(elements * item_size(static_cast<Dtype>(code)));
  return bytes;
}

size_t Footprint::grouped_elements(size_t slot) const {
  const size_t block = base(kBlock) + outputs(kBlock) + kGroupModels * kBlock * kWidest;
  return std::clamp<size_t>(slot / block, 1, kGroupedBlocks) * kBlock;
}

std::vector<Load> cut_into_loads(const Merge& merge, const std::vector<FileTensor>& tensors, size_t slot) {
  if (slot < least_slot(merge.models, merge.histogram)) throw std::invalid_argument("the slots are too small");
  std::vector<Load> loads;
  size_t room = 0, rows = 0;
  const auto close = [&] { room = rows = 0; };
  const auto open = [&] {
    loads.emplace_back();
    room = slot - kRowSlack;
    rows = kMostRows;
  };
  for (size_t t = 0; t < tensors.size(); t++) {
    const Footprint footprint(merge, tensors[t]);
    const size_t block = footprint.all(kBlock);
    for (size_t begin = 0, numel = tensors[t].tensor.numel; begin < numel;) {
      const size_t rest = numel - begin;
      const size_t whole = std::min({room / block, rows, rest / kBlock}) * kBlock;
      const bool fits = footprint.all(rest) <= room && blocks_of(rest) <= rows;
      const size_t elements = fits ? rest : whole;
      if (elements > 0) {
        loads.back().pieces.push_back({t, begin, begin + elements});
        room -= footprint.all(elements);
        rows -= blocks_of(elements);
        begin += elements;
      } else if (room < slot - kRowSlack) {
        open();
      } else {
        const size_t end = std::min(begin + footprint.grouped_elements(slot), numel);
        loads.back() = {{{t, begin, end}}, true};
        begin = end;
        close();
      }
    }
  }
  return loads;
}

}  // namespace negmerge::cuda
