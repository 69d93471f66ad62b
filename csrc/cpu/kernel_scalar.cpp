#include "simd_scalar.h"
//
#include "kernel.inc"

namespace negmerge {
extern const Kernels kScalar;
const Kernels kScalar = {"scalar", merge_block_any, apply_block_any};
}  // namespace negmerge
