// One block of a merge: any dtypes, models in one call or several, statistics, keep bits, a histogram.
//
// A block is worked off in rounds of a few tiles. Threads take four neighbouring elements each, so that the accesses of
// a warp follow one another; bits of sixteen elements, and sums of squares, are put together from shared memory.
#pragma once

#include "launch.h"
#include "merge_call.h"
#include "vectors.h"

namespace negmerge::cuda {

// A histogram of more bins is counted where it lies.
constexpr uint32_t kSharedBins = 1024;

template <class C>
constexpr Dtype kDtypeOf = std::is_same_v<C, double> ? Dtype::f64 : Dtype::f32;

template <class C>
struct Shared {
  static constexpr int kTiles = 32 / static_cast<int>(sizeof(C));  // tiles of a round
  static constexpr int kRound = kTiles * static_cast<int>(kTile);
  static constexpr int kLanes = static_cast<int>(kPack);
  // Rows of tiles begin half a turn of the banks apart: a warp sums the lanes of two of them.
  static constexpr int kTileRow = static_cast<int>(kTile) + 64 / static_cast<int>(sizeof(C));

  // Four bits for each quad: of its kept elements and those that are not finite; or, of a merge to be continued, of
  // those with positive differences only and negative ones only.
  uint8_t bits[2][kRound / kQuad];
  uint32_t kept, non_finite;
  uint32_t bins[kSharedBins];
  // With statistics only: the last part, so that a launch without them need not have it.
  double lanes[kTiles][kLanes], largest[kTiles][kLanes];
  double total[kLanes], total_largest[kLanes];
  C merged[kTiles * kTileRow];

  NEGMERGE_HD C& merged_at(int i) {
    return merged[i / static_cast<int>(kTile) * kTileRow + i % static_cast<int>(kTile)];
  }
  static constexpr size_t bytes(bool statistics) { return statistics ? sizeof(Shared) : offsetof(Shared, lanes); }
};

// Up to four neighbouring elements on their way through a merge of the accumulation A.
template <class A, class C>
struct Quad {
  using V = Value<C>;
  using Running = typename A::template Running<V>;
  static constexpr int kSize = static_cast<int>(kQuad);

  size_t element;  // the first
  int count;       // how many exist
  bool wide;       // whether they are loaded and stored together
  uint32_t base_word[sizeof(C)];
  V base[kSize];
  Running running[kSize];
  uint32_t positive[kSize], negative[kSize];  // numbers of differences, for a histogram

  template <Dtype kDtype>
  NEGMERGE_HD Packed<kDtype, kSize> load(const void* stream) const {
    return load_at<kDtype>(static_cast<const uint8_t*>(stream) + element * item_size(kDtype), wide);
  }
  template <Dtype kDtype>
  NEGMERGE_HD void store(const Packed<kDtype, kSize>& packed, void* stream) const {
    store_at(packed, static_cast<uint8_t*>(stream) + element * item_size(kDtype), wide);
  }
  NEGMERGE_HD uint32_t nibble(const uint16_t* words) const {
    return static_cast<uint32_t>(words[element / kPack]) >> element % kPack;
  }

  NEGMERGE_HD void load_base(const Row& row) {
    with_input_dtype<C>(row.base_dtype, [&](auto dtype) {
      const auto packed = load<dtype.value>(row.base);
      NEGMERGE_UNROLL for (int i = 0; i < packed.kWords; i++) base_word[i] = packed.word[i];
      NEGMERGE_UNROLL for (int i = 0; i < kSize; i++) base[i] = decode<C, dtype.value>(packed.at(i));
    });
  }

  NEGMERGE_HD void start() {
    NEGMERGE_UNROLL for (int i = 0; i < kSize; i++) {
      A::start(running[i]);
      positive[i] = negative[i] = 0;
    }
  }
  // From the state that an earlier call left: a range of differences that says no more than their signs.
  NEGMERGE_HD void resume(const Row& row, bool counting) {
    NEGMERGE_UNROLL for (int v = 0; v < A::kValues; v++) {
      const auto values = load_at<kDtypeOf<C>>(value_in_state(row, v), wide_in_state(row));
      NEGMERGE_UNROLL for (int i = 0; i < kSize; i++) running[i].value[v] = decode<C, kDtypeOf<C>>(values.at(i));
    }
    if constexpr (A::kSigns) {
      const uint32_t all_positive_bits = nibble(row.state.positive), all_negative_bits = nibble(row.state.negative);
      NEGMERGE_UNROLL for (int i = 0; i < kSize; i++) running[i].range = {
          all_positive_bits >> i & 1 ? V::most() : V(0), all_negative_bits >> i & 1 ? V::least() : V(0)};
    }
    NEGMERGE_UNROLL for (int i = 0; i < kSize; i++) {
      if (counting && i < count) {
        positive[i] = row.state.counts[element + i];
        negative[i] = row.state.counts[row.numel + element + i];
      }
    }
  }

