#include "cuda/file_bindings.h"
#include "cuda/device.h"
namespace py = pybind11;
PYBIND11_MODULE(_cuda, module, py::mod_gil_not_used()) {
  static const py::handle error = PyErr_NewException("negmerge_ext._cuda.CudaError", PyExc_RuntimeError, nullptr);
  module.attr("CudaError") = error;
  py::register_local_exception_translator([](std::exception_ptr raised) {
    try {
      std::rethrow_exception(raised);
    } catch (const negmerge::cuda::DeviceError& problem) {
      PyErr_SetObject(error.ptr(), py::make_tuple(problem.what(), problem.code).ptr());
    }
  });
  negmerge::cuda::bind_file_merger(module);
}
