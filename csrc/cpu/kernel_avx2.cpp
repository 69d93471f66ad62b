#include "simd_avx2.h"
//
#include "kernel.inc"

namespace negmerge {
extern const Kernels kAvx2;
const Kernels kAvx2 = {"avx2", merge_block_any, apply_block_any};
}  // namespace negmerge