  template <Dtype kDtype>
  NEGMERGE_HD void visit_packed(const Packed<kDtype, kSize>& packed, const double* threshold, bool counting) {
    NEGMERGE_UNROLL for (int i = 0; i < kSize; i++) {
      const V delta = add_model<A>(decode<C, kDtype>(packed.at(i)), base[i], threshold, running[i]);
      if (!counting) continue;
      positive[i] += above_zero(delta).v;
      negative[i] += below_zero(delta).v;
    }
  }
  NEGMERGE_HD void visit_models(const Call& call, const Row& row, bool counting) {
    constexpr uint32_t kTogether = 4;
    const void* const* finetuned = call.table.finetuned + row.first_model;
    const Dtype* dtypes = call.table.finetuned_dtype + row.first_model;
    const double* thresholds = call.table.threshold + row.first_model;
    for (uint32_t k = 0; k < call.models_given;) {
      const Dtype first = dtypes[k];
      const bool together = k + kTogether <= call.models_given && dtypes[k + 1] == first && dtypes[k + 2] == first &&
                            dtypes[k + 3] == first;
      with_input_dtype<C>(first, [&](auto dtype) {
        if (together) {
          // All are on their way before the first is used.
          const auto a = load<dtype.value>(finetuned[k]), b = load<dtype.value>(finetuned[k + 1]);
          const auto c = load<dtype.value>(finetuned[k + 2]), d = load<dtype.value>(finetuned[k + 3]);
          visit_packed<dtype.value>(a, thresholds + k, counting);
          visit_packed<dtype.value>(b, thresholds + k + 1, counting);
          visit_packed<dtype.value>(c, thresholds + k + 2, counting);
          visit_packed<dtype.value>(d, thresholds + k + 3, counting);
        } else {
          visit_packed<dtype.value>(load<dtype.value>(finetuned[k]), thresholds + k, counting);
        }
      });
      k += together ? kTogether : 1;
    }
  }

  // Leaves what is known so far to a later call; bits of both signs go to shared memory.
  NEGMERGE_HD void save(const Row& row, bool counting, int quad, Shared<C>& shared) const {
    NEGMERGE_UNROLL for (int v = 0; v < A::kValues; v++) {
      Packed<kDtypeOf<C>, kSize> values;
      NEGMERGE_UNROLL for (int i = 0; i < kSize; i++) values.put(i, encode<kDtypeOf<C>>(running[i].value[v]));
      store_at(values, value_in_state(row, v), wide_in_state(row));
    }
    if constexpr (A::kSigns) {
      uint32_t positive_bits = 0, negative_bits = 0;
      NEGMERGE_UNROLL for (int i = 0; i < kSize; i++) {
        positive_bits |= static_cast<uint32_t>(all_positive(running[i].value[0], running[i].range).v) << i;
        negative_bits |= static_cast<uint32_t>(all_negative(running[i].value[0], running[i].range).v) << i;
      }
      shared.bits[0][quad] = static_cast<uint8_t>(positive_bits);
      shared.bits[1][quad] = static_cast<uint8_t>(negative_bits);
    }
    NEGMERGE_UNROLL for (int i = 0; i < kSize; i++) {
      if (counting && i < count) {
        row.state.counts[element + i] = static_cast<uint16_t>(positive[i]);
        row.state.counts[row.numel + element + i] = static_cast<uint16_t>(negative[i]);
      }
    }
  }

  NEGMERGE_HD void finish(const Call& call, const Row& row, int quad, Shared<C>& shared) const {
    const V models(static_cast<C>(call.models)), scale(static_cast<C>(call.scale));
    V value[kSize];
    uint32_t kept_bits = 0, strange_bits = 0;
    NEGMERGE_UNROLL for (int i = 0; i < kSize; i++) {
      const Outcome<V> outcome = outcome_of(call.method, running[i], models);
      const Flag kept = {i < count && outcome.kept.v};
      const V merged = select(kept, outcome.merged, V(0));
      value[i] = result(call.mode, base[i], merged, kept, scale);
      kept_bits |= static_cast<uint32_t>(kept.v) << i;
      strange_bits |= static_cast<uint32_t>(i < count && !is_finite(outcome.total).v) << i;
      if (call.stats != nullptr) shared.merged_at(quad * kSize + i) = merged.v;
    }
    shared.bits[0][quad] = static_cast<uint8_t>(kept_bits);
    shared.bits[1][quad] = static_cast<uint8_t>(strange_bits);
    if (row.out != nullptr) write(call, row, value, kept_bits);
    if (call.histogram != nullptr) add_to_histogram(call, row, shared);
  }

