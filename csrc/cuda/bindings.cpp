// negmerge_ext._cuda: the CUDA devices that this process can use.
#include <cuda_runtime_api.h>
#include <pybind11/pybind11.h>

#include <stdexcept>
#include <string>

namespace py = pybind11;

namespace {

void check(cudaError_t status) {
  if (status != cudaSuccess) throw std::runtime_error(cudaGetErrorString(status));
}

py::list devices() {
  int count = 0;
  check(cudaGetDeviceCount(&count));
  py::list found;
  for (int index = 0; index < count; index++) {
    cudaDeviceProp properties;
    check(cudaGetDeviceProperties(&properties, index));
    py::dict device;
    device["index"] = index;
    device["name"] = std::string(properties.name);
    device["capability"] = std::to_string(properties.major) + "." + std::to_string(properties.minor);
    device["memory_bytes"] = properties.totalGlobalMem;
    found.append(device);
  }
  return found;
}

}  // namespace

PYBIND11_MODULE(_cuda, m, py::mod_gil_not_used()) {
  m.doc() = "CUDA side of negmerge_ext.";
  m.def("devices", &devices, "The devices present; RuntimeError with CUDA's reason where there are none.");
  m.attr("runtime_version") = CUDART_VERSION;
}
