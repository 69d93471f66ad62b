#include "table.h"

#include <algorithm>
#include <limits>
#include <stdexcept>

namespace negmerge::cuda {
namespace {

constexpr size_t kAlignment = 16;

size_t rounded(size_t size) { return (size + kAlignment - 1) / kAlignment * kAlignment; }

bool plain(const Tensor& tensor, size_t models) {
  if (tensor.out == nullptr || tensor.keep != nullptr || tensor.state.values != nullptr) return false;
  const Dtype dtype = tensor.base_dtype;
  if (tensor.out_dtype != dtype || dtype == Dtype::e4m3 || dtype == Dtype::e5m2) return false;
  if (tensor.compute != (dtype == Dtype::f64 ? Dtype::f64 : Dtype::f32)) return false;
  return std::all_of(tensor.finetuned_dtype, tensor.finetuned_dtype + models, [=](Dtype d) { return d == dtype; });
}

Variant variant_of(const Tensor& tensor, size_t models, bool plain_allowed) {
  if (plain_allowed && plain(tensor, models)) {
    switch (tensor.base_dtype) {
      case Dtype::f64: return Variant::plain_f64;
      case Dtype::f16: return Variant::plain_f16;
      case Dtype::bf16: return Variant::plain_bf16;
      default: return Variant::plain_f32;
    }
  }
  return tensor.compute == Dtype::f64 ? Variant::general_f64 : Variant::general_f32;
}

// Whether a kernel may take `elements` of them at once at every multiple of it.
bool aligned(const void* address, Dtype dtype, size_t elements) {
  const size_t width = std::min(item_size(dtype) * elements, size_t{16});
  return reinterpret_cast<uintptr_t>(address) % width == 0;
}

bool all_aligned(const Tensor& tensor, size_t models, Variant variant) {
  const size_t elements = variant < Variant::general_f32 ? 16 / item_size(tensor.base_dtype) : kQuad;
  bool all = aligned(tensor.base, tensor.base_dtype, elements) && aligned(tensor.out, tensor.out_dtype, elements) &&
             aligned(tensor.state.values, tensor.compute, elements);
  for (size_t k = 0; k < models; k++) all &= aligned(tensor.finetuned[k], tensor.finetuned_dtype[k], elements);
  return all;
}

struct Planned {
  size_t tensor;
  Variant variant;
};

}  // namespace

HostTable::HostTable(const std::vector<Tensor>& tensors, size_t models, bool plain_allowed) {
  std::vector<Planned> planned;
  for (size_t t = 0; t < tensors.size(); t++)
    if (tensors[t].numel > 0) planned.push_back({t, variant_of(tensors[t], models, plain_allowed)});
  std::stable_sort(planned.begin(), planned.end(), [](Planned a, Planned b) { return a.variant < b.variant; });

  first_block_ = rounded(planned.size() * sizeof(Row));
  finetuned_ = rounded(first_block_ + (planned.size() + kVariants) * sizeof(uint32_t));
  threshold_ = finetuned_ + planned.size() * models * sizeof(void*);
  const bool thresholds =
      std::any_of(tensors.begin(), tensors.end(), [](const Tensor& tensor) { return tensor.threshold != nullptr; });
  finetuned_dtype_ = threshold_ + (thresholds ? planned.size() * models * sizeof(double) : 0);
  bytes_.resize(rounded(finetuned_dtype_ + planned.size() * models * sizeof(Dtype)));
  auto* rows = reinterpret_cast<Row*>(bytes_.data());
  auto* first_block = reinterpret_cast<uint32_t*>(bytes_.data() + first_block_);
  auto* finetuned = reinterpret_cast<const void**>(bytes_.data() + finetuned_);
  auto* threshold = reinterpret_cast<double*>(bytes_.data() + threshold_);
  auto* finetuned_dtype = reinterpret_cast<Dtype*>(bytes_.data() + finetuned_dtype_);

  size_t blocks = 0;
  for (size_t r = 0; r < planned.size(); r++) {
    const auto [t, variant] = planned[r];
    const Tensor& tensor = tensors[t];
    if (groups_.empty() || groups_.back().variant != variant) {
      const auto row = static_cast<uint32_t>(r);
      groups_.push_back({variant, row, 0, 0, row + static_cast<uint32_t>(groups_.size())});
      *first_block++ = 0;
    }
    rows[r] = {tensor.base,
               tensor.out,
               tensor.keep,
               tensor.state,
               tensor.numel,
               r * models,
               static_cast<uint32_t>(t),
               static_cast<uint32_t>(blocks),
               tensor.base_dtype,
               tensor.out_dtype,
               all_aligned(tensor, models, variant)};
    std::copy_n(tensor.finetuned, models, finetuned + r * models);
    if (tensor.threshold != nullptr) std::copy_n(tensor.threshold, models, threshold + r * models);
    std::copy_n(tensor.finetuned_dtype, models, finetuned_dtype + r * models);
    blocks += blocks_of(tensor.numel);
    if (blocks > std::numeric_limits<int32_t>::max() / kMostParts)
      throw std::invalid_argument("too many elements for one call");
    groups_.back().rows++;
    groups_.back().blocks += static_cast<uint32_t>(blocks_of(tensor.numel));
    *first_block++ = groups_.back().blocks;
  }
  blocks_ = static_cast<uint32_t>(blocks);
}

Table HostTable::at(const void* address) const {
  const auto* start = static_cast<const unsigned char*>(address);
  return {reinterpret_cast<const Row*>(start), reinterpret_cast<const uint32_t*>(start + first_block_),
          reinterpret_cast<const void* const*>(start + finetuned_), reinterpret_cast<const double*>(start + threshold_),
          reinterpret_cast<const Dtype*>(start + finetuned_dtype_)};
}

size_t largest_table(size_t tensors, size_t models) {
  return rounded(tensors * sizeof(Row)) + rounded((tensors + kVariants) * sizeof(uint32_t)) +
         rounded(tensors * models * (sizeof(void*) + sizeof(double) + sizeof(Dtype)));
}

}  // namespace negmerge::cuda
