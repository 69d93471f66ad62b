#include "devices.h"

#include "check.h"
#include "launches.h"

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
  check(cudaGetDevice(&before_));
  if (before_ != device)
    check(cudaSetDevice(device));
  else
    before_ = -1;
}
OnDevice::~OnDevice() {
  // What fails here has failed before; the next launch must not be taken to have failed with it.
  if (before_ >= 0 && cudaSetDevice(before_) != cudaSuccess) cudaGetLastError();
}

}  // namespace negmerge::cuda
