// The devices that this process can use.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace negmerge::cuda {

struct Device {
  int index;
  std::string name;
  int major, minor;  // compute capability
  size_t memory_bytes;
};

// Throws CudaError with CUDA's reason where there are none.
std::vector<Device> devices();

// As CUDART_VERSION.
int runtime_version();

}  // namespace negmerge::cuda
