// A sparse vector as kernels see it: keep bits, and the values of the elements under them. Bit l of word p stands for
// element 16 p + l.
#pragma once

#include "arithmetic.h"

namespace negmerge {

struct Tensor;

// Where the kept elements of a tensor stand: at the base, or moved from there along the vector.
struct Position {
  bool base = false;
  Mode mode = Mode::negate;  // negate or add
  double scale = 0;
};

// A vector applied to elements that begin at a pack boundary.
struct SparseVector {
  const uint16_t* keep;
  const void* values;  // of the compute type, kept elements only
};

// A tensor in memory that stands at some position of its vector.
struct PatchedTensor {
  size_t numel = 0;
  void* elements = nullptr;
  Dtype dtype = Dtype::f32;
  Dtype compute = Dtype::f32;  // f32 or f64
  SparseVector vector;
  void* base = nullptr;  // the base's bits of the kept elements
};

// What an instruction set offers for sparse vectors. Bits of elements that do not exist are ignored. The kept elements
// of a range [begin, end), which begins at a pack boundary, are numbered from `first` on in values and base.
struct SparseKernels {
  size_t (*count)(size_t numel, const uint16_t* keep);
  // Raw elements of 1, 2, 4 or 8 bytes, packed; returns their number.
  size_t (*gather)(size_t item_size, size_t numel, const void* dense, const uint16_t* keep, void* packed);
  // tensor.base moved along a vector into tensor.out; the values of the block begin at vector.values.
  void (*apply_block)(Mode, double scale, const Tensor&, const SparseVector& vector, size_t begin, size_t end);
  // Moves the kept elements to a position, each from `from` or, if that is given, from `otherwise`. Stops before the
  // pack in which one is at neither and returns its first element; `end` if there is none.
  size_t (*move_block)(const PatchedTensor&, const Position& from, const Position* otherwise, const Position& to,
                       size_t begin, size_t end, size_t first);
};

}  // namespace negmerge
