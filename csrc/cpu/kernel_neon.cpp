#include "simd_neon.h"
//
#include "kernel.inc"

namespace negmerge {
extern const Kernels kNeon;
const Kernels kNeon = {"neon", merge_block_any, apply_block_any};
}  // namespace negmerge
