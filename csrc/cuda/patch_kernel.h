// One block of patched tensors: its kept elements remembered, checked or moved.
#pragma once

#include "launch.h"
#include "patch_call.h"
#include "table.h"
#include "vectors.h"

namespace negmerge::cuda {

// The keep bits of a block, and how many are set before each of its elements.
struct SharedKeep {
  static constexpr int kPacks = static_cast<int>(kBlock / kPack);
  static constexpr int kOwn = kPacks / kThreads;  // packs that a thread counts
  uint16_t word[kPacks];
  uint32_t upto[2][kThreads];  // set bits of the packs of threads 0 to t; in one of the two when all is added up
  uint32_t misplaced;
};

// Calls visit(element, number of the element among the kept ones of its tensor) for every kept element of the block.
template <class Visit>
NEGMERGE_HD void for_each_kept(const Cta& cta, const CountedTensor& row, uint32_t block, SharedKeep& shared,
                               Visit&& visit) {
  constexpr int kOwn = SharedKeep::kOwn, kBits = static_cast<int>(kPack);
  const Range range = range_of_block(row.tensor.numel, block);
  const int elements = static_cast<int>(range.end - range.begin);
  cta.each([&](int thread) {
    uint32_t own = 0;
    for (int pack = thread * kOwn; pack < (thread + 1) * kOwn; pack++) {
      const int exist = elements - pack * kBits;
      uint32_t word = 0;
      if (exist > 0) word = row.tensor.vector.keep[range.begin / kPack + static_cast<size_t>(pack)];
      if (exist > 0 && exist < kBits) word &= (1u << exist) - 1;
      shared.word[pack] = static_cast<uint16_t>(word);
      own += static_cast<uint32_t>(bits_set(word));
    }
    shared.upto[0][thread] = own;
  });
  int sums = 0;
  for (int step = 1; step < kThreads; step *= 2, sums = 1 - sums)
    cta.each([&](int thread) {
      const uint32_t earlier = thread < step ? 0 : shared.upto[sums][thread - step];
      shared.upto[1 - sums][thread] = shared.upto[sums][thread] + earlier;
    });
  const auto first = static_cast<size_t>(row.kept_before[block]);
  cta.each([&](int thread) {
    for (int i = thread; i < elements; i += kThreads) {
      const int pack = i / kBits, lane = i % kBits, owner = pack / kOwn;
      const uint32_t word = shared.word[pack];
      if ((word >> lane & 1) == 0) continue;
      uint32_t before = owner == 0 ? 0 : shared.upto[sums][owner - 1];
      for (int other = owner * kOwn; other < pack; other++)
        before += static_cast<uint32_t>(bits_set(shared.word[other]));
      before += static_cast<uint32_t>(bits_set(word & ((1u << lane) - 1)));
      visit(range.begin + static_cast<size_t>(i), first + before);
    }
  });
}

template <Dtype kDtype>
NEGMERGE_HD void* at(void* elements, size_t element) {
  return static_cast<uint8_t*>(elements) + element * item_size(kDtype);
}

// The bits of one kept element at a position.
template <Dtype kDtype>
NEGMERGE_HD BitsOf<kDtype> bits_at(const Position& position, const PatchedTensor& tensor, size_t number) {
  const auto base = Packed<kDtype, 1>::load(at<kDtype>(tensor.base, number)).at(0);
  if (position.base) return base;
  const auto moved = [&](auto zero) {
    using C = decltype(zero);
    const Value<C> vector(static_cast<const C*>(tensor.vector.values)[number]);
    const Value<C> scale(static_cast<C>(position.scale));
    return encode<kDtype>(result(position.mode, decode<C, kDtype>(base), vector, Flag{true}, scale));
  };
  if constexpr (kDtype == Dtype::f64)
    return moved(0.0);
  else
    return tensor.compute == Dtype::f64 ? moved(0.0) : moved(0.0f);
}

NEGMERGE_HD void remember_block(const Cta& cta, const PatchCall& call, SharedKeep& shared) {
  const uint32_t r = find_row(call.first_block, call.count, cta.block);
  const CountedTensor& row = call.rows[r];
  for_each_kept(cta, row, cta.block - call.first_block[r], shared, [&](size_t element, size_t number) {
    with_dtype(row.tensor.dtype, [&](auto dtype) {
      Packed<dtype.value, 1>::load(at<dtype.value>(row.tensor.elements, element))
          .store(at<dtype.value>(row.tensor.base, number));
    });
  });
}

NEGMERGE_HD void check_block(const Cta& cta, const PatchCall& call, SharedKeep& shared) {
  const uint32_t r = find_row(call.first_block, call.count, cta.block);
  const PatchedTensor& tensor = call.rows[r].tensor;
  cta.each([&](int thread) {
    if (thread == 0) shared.misplaced = 0;
  });
  for_each_kept(cta, call.rows[r], cta.block - call.first_block[r], shared, [&](size_t element, size_t number) {
    with_dtype(tensor.dtype, [&](auto dtype) {
      const auto found = Packed<dtype.value, 1>::load(at<dtype.value>(tensor.elements, element)).at(0);
      if (found != bits_at<dtype.value>(call.from, tensor, number) &&
          found != bits_at<dtype.value>(call.otherwise, tensor, number))
        add(shared.misplaced, 1);
    });
  });
  cta.each([&](int thread) {
    if (thread == 0 && shared.misplaced > 0) add(*call.misplaced, static_cast<int64_t>(shared.misplaced));
  });
}

NEGMERGE_HD void move_block(const Cta& cta, const PatchCall& call, SharedKeep& shared) {
  if (*call.misplaced != 0) return;
  const uint32_t r = find_row(call.first_block, call.count, cta.block);
  const PatchedTensor& tensor = call.rows[r].tensor;
  for_each_kept(cta, call.rows[r], cta.block - call.first_block[r], shared, [&](size_t element, size_t number) {
    with_dtype(tensor.dtype, [&](auto dtype) {
      Packed<dtype.value, 1> moved = {};
      moved.put(0, bits_at<dtype.value>(call.to, tensor, number));
      moved.store(at<dtype.value>(tensor.elements, element));
    });
  });
}

}  // namespace negmerge::cuda
