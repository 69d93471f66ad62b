#include "simd_avx512.h"
//
#include "kernel.inc"
#include "magnitudes.inc"
#include "sparse_avx512.h"
//
#include "apply.inc"

namespace negmerge {
extern const Kernels kAvx512;
const Kernels kAvx512 = {"avx512", merge_block_any, count_block_any, kSparse};
}  // namespace negmerge
