// Moving elements by a keep mask: bit l of word p stands for element 16 p + l.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace negmerge {

// The word of a pack, without bits of elements that do not exist.
inline uint32_t keep_word(size_t numel, const uint16_t* keep, size_t pack) {
  uint16_t word;
  memcpy(&word, keep + pack, sizeof(word));
  const size_t count = numel - pack * 16;
  return count >= 16 ? word : word & ((1u << count) - 1);
}

inline size_t count_kept(size_t numel, const uint16_t* keep) {
  size_t total = 0;
  for (size_t pack = 0; pack * 16 < numel; pack++)
    total += static_cast<size_t>(__builtin_popcount(keep_word(numel, keep, pack)));
  return total;
}

// Calls move(element, position) for every kept element; returns their number.
template <class Move>
size_t for_each_kept(size_t numel, const uint16_t* keep, Move&& move) {
  size_t position = 0;
  for (size_t pack = 0; pack * 16 < numel; pack++)
    for (uint32_t rest = keep_word(numel, keep, pack); rest != 0; rest &= rest - 1)
      move(pack * 16 + static_cast<size_t>(__builtin_ctz(rest)), position++);
  return position;
}

template <size_t kSize>
size_t gather_kept(size_t numel, const char* dense, const uint16_t* keep, char* packed) {
  return for_each_kept(numel, keep, [=](size_t element, size_t position) {
    memcpy(packed + position * kSize, dense + element * kSize, kSize);
  });
}

template <size_t kSize>
size_t scatter_kept(size_t numel, const char* packed, const uint16_t* keep, char* dense) {
  return for_each_kept(numel, keep, [=](size_t element, size_t position) {
    memcpy(dense + element * kSize, packed + position * kSize, kSize);
  });
}

}  // namespace negmerge
