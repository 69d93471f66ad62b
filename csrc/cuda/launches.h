// The launches of all kernels, enqueued on a stream: by CUDA (merge.cu, magnitudes.cu, patch.cu, upload.cu) or, with
// the kernels run on the spot as loops over blocks and threads, by emulated.cpp.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "magnitude_call.h"
#include "merge_call.h"
#include "patch_call.h"

namespace negmerge::cuda {

// What CUDA refused or failed to do, and its code.
class CudaError : public std::runtime_error {
 public:
  CudaError(const std::string& message, int number) : std::runtime_error(message), code(number) {}
  const int code;
};

// A cudaStream_t.
using Stream = void*;

// The current device of this thread while it exists.
class OnDevice {
 public:
  explicit OnDevice(int device);
  ~OnDevice();
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  bool changed_ = false;
};

// Bytes that need not outlive the call, put into device memory (a multiple of 16 bytes, at a multiple of 16).
void launch_upload(const void* from, size_t size, void* to, Stream stream);
void launch_merge(Variant variant, const Call& call, uint32_t blocks, Stream stream);
// All rows of the table.
void launch_add_norms(const Call& call, Stream stream);
// in_double: whether the compute type is fp64.
void launch_count_magnitudes(bool in_double, const MagnitudeCall& call, uint32_t blocks, Stream stream);
void launch_remember(const PatchCall& call, uint32_t blocks, Stream stream);
// Counts the kept elements that are not where the call says.
void launch_check(const PatchCall& call, uint32_t blocks, Stream stream);
// Does nothing if any were counted.
void launch_move(const PatchCall& call, uint32_t blocks, Stream stream);

}  // namespace negmerge::cuda
