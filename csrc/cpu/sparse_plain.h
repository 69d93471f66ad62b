// Packing and unpacking sixteen raw elements under a keep mask, one by one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace negmerge {
namespace {

// Elements of kSize bytes. `dense` points at sixteen of them, `packed` at those under `bits`; behind these there must
// be room for sixteen more, which may be read and written.
template <size_t kSize>
struct PlainLanes {
  static void compress(const unsigned char* dense, uint32_t bits, unsigned char* packed) {
    for (; bits != 0; bits &= bits - 1, packed += kSize) memcpy(packed, dense + lowest(bits), kSize);
  }
  // Leaves the other elements as they are.
  static void expand(const unsigned char* packed, uint32_t bits, unsigned char* dense) {
    for (; bits != 0; bits &= bits - 1, packed += kSize) memcpy(dense + lowest(bits), packed, kSize);
  }
  // The bits of elements that differ.
  static uint32_t differing(const unsigned char* packed, uint32_t bits, const unsigned char* dense) {
    uint32_t found = 0;
    for (; bits != 0; bits &= bits - 1, packed += kSize)
      if (memcmp(dense + lowest(bits), packed, kSize) != 0) found |= bits & (0u - bits);
    return found;
  }

 private:
  static size_t lowest(uint32_t bits) { return static_cast<size_t>(__builtin_ctz(bits)) * kSize; }
};

}  // namespace
}  // namespace negmerge
