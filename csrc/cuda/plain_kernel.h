// One block of a merge as it nearly always is: a mean chosen by signs, all of one dtype and at once, and nothing asked
// for but the output.
#pragma once

#include "launch.h"
#include "merge_call.h"
#include "pairs.h"
#include "vectors.h"

namespace negmerge::cuda {

template <Dtype kDtype>
using ComputeOf = std::conditional_t<kDtype == Dtype::f64, double, float>;

// What is known of neighbouring elements' differences when some models have been seen: their sum, and the lowest and
// the highest.
template <Dtype kDtype, int kElements>
struct Differences {
  using C = ComputeOf<kDtype>;
  using V = Value<C>;
  using P = Packed<kDtype, kElements>;
  V sum[kElements];
  DeltaRange<V> range[kElements];

  NEGMERGE_HD void start() {
    NEGMERGE_UNROLL for (int i = 0; i < kElements; i++) {
      sum[i] = V(static_cast<C>(kEmptySum));
      range[i] = DeltaRange<V>();
    }
  }
  NEGMERGE_HD void add(const P& model, const P& base) {
    NEGMERGE_UNROLL for (int i = 0; i < kElements; i++)
        visit(decode<C, kDtype>(model.at(i)), decode<C, kDtype>(base.at(i)), sum[i], range[i]);
  }
  // The results where they are kept, and what the others have.
  NEGMERGE_HD P choose(const V* results, const P&, const P& others, SignRule rule) const {
    P chosen = {};
    NEGMERGE_UNROLL for (int i = 0; i < kElements; i++) {
      const Flag agreed = either(all_positive(sum[i], range[i]), all_negative(sum[i], range[i]));
      chosen.put(i, (agreed.v ? rule.agreeing : rule.others) ? encode<kDtype>(results[i]) : others.at(i));
    }
    return chosen;
  }
};

// The same of 16-bit elements, with the lowest and the highest model in place of the differences: NaN stays in them, so
// that the sum need not be asked. (Infinities of both signs meet in a sum only where differences do not agree.)
template <Dtype kDtype, int kElements>
struct PairedDifferences {
  using V = Value<float>;
  using P = Packed<kDtype, kElements>;
  using Two = Pairs<kDtype>;
  V sum[kElements];
  uint32_t lowest[P::kWords], highest[P::kWords];

  NEGMERGE_HD void start() {
    NEGMERGE_UNROLL for (int i = 0; i < kElements; i++) sum[i] = V(static_cast<float>(kEmptySum));
    NEGMERGE_UNROLL for (int w = 0; w < P::kWords; w++) {
      lowest[w] = Two::kInfinities;
      highest[w] = Two::kInfinities | Two::kSigns;
    }
  }
  NEGMERGE_HD void add(const P& model, const P& base) {
    NEGMERGE_UNROLL for (int i = 0; i < kElements; i++) sum[i] =
        sum[i] + (decode<float, kDtype>(model.at(i)) - decode<float, kDtype>(base.at(i)));
    NEGMERGE_UNROLL for (int w = 0; w < P::kWords; w++) {
      lowest[w] = Two::lower(lowest[w], model.word[w]);
      highest[w] = Two::higher(highest[w], model.word[w]);
    }
  }
  NEGMERGE_HD P choose(const V* results, const P& base, const P& others, SignRule rule) const {
    const uint32_t agreeing = rule.agreeing ? ~0u : 0, others_too = rule.others ? ~0u : 0;
    P chosen;
    NEGMERGE_UNROLL for (int w = 0; w < P::kWords; w++) {
      const uint32_t agreed = Two::above(lowest[w], base.word[w]) | Two::above(base.word[w], highest[w]);
      const uint32_t kept = (agreed & agreeing) | (~agreed & others_too);
      chosen.word[w] = (Two::encode(results[2 * w].v, results[2 * w + 1].v) & kept) | (others.word[w] & ~kept);
    }
    return chosen;
  }
};

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
  std::conditional_t<P::kSize == 2 && kElements % 2 == 0, PairedDifferences<kDtype, kElements>,
                     Differences<kDtype, kElements>>
      differences;

