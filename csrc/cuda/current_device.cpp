#include "current_device.h"

#include <cuda.h>

#include <map>
#include <mutex>

namespace negmerge::cuda {
namespace {

// Numbers of errors are the same for the driver and the runtime.
cudaError_t as_runtime(CUresult status) { return static_cast<cudaError_t>(status); }

// A function of the driver, which this module is not linked with, so that it loads where there is none.
template <class Function>
cudaError_t find(const char* name, Function*& function) {
  void* address = nullptr;
  cudaDriverEntryPointQueryResult found;
#if CUDART_VERSION >= 12050
  const cudaError_t status = cudaGetDriverEntryPointByVersion(name, &address, 12000, cudaEnableDefault, &found);
#elif CUDART_VERSION >= 12000
  const cudaError_t status = cudaGetDriverEntryPoint(name, &address, cudaEnableDefault, &found);
#else
  const cudaError_t status = cudaGetDriverEntryPoint(name, &address, cudaEnableDefault);
  found = cudaDriverEntryPointSuccess;
#endif
  if (status != cudaSuccess) return status;
  if (address == nullptr) return cudaErrorSymbolNotFound;
  function = reinterpret_cast<Function*>(address);
  return cudaSuccess;
}

// What is needed of the driver; status: whether it was found.
struct Driver {
  decltype(&cuInit) init = nullptr;
  decltype(&cuDeviceGet) device = nullptr;
  decltype(&cuDevicePrimaryCtxRetain) retain = nullptr;
  decltype(&cuCtxPushCurrent) push = nullptr;
  decltype(&cuCtxPopCurrent) pop = nullptr;
  cudaError_t status = find("cuInit", init);

  Driver() {
    if (status == cudaSuccess) status = find("cuDeviceGet", device);
    if (status == cudaSuccess) status = find("cuDevicePrimaryCtxRetain", retain);
    if (status == cudaSuccess) status = find("cuCtxPushCurrent", push);
    if (status == cudaSuccess) status = find("cuCtxPopCurrent", pop);
    if (status == cudaSuccess) status = as_runtime(init(0));
  }
};

const Driver& driver() {
  static const Driver found;
  return found;
}

// The context of a device that the runtime, and so torch, works in. Once taken it is kept, as the runtime keeps it.
cudaError_t primary_context(int device, CUcontext* context) {
  static std::mutex mutex;
  static std::map<int, CUcontext> kept;
  const std::lock_guard<std::mutex> lock(mutex);
  if (const auto found = kept.find(device); found != kept.end()) {
    *context = found->second;
    return cudaSuccess;
  }
  if (driver().status != cudaSuccess) return driver().status;
  CUdevice handle;
  if (const CUresult error = driver().device(&handle, device)) return as_runtime(error);
  if (const CUresult error = driver().retain(context, handle)) return as_runtime(error);
  kept[device] = *context;
  return cudaSuccess;
}

}  // namespace

cudaError_t enter_device(int device, bool* changed) {
  *changed = false;
  int before;
  if (const cudaError_t error = cudaGetDevice(&before)) return error;
  if (before == device) return cudaSuccess;
  CUcontext context;
  if (const cudaError_t error = primary_context(device, &context)) return error;
  if (const CUresult error = driver().push(context)) return as_runtime(error);
  *changed = true;
  return cudaSuccess;
}

cudaError_t leave_device() {
  CUcontext left;
  return as_runtime(driver().pop(&left));
}

}  // namespace negmerge::cuda
