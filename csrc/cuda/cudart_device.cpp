// The table of device.h by the CUDA runtime.
#include "check.h"
#include "current_device.h"
#include "device.h"
#include "enqueue.h"
#include "preload.h"

namespace negmerge::cuda {
namespace {

// What failed is told by the number alone: a launch that comes after must not find it.
int told(cudaError_t status) {
  if (status != cudaSuccess) cudaGetLastError();
  return status;
}

cudaStream_t stream_of(Stream stream) { return static_cast<cudaStream_t>(stream); }
cudaEvent_t event_of(Event event) { return static_cast<cudaEvent_t>(event); }

// Whoever works on a device has all kernels loaded: a build without code for it is found out before there is output.
int enter(int device, bool* changed) {
  if (const int error = told(enter_device(device, changed))) return error;
  try {
    preload_kernels(device);
  } catch (const CudaError& problem) {
    if (*changed) leave_device();
    return problem.code;
  }
  return cudaSuccess;
}
int leave(bool changed) { return changed ? told(leave_device()) : cudaSuccess; }

int allocate_pinned(void** memory, size_t bytes) { return told(cudaHostAlloc(memory, bytes, cudaHostAllocPortable)); }
int free_pinned(void* memory) { return told(cudaFreeHost(memory)); }
int allocate(void** memory, size_t bytes) { return told(cudaMalloc(memory, bytes)); }
int free_device(void* memory) { return told(cudaFree(memory)); }

// Not ordered with whatever else the process does on the device.
int create_stream(Stream* stream) {
  return told(cudaStreamCreateWithFlags(reinterpret_cast<cudaStream_t*>(stream), cudaStreamNonBlocking));
}
int destroy_stream(Stream stream) { return told(cudaStreamDestroy(stream_of(stream))); }

// A thread that waits leaves its core to those that read.
int create_event(Event* event) {
  return told(
      cudaEventCreateWithFlags(reinterpret_cast<cudaEvent_t*>(event), cudaEventDisableTiming | cudaEventBlockingSync));
}
int destroy_event(Event event) { return told(cudaEventDestroy(event_of(event))); }

int copy_up(void* device, const void* pinned, size_t bytes, Stream stream) {
  return told(cudaMemcpyAsync(device, pinned, bytes, cudaMemcpyHostToDevice, stream_of(stream)));
}
int copy_down(void* pinned, const void* device, size_t bytes, Stream stream) {
  return told(cudaMemcpyAsync(pinned, device, bytes, cudaMemcpyDeviceToHost, stream_of(stream)));
}

int merge(const DeviceMerge& asked, Stream stream) {
  try {
    enqueue_merge(asked.merge, asked.tensors, asked.workspace, asked.workspace_bytes, asked.stats, asked.histogram,
                  stream);
  } catch (const CudaError& problem) {
    return problem.code;
  }
  return cudaSuccess;
}

int record(Event event, Stream stream) { return told(cudaEventRecord(event_of(event), stream_of(stream))); }
int wait(Event event) { return told(cudaEventSynchronize(event_of(event))); }
int synchronise(Stream stream) { return told(cudaStreamSynchronize(stream_of(stream))); }

std::string describe(int error) { return reason_of(static_cast<cudaError_t>(error)); }

}  // namespace

const DeviceApi& device_api() {
  static const DeviceApi api = {enter,       leave,         allocate_pinned, free_pinned,  allocate,
                                free_device, create_stream, destroy_stream,  create_event, destroy_event,
                                copy_up,     copy_down,     merge,           record,       wait,
                                synchronise, describe};
  return api;
}

}  // namespace negmerge::cuda
