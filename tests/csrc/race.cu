// A program whose kernel has a race in shared memory, for compute-sanitizer to find: a check that finds nothing here
// finds nothing anywhere. The kernel's name is one that tools/gpu_sanitize.py selects.
#include <cuda_runtime.h>

#include <cstdio>

namespace negmerge {
namespace {

constexpr int kThreads = 256;

// Each thread reads what another warp writes, and does not wait for it.
__global__ void race(int* out) {
  __shared__ int shared[kThreads];
  const int thread = static_cast<int>(threadIdx.x);
  shared[thread] = thread;
  out[thread] = shared[(thread + kThreads / 2) % kThreads];
}

}  // namespace
}  // namespace negmerge

int main() {
  int* out = nullptr;
  cudaError_t status = cudaMalloc(&out, negmerge::kThreads * sizeof(int));
  if (status == cudaSuccess) {
    negmerge::race<<<1, negmerge::kThreads>>>(out);
    status = cudaDeviceSynchronize();
  }
  if (status == cudaSuccess) status = cudaFree(out);
  if (status == cudaSuccess) return 0;
  std::fprintf(stderr, "%s\n", cudaGetErrorString(status));
  return 1;
}
