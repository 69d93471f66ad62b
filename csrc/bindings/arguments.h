// What Python gives the compiled module: checked, and as the kernels take it.
#pragma once

#include <pybind11/gil_safe_call_once.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <initializer_list>
#include <stdexcept>
#include <utility>

#include "../merge.h"

namespace py = pybind11;

namespace negmerge {

using Address = int64_t;

inline void require(bool holds, const char* otherwise) {
  if (!holds) throw std::invalid_argument(otherwise);
}

inline Dtype dtype_of(int code) {
  require(code >= 0 && code < kDtypes, "unknown dtype code");
  return static_cast<Dtype>(code);
}
inline Dtype compute_of(int code) {
  require(code == static_cast<int>(Dtype::f64) || code == static_cast<int>(Dtype::f32),
          "compute type must be F64 or F32");
  return static_cast<Dtype>(code);
}
inline Mode mode_of(int code) {
  require(code >= 0 && code < kModes, "unknown mode code");
  return static_cast<Mode>(code);
}
template <class T>
T* pointer(Address address) {
  return reinterpret_cast<T*>(address);
}

// Runs work() without the GIL, giving Python's signal handlers a chance through its argument. What a handler raises,
// KeyboardInterrupt for one, is raised when the work has come to rest.
template <class Work>
void without_gil(Work&& work) {
  bool finished;
  {
    const py::gil_scoped_release released;
    finished = work([] {
      const py::gil_scoped_acquire acquired;
      return PyErr_CheckSignals() != 0;
    });
  }
  if (!finished) throw py::error_already_set();
}

// Arrays by tensor; what is given as something else is converted.
using AddressArray = py::array_t<int64_t, py::array::c_style | py::array::forcecast>;
using NumberArray = py::array_t<int32_t, py::array::c_style | py::array::forcecast>;
using DoubleArray = py::array_t<double, py::array::c_style | py::array::forcecast>;
using CodeArray = py::array_t<uint8_t, py::array::c_style | py::array::forcecast>;
static_assert(sizeof(void*) == sizeof(int64_t) && sizeof(Dtype) == sizeof(uint8_t), "arrays are read where they lie");

// The dtypes of an array of codes, where they lie.
inline const Dtype* dtypes_of(const CodeArray& codes) {
  const auto* first = codes.data();
  for (py::ssize_t i = 0; i < codes.size(); i++) dtype_of(first[i]);
  return reinterpret_cast<const Dtype*>(first);
}

// A field of a struct as numpy has it.
struct Field {
  const char* name;
  const char* format;
  size_t offset;
};

inline py::dtype record_dtype(std::initializer_list<Field> fields, size_t size) {
  py::list names, formats, offsets;
  for (const Field& field : fields) {
    names.append(field.name);
    formats.append(field.format);
    offsets.append(field.offset);
  }
  return {std::move(names), std::move(formats), std::move(offsets), static_cast<py::ssize_t>(size)};
}

inline size_t length(const py::array& array) { return static_cast<size_t>(array.size()); }

}  // namespace negmerge
