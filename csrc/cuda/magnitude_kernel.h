// One block of the counting of magnitudes.
#pragma once

#include <type_traits>

#include "launch.h"
#include "magnitude_call.h"
#include "vectors.h"

namespace negmerge::cuda {

template <class C>
NEGMERGE_HD Value<C> load_one(const void* stream, Dtype dtype, size_t element) {
  Value<C> value(0);
  with_input_dtype<C>(dtype, [&](auto tag) {
    constexpr Dtype kDtype = tag.value;
    const auto* from = static_cast<const uint8_t*>(stream) + element * item_size(kDtype);
    value = decode<C, kDtype>(Packed<kDtype, 1>::load(from).at(0));
  });
  return value;
}

template <class C>
NEGMERGE_HD void count_magnitudes(const Cta& cta, const MagnitudeCall& call) {
  cta.each([&](int thread) {
    const uint32_t r = find_row(call.table.first_block, call.rows, cta.block);
    const Row& row = call.table.rows[r];
    const auto [begin, end] = range_of_block(row.numel, cta.block - call.table.first_block[r]);
    const void* const* finetuned = call.table.finetuned + row.first_model;
    const Dtype* dtypes = call.table.finetuned_dtype + row.first_model;
    const uint64_t mask = (uint64_t{1} << call.bits) - 1;
    for (size_t element = begin + static_cast<size_t>(thread); element < end; element += kThreads) {
      const Value<C> base = load_one<C>(row.base, row.base_dtype, element);
      for (uint32_t k = 0; k < call.models; k++) {
        const Value<C> delta = load_one<C>(finetuned[k], dtypes[k], element) - base;
        const uint64_t bits = magnitude_bits(delta.v, call.wide) >> call.shift;
        if (bits >> call.bits == call.prefixes[k])
          add(call.counts[(static_cast<size_t>(k) << call.bits) + (bits & mask)], int64_t{1});
      }
    }
  });
}

}  // namespace negmerge::cuda
