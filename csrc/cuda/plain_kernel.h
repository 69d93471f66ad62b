// One block of a merge as it nearly always is: a mean chosen by signs, all of one dtype and at once, and nothing asked
// for but the output.
#pragma once

#include "launch.h"
#include "merge_call.h"
#include "vectors.h"

namespace negmerge::cuda {

template <Dtype kDtype>
using ComputeOf = std::conditional_t<kDtype == Dtype::f64, double, float>;

// kElements neighbouring elements on their way through a merge. The base stays as it was loaded: nothing waits for it
// before the models are on their way too.
template <Dtype kDtype, int kElements>
struct Plain {
  using C = ComputeOf<kDtype>;
  using V = Value<C>;
  using P = Packed<kDtype, kElements>;
  // More at once would take registers, and threads with loads of their own.
  static constexpr uint32_t kTogether = 4;
  P base;
  V sum[kElements];
  DeltaRange<V> range[kElements];

  // Models are all on their way before the first is used.
  template <uint32_t kModels>
  NEGMERGE_HD void visit_together(const void* const* finetuned, size_t offset) {
    P packed[kModels];
    NEGMERGE_UNROLL for (uint32_t k = 0; k < kModels; k++) packed[k] =
        P::load(static_cast<const uint8_t*>(finetuned[k]) + offset);
    NEGMERGE_UNROLL for (uint32_t k = 0; k < kModels; k++) NEGMERGE_UNROLL for (int i = 0; i < kElements; i++)
        visit(decode<C, kDtype>(packed[k].at(i)), decode<C, kDtype>(base.at(i)), sum[i], range[i]);
  }

  NEGMERGE_HD void merge(const Call& call, const Row& row, size_t element) {
    const size_t offset = element * item_size(kDtype);
    base = P::load(static_cast<const uint8_t*>(row.base) + offset);
    NEGMERGE_UNROLL for (int i = 0; i < kElements; i++) {
      sum[i] = V(static_cast<C>(kEmptySum));
      range[i] = DeltaRange<V>();
    }
    const void* const* finetuned = call.table.finetuned + row.first_model;
    uint32_t k = 0;
    for (; k + kTogether <= call.models; k += kTogether) visit_together<kTogether>(finetuned + k, offset);
    if ((call.models & 2) != 0) visit_together<2>(finetuned + k, offset), k += 2;
    if ((call.models & 1) != 0) visit_together<1>(finetuned + k, offset);
    finish(call).store(static_cast<uint8_t*>(row.out) + offset);
  }

 private:
  NEGMERGE_HD P finish(const Call& call) const {
    const V models(static_cast<C>(call.models)), scale(static_cast<C>(call.scale));
    const V reciprocal(static_cast<C>(call.reciprocal));
    P packed = {};
    NEGMERGE_UNROLL for (int i = 0; i < kElements; i++) {
      const Flag agreed = either(all_positive(sum[i], range[i]), all_negative(sum[i], range[i]));
      const Flag kept = {agreed.v ? call.rule.agreeing : call.rule.others};
      const V merged = call.reciprocal != 0 ? merged_vector_by_reciprocal(sum[i], reciprocal, kept)
                                            : merged_vector(sum[i], models, kept);
      const auto bits = encode<kDtype>(result(call.mode, decode<C, kDtype>(base.at(i)), merged, kept, scale));
      // What is not kept is the base's own bits: a conversion and back would change those of some NaN.
      packed.put(i, kept.v || call.mode == Mode::vector ? bits : base.at(i));
    }
    return packed;
  }
};

template <Dtype kDtype>
NEGMERGE_HD void merge_plain(const Cta& cta, const Call& call) {
  constexpr int kWidth = 16 / static_cast<int>(item_size(kDtype));
  cta.each([&](int thread) {
    const uint32_t r = find_row(call.table.first_block, call.rows, cta.block);
    const Row row = call.table.rows[r];
    const auto [begin, end] = range_of_block(row.numel, cta.block - call.table.first_block[r]);
    const size_t one_by_one = row.wide ? end - end % kWidth : begin;
    for (size_t element = begin + static_cast<size_t>(thread * kWidth); element < one_by_one;
         element += kThreads * kWidth)
      Plain<kDtype, kWidth>().merge(call, row, element);
    for (size_t element = one_by_one + static_cast<size_t>(thread); element < end; element += kThreads)
      Plain<kDtype, 1>().merge(call, row, element);
  });
}

}  // namespace negmerge::cuda
