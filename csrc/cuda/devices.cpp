#include "devices.h"

#include "check.h"
#include "current_device.h"
#include "launches.h"
#include "preload.h"

namespace negmerge::cuda {

std::vector<Device> devices() {
  int count = 0;
  check(cudaGetDeviceCount(&count));
  std::vector<Device> found;
  for (int index = 0; index < count; index++) {
    cudaDeviceProp properties;
    check(cudaGetDeviceProperties(&properties, index));
    found.push_back({index, properties.name, properties.major, properties.minor, properties.totalGlobalMem});
  }
  return found;
}

int runtime_version() { return CUDART_VERSION; }

OnDevice::OnDevice(int device) {
  check(enter_device(device, &changed_));
  try {
    preload_kernels(device);
  } catch (...) {
    if (changed_) leave_device();
    throw;
  }
}
// What fails here has failed before.
OnDevice::~OnDevice() {
  if (changed_) leave_device();
}

}  // namespace negmerge::cuda
