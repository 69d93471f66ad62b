// The merge of one tensor as kernels see it: addresses, sizes, and blocks of a fixed number of elements.
#pragma once

#include <cstddef>

#include "magnitude.h"
#include "methods.h"
#include "sparse.h"

namespace negmerge {

// Statistics are summed per block, blocks in order, so that no cut at a multiple of it changes a bit.
constexpr size_t kBlock = 16384;
// A block is worked off in tiles, whose norms are summed each for itself: many threads of a GPU can share a block.
// On a CPU a tile's results wait in the L1 cache, to be summed and written past the caches.
constexpr size_t kTile = 1024;
// Elements of a pack, the unit of what is seen from outside: a keep mask is 16 bits, norms are summed in 16 lanes.
constexpr size_t kPack = 16;

// What a method knows between the calls of a merge whose models come in several; null addresses keep it inside the
// kernel.
struct State {
  // Running values of the compute type, pack by pack: of a pack with n elements n first values, n second ones, …
  void* values = nullptr;
  uint16_t* positive = nullptr;  // [packs] bit l: element l of the pack has seen positive differences only
  uint16_t* negative = nullptr;  // null, both, for a method that does not look at signs
  uint16_t* counts = nullptr;    // [2 * numel] positive, then negative differences; only for histograms
};

struct Tensor {
  size_t numel = 0;
  Dtype compute = Dtype::f32;  // f32 or f64
  const void* base = nullptr;
  Dtype base_dtype = Dtype::f32;
  const void* const* finetuned = nullptr;
  const Dtype* finetuned_dtype = nullptr;
  const double* threshold = nullptr;  // by model, each a value of the compute type; null if the method has none
  void* out = nullptr;                // null: statistics only
  Dtype out_dtype = Dtype::f32;
  uint16_t* keep = nullptr;  // [packs] or null
  State state;
};

struct Merge {
  uint8_t method = 0;
  Mode mode = Mode::negate;
  double scale = 1;
  size_t models = 0;        // N
  size_t models_given = 0;  // of this call
  bool begin = true, end = true;
  bool statistics = true;
  bool histogram = false;
  bool stream = false;         // the output is too large for the caches to hold: write it past them
  bool prefetch_near = false;  // streams are fetched a short way ahead, not a long one
};

struct BlockStats {
  int64_t kept = 0, non_finite = 0;
  double sum_squares = 0, max_abs = 0;
};

// What an instruction set offers. `histogram` is [models + 1] or null.
struct Kernels {
  const char* name;
  void (*merge_block)(const Merge&, const Tensor&, size_t begin, size_t end, BlockStats*, int64_t* histogram);
  // Adds the differences of a model to the counts of their digits, [1 << digit.bits].
  void (*count_magnitudes)(const Tensor&, size_t begin, size_t end, size_t model, const Digit&, int64_t* counts);
  SparseKernels sparse;
};

}  // namespace negmerge
