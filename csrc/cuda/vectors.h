// Neighbouring elements of one dtype, loaded and stored together where their address allows it, one by one elsewhere.
// Streams are read and written once. Of what is written the caches are told so; loads that say it are slower: a
// merge by up to 6 percent on an H200, most with few models.
#pragma once

#include "convert.h"
#include "launch.h"

namespace negmerge::cuda {

template <int kBytes>
struct __attribute__((may_alias, aligned(kBytes))) Memory {
  uint8_t byte[kBytes];
};

// Loads and stores of kBytes = 1, 2, 4, 8, 16 bytes at an address that is a multiple of it.
template <int kBytes>
NEGMERGE_HD void load_words(const void* from, uint32_t* word) {
#if defined(__CUDA_ARCH__)
  // As instructions, or the compiler would put each before its first use.
  if constexpr (kBytes == 16)
    asm volatile("ld.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(word[0]), "=r"(word[1]), "=r"(word[2]), "=r"(word[3])
                 : "l"(from));
  else if constexpr (kBytes == 8)
    asm volatile("ld.global.v2.u32 {%0, %1}, [%2];" : "=r"(word[0]), "=r"(word[1]) : "l"(from));
  else if constexpr (kBytes == 4)
    asm volatile("ld.global.u32 %0, [%1];" : "=r"(word[0]) : "l"(from));
  else if constexpr (kBytes == 2)
    asm volatile("ld.global.u16 %0, [%1];" : "=r"(word[0]) : "l"(from));
  else
    asm volatile("ld.global.u8 %0, [%1];" : "=r"(word[0]) : "l"(from));
#else
  const auto loaded = *static_cast<const Memory<kBytes>*>(from);
  word[0] = 0;
  memcpy(word, &loaded, kBytes);
#endif
}
template <int kBytes>
NEGMERGE_HD void store_words(const uint32_t* word, void* to) {
#if defined(__CUDA_ARCH__)
  if constexpr (kBytes == 16)
    __stcs(static_cast<uint4*>(to), make_uint4(word[0], word[1], word[2], word[3]));
  else if constexpr (kBytes == 8)
    __stcs(static_cast<uint2*>(to), make_uint2(word[0], word[1]));
  else if constexpr (kBytes == 4)
    __stcs(static_cast<uint32_t*>(to), word[0]);
  else if constexpr (kBytes == 2)
    __stcs(static_cast<uint16_t*>(to), static_cast<uint16_t>(word[0]));
  else
    __stcs(static_cast<uint8_t*>(to), static_cast<uint8_t>(word[0]));
#else
  Memory<kBytes> stored;
  memcpy(&stored, word, kBytes);
  *static_cast<Memory<kBytes>*>(to) = stored;
#endif
}

template <Dtype kDtype, int kElements>
struct Packed {
  static constexpr int kSize = static_cast<int>(item_size(kDtype));
  static constexpr int kBytes = kSize * kElements;
  static constexpr int kWords = (kBytes + 3) / 4;
  static constexpr int kWidth = kBytes < 16 ? kBytes : 16;  // bytes of one access
  uint32_t word[kWords];

  // from, to: multiples of kWidth.
  static NEGMERGE_HD Packed load(const void* from) {
    Packed packed;
    NEGMERGE_UNROLL for (int i = 0; i < kBytes / kWidth; i++)
        load_words<kWidth>(static_cast<const uint8_t*>(from) + i * kWidth, packed.word + i * kWidth / 4);
    return packed;
  }
  NEGMERGE_HD void store(void* to) const {
    NEGMERGE_UNROLL for (int i = 0; i < kBytes / kWidth; i++)
        store_words<kWidth>(word + i * kWidth / 4, static_cast<uint8_t*>(to) + i * kWidth);
  }

  // The first `count` elements one by one; the others read as zero and are not written. from, to: multiples of kSize.
  static NEGMERGE_HD Packed load_first(int count, const void* from) {
    Packed packed;
    NEGMERGE_UNROLL for (int i = 0; i < kWords; i++) packed.word[i] = 0;
    NEGMERGE_UNROLL for (int i = 0; i < kElements; i++) if (i < count)
        packed.put(i, Packed<kDtype, 1>::load(static_cast<const uint8_t*>(from) + i * kSize).at(0));
    return packed;
  }
  NEGMERGE_HD void store_first(int count, void* to) const {
    NEGMERGE_UNROLL for (int i = 0; i < kElements; i++) {
      Packed<kDtype, 1> one = {};
      one.put(0, at(i));
      if (i < count) one.store(static_cast<uint8_t*>(to) + i * kSize);
    }
  }

  NEGMERGE_HD BitsOf<kDtype> at(int i) const {
    if constexpr (kSize == 8)
      return word[2 * i] | static_cast<uint64_t>(word[2 * i + 1]) << 32;
    else if constexpr (kSize == 4)
      return word[i];
    else
      return word[i * kSize / 4] >> i * kSize % 4 * 8 & ((1u << 8 * kSize) - 1);
  }
  // Of elements narrower than a word: into bits that are zero.
  NEGMERGE_HD void put(int i, BitsOf<kDtype> bits) {
    if constexpr (kSize == 8)
      word[2 * i] = static_cast<uint32_t>(bits), word[2 * i + 1] = static_cast<uint32_t>(bits >> 32);
    else if constexpr (kSize == 4)
      word[i] = bits;
    else
      word[i * kSize / 4] |= bits << i * kSize % 4 * 8;
  }
};

}  // namespace negmerge::cuda
