// Kernels loaded before they are launched. Left to itself CUDA loads each at its first launch, which may wait for the
// device, and comes at a bad time if a graph is capturing the stream.
#pragma once

#include "check.h"

namespace negmerge::cuda {

// Loads all kernels on the current device, which is the one named, unless they are loaded there. Throws CudaError.
void preload_kernels(int device);

// Its parts, each beside its kernels.
void preload_merge_kernels();
void preload_magnitude_kernels();
void preload_patch_kernels();
void preload_upload_kernel();

// Asking for a kernel's attributes loads it.
template <class... Kernel>
void preload(Kernel*... kernels) {
  cudaFuncAttributes unused;
  (check(cudaFuncGetAttributes(&unused, reinterpret_cast<const void*>(kernels))), ...);
}

}  // namespace negmerge::cuda