  // Models are all on their way before the first is used.
  template <uint32_t kModels>
  NEGMERGE_HD void visit_together(const void* const* finetuned, size_t offset) {
    P packed[kModels];
    NEGMERGE_UNROLL for (uint32_t k = 0; k < kModels; k++) packed[k] =
        P::load(static_cast<const uint8_t*>(finetuned[k]) + offset);
    NEGMERGE_UNROLL for (uint32_t k = 0; k < kModels; k++) differences.add(packed[k], base);
  }

  NEGMERGE_HD void merge(const Call& call, const Row& row, size_t element) {
    const size_t offset = element * item_size(kDtype);
    base = P::load(static_cast<const uint8_t*>(row.base) + offset);
    differences.start();
    const void* const* finetuned = call.table.finetuned + row.first_model;
    uint32_t k = 0;
    for (; k + kTogether <= call.models; k += kTogether) visit_together<kTogether>(finetuned + k, offset);
    if ((call.models & 2) != 0) visit_together<2>(finetuned + k, offset), k += 2;
    if ((call.models & 1) != 0) visit_together<1>(finetuned + k, offset);
    finish(call).store(static_cast<uint8_t*>(row.out) + offset);
  }

 private:
  // As merged_vector() and result() have it, with the choices that all elements share made once; what is not kept is
  // the base's own bits: a conversion and back would change those of some NaN.
  NEGMERGE_HD P finish(const Call& call) const {
    V value[kElements];
    if (call.reciprocal != 0) {
      const V reciprocal(static_cast<C>(call.reciprocal));
      NEGMERGE_UNROLL for (int i = 0; i < kElements; i++) value[i] = differences.sum[i] * reciprocal;
    } else {
      const V models(static_cast<C>(call.models));
      NEGMERGE_UNROLL for (int i = 0; i < kElements; i++) value[i] = differences.sum[i] / models;
    }
    if (call.mode == Mode::vector) return differences.choose(value, base, P{}, call.rule);
    // Subtracting a product is adding that of the opposite, whose rounding is the same.
    const V scale(static_cast<C>(call.mode == Mode::negate ? -call.scale : call.scale));
    NEGMERGE_UNROLL for (int i = 0; i < kElements; i++) value[i] = decode<C, kDtype>(base.at(i)) + scale * value[i];
    return differences.choose(value, base, base, call.rule);
  }
};

// What a block of threads works off: a part of a block of the merge, so that all of them together are at one place of
// every stream. On an H200 whole blocks are up to 6 percent slower with fp32; one turn of the threads is up to 15
// percent slower where there are few models and many tensors, whose rows have to be found.
template <Dtype kDtype>
struct PlainPart {
  static constexpr int kWidth = 16 / static_cast<int>(item_size(kDtype));  // of a thread at a time
  static constexpr int kTurns = 4;
  static constexpr size_t kElements = static_cast<size_t>(kThreads * kWidth * kTurns);
  static constexpr uint32_t kParts = static_cast<uint32_t>(kBlock / kElements);
  static_assert(kParts * kElements == kBlock && kParts <= kMostParts);
};

template <Dtype kDtype>
NEGMERGE_HD void merge_plain(const Cta& cta, const Call& call) {
  using Part = PlainPart<kDtype>;
  constexpr int kWidth = Part::kWidth;
  cta.each([&](int thread) {
    const uint32_t block = cta.block / Part::kParts, part = cta.block % Part::kParts;
    const uint32_t r = find_row(call.table.first_block, call.rows, block);
    const Row row = call.table.rows[r];
    const auto [block_begin, block_end] = range_of_block(row.numel, block - call.table.first_block[r]);
    const size_t begin = block_begin + part * Part::kElements;
    if (begin >= block_end) return;
    const size_t end = begin + Part::kElements < block_end ? begin + Part::kElements : block_end;
    const size_t one_by_one = row.wide ? end - end % kWidth : begin;
    for (size_t element = begin + static_cast<size_t>(thread * kWidth); element < one_by_one;
         element += kThreads * kWidth)
      Plain<kDtype, kWidth>().merge(call, row, element);
    for (size_t element = one_by_one + static_cast<size_t>(thread); element < end; element += kThreads)
      Plain<kDtype, 1>().merge(call, row, element);
  });
}

}  // namespace negmerge::cuda
