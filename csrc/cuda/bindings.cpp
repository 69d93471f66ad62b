// negmerge_ext._cuda: merges on CUDA devices. Every address of a call is of the device that it names.
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "../bindings/columns.h"
#include "../bindings/magnitudes.h"
#include "../bindings/patched.h"
#include "devices.h"
#include "enqueue.h"
#include "enqueue_magnitudes.h"
#include "enqueue_patch.h"
#include "file_bindings.h"

namespace negmerge::cuda {
namespace {

py::list device_list() {
  py::list found;
  try {
    for (const Device& device : devices()) {
      py::dict row;
      row["index"] = device.index;
      row["name"] = device.name;
      row["capability"] = std::to_string(device.major) + "." + std::to_string(device.minor);
      row["memory_bytes"] = device.memory_bytes;
      found.append(row);
    }
  } catch (const CudaError& problem) {
    throw std::runtime_error(problem.what());
  }
  return found;
}

size_t workspace_of_merge(const AddressArray& numel, size_t models, bool statistics) {
  std::vector<size_t> elements;
  for (size_t t = 0; t < length(numel); t++) {
    require(numel.data()[t] >= 0, "numel must not be negative");
    elements.push_back(static_cast<size_t>(numel.data()[t]));
  }
  return workspace_bytes(elements, models, statistics);
}

constexpr char kMisaligned[] = "an address is not a multiple of its element's size";

bool multiple_of(const void* address, size_t size) { return reinterpret_cast<uintptr_t>(address) % size == 0; }

void check_addresses(const std::vector<Tensor>& tensors, const Merge& job) {
  for (const Tensor& tensor : tensors) {
    if (tensor.numel == 0) continue;
    const State& state = tensor.state;
    bool aligned = multiple_of(tensor.base, item_size(tensor.base_dtype)) &&
                   multiple_of(tensor.out, item_size(tensor.out_dtype)) && multiple_of(tensor.keep, 2) &&
                   multiple_of(state.values, item_size(tensor.compute)) && multiple_of(state.positive, 2) &&
                   multiple_of(state.negative, 2) && multiple_of(state.counts, 2);
    for (size_t k = 0; k < job.models_given; k++)
      aligned &= multiple_of(tensor.finetuned[k], item_size(tensor.finetuned_dtype[k]));
    require(aligned, kMisaligned);
  }
}

void merge(int device, Address stream, int method, int mode, double scale, size_t models, const AddressArray& numel,
           const CodeArray& compute, const AddressArray& base, const CodeArray& base_dtype,
           const AddressArray& finetuned, const CodeArray& finetuned_dtype, const AddressArray& out,
           const CodeArray& out_dtype, const AddressArray& keep, const std::vector<AddressArray>& state, bool begin,
           bool end, Address workspace, size_t workspace_size, Address stats, Address histogram,
           const DoubleArray& thresholds) {
  const Columns columns = {numel, compute,   base, base_dtype, finetuned, finetuned_dtype,
                           out,   out_dtype, keep, state,      thresholds};
  const Merge job = merge_of(method, mode, scale, models, columns, begin, end, histogram != 0);
  check_lengths(columns, job);
  const std::vector<Tensor> tensors = tensors_of(columns, job, [](size_t, int) { return false; });
  check_addresses(tensors, job);
  require(workspace % 16 == 0, "the workspace must be at a multiple of 16");
  require(stats % 8 == 0 && histogram % 8 == 0, kMisaligned);
  const py::gil_scoped_release released;
  const OnDevice on_device(device);
  enqueue_merge(job, tensors, pointer<void>(workspace), workspace_size, pointer<TensorStats>(stats),
                pointer<int64_t>(histogram), pointer<void>(stream));
}

void count_magnitudes(int device, Address stream, const AddressArray& numel, const CodeArray& compute,
                      const AddressArray& base, const CodeArray& base_dtype, const AddressArray& finetuned,
                      const CodeArray& finetuned_dtype, const std::vector<uint64_t>& prefixes, int shift, int bits,
                      bool wide, Address workspace, size_t workspace_size, Address counts) {
  const MagnitudeColumns columns =
      magnitude_columns(numel, compute, base, base_dtype, finetuned, finetuned_dtype, prefixes, shift, bits, wide);
  Merge job;
  job.models_given = prefixes.size();
  check_addresses(columns.tensors, job);
  require(counts != 0 && counts % 8 == 0, "counts must be the address of int64 numbers");
  require(workspace % 16 == 0, "the workspace must be at a multiple of 16");
  const py::gil_scoped_release released;
  const OnDevice on_device(device);
  enqueue_count_magnitudes(columns.tensors, columns.digits, pointer<void>(workspace), workspace_size,
                           pointer<int64_t>(counts), pointer<void>(stream));
}

std::vector<CountedTensor> patched_tensors(const py::array& rows, Address workspace) {
  std::vector<CountedTensor> tensors = counted_tensors(rows);
  for (const CountedTensor& counted : tensors) {
    const PatchedTensor& tensor = counted.tensor;
    const size_t size = item_size(tensor.dtype);
    require(tensor.numel == 0 || (multiple_of(tensor.elements, size) && multiple_of(tensor.base, size) &&
                                  multiple_of(tensor.vector.keep, sizeof(uint16_t)) &&
                                  multiple_of(tensor.vector.values, item_size(tensor.compute)) &&
                                  multiple_of(counted.kept_before, sizeof(int64_t))),
            kMisaligned);
  }
  require(workspace % 16 == 0, "the workspace must be at a multiple of 16");
  return tensors;
}

void remember(int device, Address stream, const py::array& rows, Address workspace, size_t workspace_size) {
  const std::vector<CountedTensor> tensors = patched_tensors(rows, workspace);
  const py::gil_scoped_release released;
  const OnDevice on_device(device);
  enqueue_remember(tensors, pointer<void>(workspace), workspace_size, pointer<void>(stream));
}

void move(int device, Address stream, const py::array& rows, const std::vector<PositionRow>& source,
          const PositionRow& target, Address workspace, size_t workspace_size, Address misplaced) {
  const std::vector<Position> from = positions_of(source);
  const Position to = position_of(target);
  const std::vector<CountedTensor> tensors = patched_tensors(rows, workspace);
  require(misplaced != 0 && misplaced % 8 == 0, "misplaced must be the address of an int64");
  const py::gil_scoped_release released;
  const OnDevice on_device(device);
  enqueue_move(tensors, from.front(), from.back(), to, pointer<void>(workspace), workspace_size,
               pointer<int64_t>(misplaced), pointer<void>(stream));
}

}  // namespace

PYBIND11_MODULE(_cuda, m, py::mod_gil_not_used()) {
  m.doc() = "CUDA side of negmerge_ext.";
  static const py::handle cuda_error = PyErr_NewException("negmerge_ext._cuda.CudaError", PyExc_RuntimeError, nullptr);
  m.attr("CudaError") = cuda_error;
  py::register_local_exception_translator([](std::exception_ptr raised) {
    try {
      std::rethrow_exception(raised);
    } catch (const CudaError& problem) {
      PyErr_SetObject(cuda_error.ptr(), py::make_tuple(problem.what(), problem.code).ptr());
    }
  });
  m.attr("runtime_version") = runtime_version();
  m.def("devices", &device_list, "The devices present; RuntimeError with CUDA's reason where there are none.");
  m.def("workspace_bytes", &workspace_of_merge);
  m.def("merge", &merge);
  m.def("magnitudes_workspace_bytes", &magnitudes_workspace_bytes);
  m.def("count_magnitudes", &count_magnitudes);
  m.def("patch_workspace_bytes", &patch_workspace_bytes);
  m.def("remember", &remember);
  m.def("move", &move);
  bind_file_merger(m);
}

}  // namespace negmerge::cuda
