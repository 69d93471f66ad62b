// The device that the calling thread works on. It is changed and put back as a stack of contexts: going back with
// cudaSetDevice() would make a context, which takes memory, on a device that had none before.
#pragma once

#include <cuda_runtime_api.h>

namespace negmerge::cuda {

// Makes a device the calling thread's; changed: whether it was another's, so that leave_device() must follow.
cudaError_t enter_device(int device, bool* changed);
cudaError_t leave_device();

}  // namespace negmerge::cuda