 private:
  template <Dtype kDtype>
  NEGMERGE_HD Packed<kDtype, kSize> load_at(const void* from, bool at_once) const {
    return at_once ? Packed<kDtype, kSize>::load(from) : Packed<kDtype, kSize>::load_first(count, from);
  }
  template <Dtype kDtype>
  NEGMERGE_HD void store_at(const Packed<kDtype, kSize>& packed, void* to, bool at_once) const {
    if (at_once)
      packed.store(to);
    else
      packed.store_first(count, to);
  }

  // Of a pack that is not whole, only the first values need lie where they can be taken together.
  NEGMERGE_HD C* value_in_state(const Row& row, int value) const {
    const size_t first = element - element % kPack, left = row.numel - first, in_pack = left < kPack ? left : kPack;
    return static_cast<C*>(row.state.values) + first * A::kValues + static_cast<size_t>(value) * in_pack +
           element % kPack;
  }
  NEGMERGE_HD bool wide_in_state(const Row& row) const {
    return wide && (A::kValues == 1 || row.numel - (element - element % kPack) >= kPack);
  }

  static NEGMERGE_HD Outcome<V> outcome_of(uint8_t number, const Running& accumulated, V models) {
    Outcome<V> outcome = {V(0), V(0), {false}};
    Methods::with(number, [&](auto method) {
      using M = decltype(method);
      if constexpr (std::is_same_v<typename M::Accumulation, A>) outcome = M::finish(accumulated, models);
    });
    return outcome;
  }

