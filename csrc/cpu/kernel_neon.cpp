#include "simd_neon.h"
//
#include "kernel.inc"
#include "magnitudes.inc"
#include "sparse_scalar.h"
//
#include "apply.inc"

namespace negmerge {
extern const Kernels kNeon;
const Kernels kNeon = {"neon", merge_block_any, count_block_any, kSparse};
}  // namespace negmerge
