#include "simd_avx512.h"
//
#include "kernel.inc"

namespace negmerge {
extern const Kernels kAvx512;
const Kernels kAvx512 = {"avx512", merge_block_any, apply_block_any};
}  // namespace negmerge