  NEGMERGE_HD void write(const Call& call, const Row& row, const V* value, uint32_t kept_bits) const {
    // What is not kept is the base's own bits: a conversion and back would change those of some NaN.
    const uint32_t own = row.out_dtype == row.base_dtype && call.mode != Mode::vector ? ~kept_bits : 0;
    with_dtype(row.out_dtype, [&](auto dtype) {
      constexpr Dtype kDtype = dtype.value;
      Packed<kDtype, kSize> packed = {};
      NEGMERGE_UNROLL for (int i = 0; i < kSize; i++) {
        BitsOf<kDtype> bits = encode<kDtype>(value[i]);
        if constexpr (std::is_same_v<C, double> || kDtype != Dtype::f64) {
          Packed<kDtype, kSize> base_bits;
          NEGMERGE_UNROLL for (int w = 0; w < packed.kWords; w++) base_bits.word[w] = base_word[w];
          if (own >> i & 1) bits = base_bits.at(i);
        }
        packed.put(i, bits);
      }
      store<kDtype>(packed, row.out);
    });
  }
  NEGMERGE_HD void add_to_histogram(const Call& call, const Row& row, Shared<C>& shared) const {
    NEGMERGE_UNROLL for (int i = 0; i < kSize; i++) {
      if (i >= count) continue;
      const uint32_t camp = positive[i] > negative[i] ? positive[i] : negative[i];
      if (call.models < kSharedBins)
        add(shared.bins[camp], 1);
      else
        add(call.histogram[static_cast<size_t>(row.tensor) * (call.models + 1) + camp], 1);
    }
  }
};

// Adds the elements of one lane of one tile, in ascending order.
template <class C>
NEGMERGE_HD void sum_lane(Shared<C>& shared, int tile, int lane, int elements) {
  Value<double> sum(0.0);
  C largest = 0;
  const C* merged = shared.merged + tile * Shared<C>::kTileRow;
  for (int i = lane; i < elements; i += Shared<C>::kLanes) {
    const Value<double> wide(static_cast<double>(merged[i]));
    sum = sum + wide * wide;
    largest = larger(magnitude(Value<C>(merged[i])), Value<C>(largest)).v;
  }
  shared.lanes[tile][lane] = sum.v;
  shared.largest[tile][lane] = static_cast<double>(largest);
}

// Sixteen bits of four quads, those that do not exist zero.
NEGMERGE_HD uint32_t joined(const uint8_t* bits, int pack, int quads) {
  uint32_t word = 0;
  NEGMERGE_UNROLL for (int i = 0; i < 4; i++) if (4 * pack + i < quads) word |=
      static_cast<uint32_t>(bits[4 * pack + i]) << 4 * i;
  return word;
}

template <class A, class C>
NEGMERGE_HD void merge_general(const Cta& cta, const Call& call, Shared<C>& shared) {
  using S = Shared<C>;
  using Q = Quad<A, C>;
  const uint32_t r = find_row(call.table.first_block, call.rows, cta.block);
  const Row& row = call.table.rows[r];
  const uint32_t block = cta.block - call.table.first_block[r];
  const auto [begin, end] = range_of_block(row.numel, block);
  const bool counting = call.histogram != nullptr, statistics = call.end && call.stats != nullptr;

  cta.each([&](int thread) {
    if (thread == 0) shared.kept = shared.non_finite = 0;
    for (uint32_t bin = static_cast<uint32_t>(thread); counting && bin < kSharedBins; bin += kThreads)
      shared.bins[bin] = 0;
    if (statistics && thread < S::kLanes) shared.total[thread] = shared.total_largest[thread] = 0;
  });
  for (size_t start = begin; start < end; start += S::kRound) {
    const int elements = static_cast<int>(end - start < S::kRound ? end - start : S::kRound);
    const int quads = (elements + Q::kSize - 1) / Q::kSize;
    cta.each([&](int thread) {
      for (int q = thread; q < quads; q += kThreads) {
        Q quad;
        quad.element = start + static_cast<size_t>(q) * kQuad;
        quad.count = elements - q * Q::kSize < Q::kSize ? elements - q * Q::kSize : Q::kSize;
        quad.wide = row.wide && quad.count == Q::kSize;
        quad.load_base(row);
        quad.start();
        if (!call.begin) quad.resume(row, counting);
        quad.visit_models(call, row, counting);
        if (call.end)
          quad.finish(call, row, q, shared);
        else
          quad.save(row, counting, q, shared);
      }
    });
    cta.each([&](int thread) {
      for (int pack = thread; (call.end || A::kSigns) && pack < (quads + 3) / 4; pack += kThreads) {
        const uint32_t first = joined(shared.bits[0], pack, quads), second = joined(shared.bits[1], pack, quads);
        const size_t word = start / kPack + static_cast<size_t>(pack);
        if (!call.end) {
          row.state.positive[word] = static_cast<uint16_t>(first);
          row.state.negative[word] = static_cast<uint16_t>(second);
          continue;
        }
        if (row.keep != nullptr) row.keep[word] = static_cast<uint16_t>(first);
        if (!statistics) continue;
        add(shared.kept, static_cast<uint32_t>(bits_set(first)));
        add(shared.non_finite, static_cast<uint32_t>(bits_set(second)));
      }
      const int tile = thread / S::kLanes, before = tile * static_cast<int>(kTile);
      if (statistics && tile < S::kTiles)
        sum_lane(shared, tile, thread % S::kLanes,
                 elements - before < static_cast<int>(kTile) ? elements - before : static_cast<int>(kTile));
    });
    if (!statistics) continue;
    cta.each([&](int thread) {
      if (thread >= S::kLanes) return;
      Value<double> total(shared.total[thread]), largest(shared.total_largest[thread]);
      for (int tile = 0; tile < S::kTiles; tile++) {
        total = total + Value<double>(shared.lanes[tile][thread]);
        largest = larger(Value<double>(shared.largest[tile][thread]), largest);
      }
      shared.total[thread] = total.v;
      shared.total_largest[thread] = largest.v;
    });
  }
  cta.each([&](int thread) {
    if (call.end && counting && call.models < kSharedBins) {
      int64_t* bins = call.histogram + static_cast<size_t>(row.tensor) * (call.models + 1);
      for (uint32_t bin = static_cast<uint32_t>(thread); bin <= call.models; bin += kThreads)
        if (shared.bins[bin] > 0) add(bins[bin], static_cast<int64_t>(shared.bins[bin]));
    }
    if (!statistics || thread > 0) return;
    for (int half = S::kLanes / 2; half > 0; half /= 2)
      for (int l = 0; l < half; l++) {
        shared.total[l] = (Value<double>(shared.total[l]) + Value<double>(shared.total[l + half])).v;
        shared.total_largest[l] =
            larger(Value<double>(shared.total_largest[l]), Value<double>(shared.total_largest[l + half])).v;
      }
    call.block_norms[row.first_block + block] = {shared.total[0], shared.total_largest[0]};
    add(call.stats[row.tensor].kept, shared.kept);
    add(call.stats[row.tensor].non_finite, shared.non_finite);
  });
}

}  // namespace negmerge::cuda
