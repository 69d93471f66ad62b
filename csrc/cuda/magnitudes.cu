// The kernel that counts magnitudes as device code, and its launches.
#include "check.h"
#include "magnitude_kernel.h"
#include "preload.h"

namespace negmerge::cuda {
namespace {

template <class C>
__global__ void __launch_bounds__(kThreads, 1) count_kernel(const __grid_constant__ MagnitudeCall call) {
  count_magnitudes<C>(Cta{blockIdx.x}, call);
}

}  // namespace

void launch_count_magnitudes(bool in_double, const MagnitudeCall& call, uint32_t blocks, Stream stream) {
  if (in_double)
    count_kernel<double><<<blocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(call);
  else
    count_kernel<float><<<blocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(call);
  check_launch();
}

void preload_magnitude_kernels() { preload(count_kernel<float>, count_kernel<double>); }

}  // namespace negmerge::cuda
