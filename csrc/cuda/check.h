// What CUDA's functions return, as exceptions.
#pragma once

#include <cuda_runtime_api.h>

#include "launches.h"

namespace negmerge::cuda {

// What CUDA says; where there is no driver at all, it says that it is too old.
inline const char* reason_of(cudaError_t status) {
  int driver = 0;
  if (status == cudaErrorInsufficientDriver && cudaDriverGetVersion(&driver) == cudaSuccess && driver == 0)
    return "no NVIDIA driver was found";
  return cudaGetErrorString(status);
}

inline void check(cudaError_t status) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // or the next launch would be taken to have failed with it
  throw CudaError(reason_of(status), static_cast<int>(status));
}

// Of a launch: it returns nothing, and what it failed with is kept until it is asked for.
inline void check_launch() { check(cudaGetLastError()); }

}  // namespace negmerge::cuda
