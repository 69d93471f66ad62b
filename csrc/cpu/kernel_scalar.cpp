#include "simd_scalar.h"
//
#include "kernel.inc"
#include "magnitudes.inc"
#include "sparse_scalar.h"
//
#include "apply.inc"

namespace negmerge {
extern const Kernels kScalar;
const Kernels kScalar = {"scalar", merge_block_any, count_block_any, kSparse};
}  // namespace negmerge
