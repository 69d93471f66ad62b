// What merging from files asks of a device, as a table of functions: CUDA's, or those of tests, which have no device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "launches.h"

namespace negmerge::cuda {

using Event = void*;

// A merge of tensors whose addresses are the device's, enqueued in one call. Statistics (a row for each tensor) and
// the histogram ([tensors, models + 1], or null) are added to when the last models are given.
struct DeviceMerge {
  const Merge& merge;
  const std::vector<Tensor>& tensors;
  TensorStats* stats;
  int64_t* histogram;
  void* workspace;  // free again when the merge is done
  size_t workspace_bytes;
};

// Every function but the last gives 0, or the number of an error. Copies and merges are enqueued on a stream, in
// order, and not waited for.
struct DeviceApi {
  // Makes a device the calling thread's; tells whether it was another's. Leaving puts back what was before.
  int (*enter)(int device, bool* changed);
  int (*leave)(bool changed);
  // Host memory that the device copies from and to.
  int (*allocate_pinned)(void** memory, size_t bytes);
  int (*free_pinned)(void* memory);
  int (*allocate)(void** memory, size_t bytes);
  int (*free)(void* memory);
  int (*create_stream)(Stream* stream);
  int (*destroy_stream)(Stream stream);
  int (*create_event)(Event* event);
  int (*destroy_event)(Event event);
  int (*copy_up)(void* device, const void* pinned, size_t bytes, Stream stream);
  int (*copy_down)(void* pinned, const void* device, size_t bytes, Stream stream);
  int (*merge)(const DeviceMerge& merge, Stream stream);
  // The event is over when everything is that was enqueued before.
  int (*record)(Event event, Stream stream);
  int (*wait)(Event event);
  int (*synchronise)(Stream stream);
  std::string (*describe)(int error);
};

// The device that this module is made for.
const DeviceApi& device_api();

inline void check(const DeviceApi& api, int code, const char* doing) {
  if (code != 0) throw CudaError(std::string(doing) + ": " + api.describe(code), code);
}

}  // namespace negmerge::cuda
