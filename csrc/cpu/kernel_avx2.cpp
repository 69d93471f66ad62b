#include "simd_avx2.h"
//
#include "kernel.inc"
#include "magnitudes.inc"
#include "sparse_avx2.h"
//
#include "apply.inc"

namespace negmerge {
extern const Kernels kAvx2;
const Kernels kAvx2 = {"avx2", merge_block_any, count_block_any, kSparse};
}  // namespace negmerge
