// What CUDA's functions return, as exceptions.
#pragma once

#include <cuda_runtime_api.h>

#include "launches.h"

namespace negmerge::cuda {

inline void check(cudaError_t status) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // or the next launch would be taken to have failed with it
  throw CudaError(cudaGetErrorString(status), static_cast<int>(status));
}

// Of a launch: it returns nothing, and what it failed with is kept until it is asked for.
inline void check_launch() { check(cudaGetLastError()); }

}  // namespace negmerge::cuda
