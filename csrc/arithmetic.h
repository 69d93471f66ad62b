// What is common to the arithmetic of every method, once, for scalars, SIMD registers and CUDA alike
// (docs/arithmetic.md). The methods themselves are in csrc/methods/.
//
// V is a value or a vector of values of the compute type, Mask what its comparisons give; their functions (above_zero,
// at_least, is_number, both, either, complement, select) are found by argument type. Each operation is rounded by
// itself: translation units that include this header are compiled without contraction of multiplications and additions.
#pragma once

#include "dtype.h"

namespace negmerge {

// The numbers are part of the interface: negmerge_ext/options.py lists the same.
enum class Mode : uint8_t { negate = 0, add = 1, vector = 2 };
constexpr int kModes = 3;

// The base moved along the merged vector, or that vector.
template <class V>
NEGMERGE_HD V moved(Mode mode, V base, V merged, V scale) {
  if (mode == Mode::vector) return merged;
  const V step = scale * merged;
  return mode == Mode::negate ? base - step : base + step;
}

// What is written: the base moved where kept, the base's own value elsewhere.
template <class V, class Mask>
NEGMERGE_HD V result(Mode mode, V base, V merged, Mask kept, V scale) {
  const V value = moved(mode, base, merged, scale);
  return mode == Mode::vector ? value : select(kept, value, base);
}

}  // namespace negmerge
