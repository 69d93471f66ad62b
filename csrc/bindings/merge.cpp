// Merges of a batch of tensors, given by columns of addresses or of places in files.
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "../cpu/run.h"
#include "../cpu/tuning.h"
#include "../files/merge_files.h"
#include "arguments.h"
#include "bindings.h"

namespace negmerge {
namespace {

// The columns of a call, by tensor. finetuned and finetuned_dtype are [tensors, models of this call]; keep is empty or
// by tensor; state is empty, or sum, positive, negative and (for a histogram) counts, each by tensor. If there are
// files, base_file and finetuned_file say for each input which of them it is in, -1 for memory; its address is then a
// byte offset.
struct Columns {
  const AddressArray& numel;
  const CodeArray& compute;
  const AddressArray& base;
  const CodeArray& base_dtype;
  const AddressArray& finetuned;
  const CodeArray& finetuned_dtype;
  const AddressArray& out;
  const CodeArray& out_dtype;
  const AddressArray& keep;
  const std::vector<AddressArray>& state;
  const NumberArray& base_file;
  const NumberArray& finetuned_file;

  size_t tensors() const { return length(numel); }
  size_t models() const { return tensors() == 0 ? 0 : length(finetuned) / tensors(); }
};

void check_lengths(const Columns& columns, const Merge& job, size_t files) {
  const size_t count = columns.tensors(), inputs = length(columns.finetuned);
  require(length(columns.compute) == count && length(columns.base) == count && length(columns.base_dtype) == count &&
              length(columns.out) == count && length(columns.out_dtype) == count &&
              (length(columns.keep) == 0 || length(columns.keep) == count),
          "arrays differ in length");
  require(count == 0 || inputs % count == 0, "finetuned is not a whole number of models per tensor");
  require(inputs == length(columns.finetuned_dtype), "finetuned and finetuned_dtype differ in length");
  const bool at_once = job.begin && job.end;
  require(!at_once || count == 0 || columns.models() == job.models, "not all models are given at once");
  require(columns.state.empty() ? at_once : columns.state.size() == 4, "all models at once, or a state");
  for (size_t part = 0; part < columns.state.size(); part++)
    require(length(columns.state[part]) == count || (part == 3 && !job.histogram), "state arrays differ in length");
  if (files == 0) return;
  require(columns.state.empty(), "models in files are given all at once");
  require(length(columns.base_file) == count && length(columns.finetuned_file) == inputs, "arrays differ in length");
  for (const NumberArray* numbers : {&columns.base_file, &columns.finetuned_file})
    for (py::ssize_t i = 0; i < numbers->size(); i++)
      require(numbers->data()[i] < static_cast<int64_t>(files), "there is no such file");
}

// Which file each input of a tensor is in, where there are files.
FileTensor with_files(const Columns& columns, size_t t, const Tensor& tensor) {
  return {tensor, columns.base_file.data()[t], columns.finetuned_file.data() + t * columns.models()};
}

void check_inputs(const FileTensor& source, size_t models) {
  const Tensor& tensor = source.tensor;
  const auto given = [&](const void* address, int32_t file) {
    return tensor.numel == 0 || address != nullptr || file >= 0;
  };
  const bool in_files = source.finetuned_file != nullptr;
  bool all_given = given(tensor.base, source.base_file), double_input = tensor.base_dtype == Dtype::f64;
  for (size_t k = 0; k < models; k++) {
    all_given &= given(tensor.finetuned[k], in_files ? source.finetuned_file[k] : -1);
    double_input |= tensor.finetuned_dtype[k] == Dtype::f64;
  }
  require(all_given, "an input address is null");
  require(!double_input || tensor.compute == Dtype::f64, "fp64 input needs the compute type F64");
}

std::vector<FileTensor> tensors_of(const Columns& columns, const Merge& job, bool from_files) {
  const auto* sources = reinterpret_cast<const void* const*>(columns.finetuned.data());
  const Dtype* source_dtypes = dtypes_of(columns.finetuned_dtype);
  const Dtype* base_dtypes = dtypes_of(columns.base_dtype);
  const Dtype* out_dtypes = dtypes_of(columns.out_dtype);
  const auto& state = columns.state;
  std::vector<FileTensor> tensors(columns.tensors());
  for (size_t t = 0; t < tensors.size(); t++) {
    require(columns.numel.data()[t] >= 0, "numel must not be negative");
    Tensor tensor;
    tensor.numel = static_cast<size_t>(columns.numel.data()[t]);
    tensor.compute = compute_of(columns.compute.data()[t]);
    tensor.base = pointer<const void>(columns.base.data()[t]);
    tensor.base_dtype = base_dtypes[t];
    tensor.finetuned = sources + t * job.models_given;
    tensor.finetuned_dtype = source_dtypes + t * job.models_given;
    tensor.out = pointer<void>(columns.out.data()[t]);
    tensor.out_dtype = out_dtypes[t];
    tensor.keep = length(columns.keep) == 0 ? nullptr : pointer<uint16_t>(columns.keep.data()[t]);
    if (!state.empty())
      tensor.state = {pointer<void>(state[0].data()[t]), pointer<uint16_t>(state[1].data()[t]),
                      pointer<uint16_t>(state[2].data()[t]),
                      job.histogram ? pointer<uint16_t>(state[3].data()[t]) : nullptr};
    tensors[t] = from_files ? with_files(columns, t, tensor) : FileTensor{tensor};
    check_inputs(tensors[t], job.models_given);
  }
  return tensors;
}

// Where statistics go, a row by tensor; null for none.
TensorStats* rows_of(const py::object& stats, size_t tensors) {
  if (stats.is_none()) return nullptr;
  auto rows = py::cast<py::array>(stats);
  require(rows.itemsize() == sizeof(TensorStats) && length(rows) == tensors, "stats must hold one row per tensor");
  require((rows.flags() & py::array::c_style) != 0, "stats must be contiguous");
  return static_cast<TensorStats*>(rows.mutable_data());
}

// Where a histogram is counted, [tensors, models + 1]; null for none.
int64_t* bins_of(const py::object& histogram, size_t tensors, size_t models) {
  if (histogram.is_none()) return nullptr;
  require(models < 65536, "a histogram takes at most 65535 models");
  auto array = py::cast<py::array_t<int64_t, py::array::c_style>>(histogram);
  require(array.ptr() == histogram.ptr() && length(array) == tensors * (models + 1),
          "histogram must be a contiguous int64 array [tensors, models + 1]");
  return array.mutable_data();
}

void merge(int method, int mode, double scale, size_t models, const AddressArray& numel, const CodeArray& compute,
           const AddressArray& base, const CodeArray& base_dtype, const AddressArray& finetuned,
           const CodeArray& finetuned_dtype, const AddressArray& out, const CodeArray& out_dtype,
           const py::object& stats, const AddressArray& keep, const py::object& histogram,
           const std::vector<AddressArray>& state, bool begin, bool end, int threads,
           const std::vector<std::pair<int, std::string>>& paths, const NumberArray& base_file,
           const NumberArray& finetuned_file) {
  const Columns columns = {numel, compute,   base, base_dtype, finetuned, finetuned_dtype,
                           out,   out_dtype, keep, state,      base_file, finetuned_file};
  require(method >= 0 && method < kMethods, "unknown method code");
  require(models > 0, "at least one model is needed");
  require(threads > 0, "threads must be positive");
  Merge job;
  job.method = static_cast<Method>(method);
  job.mode = mode_of(mode);
  job.scale = scale;
  job.models = models;
  job.models_given = columns.models();
  job.begin = begin;
  job.end = end;
  job.histogram = !histogram.is_none();
  check_lengths(columns, job, paths.size());
  const std::vector<FileTensor> sources = tensors_of(columns, job, !paths.empty());

  TensorStats* const rows = rows_of(stats, sources.size());
  int64_t* const bins = bins_of(histogram, sources.size(), models);
  if (paths.empty()) {
    std::vector<Tensor> tensors;
    tensors.reserve(sources.size());
    for (const FileTensor& source : sources) tensors.push_back(source.tensor);
    without_gil([&](const Poll& poll) { return run_merge(job, tensors, rows, bins, threads, poll); });
    return;
  }
  std::vector<File> files;
  for (const auto& [descriptor, path] : paths) files.push_back({descriptor, path});
  without_gil([&](const Poll& poll) { return run_merge_files(job, sources, files, rows, bins, threads, poll); });
}

}  // namespace

void bind_merge(py::module_& module) {
  module.attr("BLOCK") = kBlock;
  module.attr("SCRATCH") = kScratch;
  // Raised with the number of a file, a byte offset, and an errno (0: the file ends there).
  static const py::handle read_error = PyErr_NewException("negmerge_ext._core.ReadError", nullptr, nullptr);
  module.attr("ReadError") = read_error;
  py::register_local_exception_translator([](std::exception_ptr raised) {
    try {
      std::rethrow_exception(raised);
    } catch (const ReadError& problem) {
      PyErr_SetObject(read_error.ptr(), py::make_tuple(problem.file, problem.offset, problem.code).ptr());
    }
  });
  module.def("merge", &merge);
}

}  // namespace negmerge
