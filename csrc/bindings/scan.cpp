#include "scan.h"

#include <vector>

#include "arguments.h"
#include "bindings.h"
#include "dlpack.h"

namespace negmerge {
namespace {

constexpr const char* kCapsule = "dlpack_exchange_api";
constexpr int64_t kCpu = -1;  // in the column of devices

// The exchange API of the major version known here; null if there is none.
const dlpack::Exchange* known_version(const py::object& capsule) {
  if (!PyCapsule_IsValid(capsule.ptr(), kCapsule)) return nullptr;
  auto* header = static_cast<dlpack::ExchangeHeader*>(PyCapsule_GetPointer(capsule.ptr(), kCapsule));
  for (; header != nullptr; header = header->previous)
    if (header->version.major == dlpack::kMajorVersion) {
      const auto* exchange = reinterpret_cast<const dlpack::Exchange*>(header);
      return exchange->tensor_from_py_object_no_sync == nullptr ? nullptr : exchange;
    }
  return nullptr;
}

bool is_one_of(const py::tuple& kinds, PyTypeObject* type) {
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(kinds.ptr()); i++)
    if (PyTuple_GET_ITEM(kinds.ptr(), i) == reinterpret_cast<PyObject*>(type)) return true;
  return false;
}

// What `negated` says of a value; true, and thereby not ordinary, if it raises.
bool is_negated(const py::object& negated, PyObject* value) {
  PyObject* said = PyObject_Vectorcall(negated.ptr(), &value, 1, nullptr);
  if (said == nullptr) PyErr_Clear();
  const bool ordinary = said == Py_False;
  Py_XDECREF(said);
  return !ordinary;
}

// The number of a tensor's dtype, negative if that is out of the ordinary.
int64_t number_of(const Library& library, PyObject* value, const dlpack::DataType& dtype) {
  const int64_t number = dtype.lanes == 1 ? library.numbers.data()[dtype.code << 8 | dtype.bits] : -1;
  if (number < 0 || dtype.bits != 8) return number;
  const auto own = py::reinterpret_steal<py::object>(PyObject_GetAttrString(value, "dtype"));
  if (!own) PyErr_Clear();
  PyObject* const known = own ? PyDict_GetItem(library.bytes.ptr(), own.ptr()) : nullptr;
  return known == nullptr ? -1 : PyLong_AsLongLong(known);
}

int64_t elements(const dlpack::Tensor& tensor) {
  int64_t numel = 1;
  for (int32_t axis = 0; axis < tensor.ndim; axis++) numel *= tensor.shape[axis];
  return numel;
}

// Whether the elements are packed in row-major order; dimensions of one element may have any stride.
bool is_row_major(const dlpack::Tensor& tensor, int64_t numel) {
  if (tensor.strides == nullptr || numel == 0) return true;
  int64_t packed = 1;
  for (int32_t axis = tensor.ndim - 1; axis >= 0; axis--) {
    if (tensor.shape[axis] == 1) continue;
    if (tensor.strides[axis] != packed) return false;
    packed *= tensor.shape[axis];
  }
  return true;
}

}  // namespace

py::object scan(const py::tuple& names, const py::tuple& values, const Library& library) {
  const dlpack::Exchange* exchange = known_version(library.exchange);
  if (exchange == nullptr) return py::none();
  for (const py::handle name : names)
    if (!PyUnicode_Check(name.ptr())) return py::none();

  const auto count = static_cast<py::ssize_t>(values.size());
  py::array_t<int64_t> start(count), dtype(count), numel(count), nbytes(count);
  py::array_t<bool> row_major(count);
  int64_t* const starts = start.mutable_data();
  int64_t* const dtypes = dtype.mutable_data();
  int64_t* const numels = numel.mutable_data();
  int64_t* const sizes = nbytes.mutable_data();
  bool* const packed = row_major.mutable_data();
  std::vector<int64_t> dims, devices;  // devices stays empty as long as all tensors are on the CPU
  dims.reserve(static_cast<size_t>(count) * 4);
  for (py::ssize_t i = 0; i < count; i++) {
    PyObject* const value = PyTuple_GET_ITEM(values.ptr(), i);
    if (!is_one_of(library.kinds, Py_TYPE(value)) || is_negated(library.negated, value)) return py::none();
    dlpack::Tensor tensor;
    if (exchange->tensor_from_py_object_no_sync(value, &tensor) != 0) {
      PyErr_Clear();
      return py::none();
    }
    dtypes[i] = number_of(library, value, tensor.dtype);
    numels[i] = elements(tensor);
    sizes[i] = numels[i] * (tensor.dtype.bits / 8);
    const bool has_memory = tensor.data != nullptr || numels[i] == 0;
    const bool on_cpu = tensor.device.type == dlpack::kCpu;
    if ((!on_cpu && tensor.device.type != dlpack::kCuda) || dtypes[i] < 0 || !has_memory) return py::none();
    if (!on_cpu) {
      devices.resize(static_cast<size_t>(count), kCpu);
      devices[static_cast<size_t>(i)] = tensor.device.id;
    }
    starts[i] = reinterpret_cast<int64_t>(tensor.data) + static_cast<int64_t>(tensor.byte_offset);
    packed[i] = is_row_major(tensor, numels[i]);
    dims.push_back(tensor.ndim);
    dims.insert(dims.end(), tensor.shape, tensor.shape + tensor.ndim);
  }
  const py::bytes shapes(reinterpret_cast<const char*>(dims.data()), dims.size() * sizeof(int64_t));
  py::object device = py::none();
  if (!devices.empty()) device = py::array_t<int64_t>(count, devices.data());
  return py::make_tuple(start, dtype, row_major, numel, nbytes, shapes, device);
}

void bind_scan(py::module_& module) {
  module.def("scan",
             [](const py::tuple& names, const py::tuple& values, const py::object& exchange, const py::tuple& kinds,
                const py::object& negated, const py::array_t<int64_t>& numbers, const py::dict& bytes) {
               require(numbers.size() == 1 << 16, "a number is needed for every DLPack type");
               return scan(names, values, {exchange, kinds, negated, numbers, bytes});
             });
}

}  // namespace negmerge
