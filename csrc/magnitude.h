// Magnitudes of differences as bits, for counting them.
#pragma once

#include "dtype.h"

namespace negmerge {

// Some bits of a magnitude: `bits` of them, from bit `shift` on, of those magnitudes whose higher bits are `prefix`. Of
// fp32 differences, or with `wide` of all differences in fp64.
struct Digit {
  uint64_t prefix;
  int shift, bits;
  bool wide;
};

// The bits of a difference without its sign: in the order of magnitudes, any NaN last.
template <class C>
NEGMERGE_HD uint64_t magnitude_bits(C difference, bool wide) {
  if (sizeof(C) == 4 && !wide) return bits_of(static_cast<float>(difference)) & 0x7fffffffu;
  const auto value = static_cast<double>(difference);
  uint64_t bits;
  memcpy(&bits, &value, sizeof(bits));
  return bits & ~(uint64_t{1} << 63);
}

}  // namespace negmerge
