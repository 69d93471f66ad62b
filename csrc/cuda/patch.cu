// The kernels of patched tensors as device code, and their launches.
#include "check.h"
#include "patch_kernel.h"
#include "preload.h"

namespace negmerge::cuda {
namespace {

__global__ void __launch_bounds__(kThreads) remember_kernel(const __grid_constant__ PatchCall call) {
  __shared__ SharedKeep shared;
  remember_block(Cta{blockIdx.x}, call, shared);
}
__global__ void __launch_bounds__(kThreads) check_kernel(const __grid_constant__ PatchCall call) {
  __shared__ SharedKeep shared;
  check_block(Cta{blockIdx.x}, call, shared);
}
__global__ void __launch_bounds__(kThreads) move_kernel(const __grid_constant__ PatchCall call) {
  __shared__ SharedKeep shared;
  move_block(Cta{blockIdx.x}, call, shared);
}

}  // namespace

void launch_remember(const PatchCall& call, uint32_t blocks, Stream stream) {
  remember_kernel<<<blocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(call);
  check_launch();
}
void launch_check(const PatchCall& call, uint32_t blocks, Stream stream) {
  check_kernel<<<blocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(call);
  check_launch();
}
void launch_move(const PatchCall& call, uint32_t blocks, Stream stream) {
  move_kernel<<<blocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(call);
  check_launch();
}

void preload_patch_kernels() { preload(remember_kernel, check_kernel, move_kernel); }

}  // namespace negmerge::cuda
