// Merges of a batch of tensors, given by columns of addresses or of places in files.
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "../cpu/run.h"
#include "../cpu/tuning.h"
#include "../files/merge_files.h"
#include "bindings.h"
#include "columns.h"

namespace negmerge {
namespace {

// For each input, which of the files it is in; its address is then a byte offset. -1: in memory. Empty without files.
struct FileColumns {
  const NumberArray& base;
  const NumberArray& finetuned;
};

void check_files(const Columns& columns, const FileColumns& numbers, size_t files) {
  if (files == 0) return;
  require(columns.state.empty(), "models in files are given all at once");
  require(length(numbers.base) == columns.tensors() && length(numbers.finetuned) == length(columns.finetuned),
          "arrays differ in length");
  for (const NumberArray* given : {&numbers.base, &numbers.finetuned})
    for (py::ssize_t i = 0; i < given->size(); i++)
      require(given->data()[i] < static_cast<int64_t>(files), "there is no such file");
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
  const Columns columns = {numel, compute, base, base_dtype, finetuned, finetuned_dtype, out, out_dtype, keep, state};
  const FileColumns numbers = {base_file, finetuned_file};
  const bool in_files = !paths.empty();
  require(threads > 0, "threads must be positive");
  const Merge job = merge_of(method, mode, scale, models, columns, begin, end, !histogram.is_none());
  check_lengths(columns, job);
  check_files(columns, numbers, paths.size());
  const int32_t *base_number = numbers.base.data(), *finetuned_number = numbers.finetuned.data();
  const size_t given = job.models_given;
  const std::vector<Tensor> tensors = tensors_of(columns, job, [&](size_t t, int k) {
    return in_files && (k < 0 ? base_number[t] : finetuned_number[t * given + static_cast<size_t>(k)]) >= 0;
  });

  TensorStats* const rows = rows_of(stats, tensors.size());
  int64_t* const bins = bins_of(histogram, tensors.size(), models);
  if (!in_files) {
    without_gil([&](const Poll& poll) { return run_merge(job, tensors, rows, bins, threads, poll); });
    return;
  }
  std::vector<FileTensor> sources;
  sources.reserve(tensors.size());
  for (size_t t = 0; t < tensors.size(); t++)
    sources.push_back({tensors[t], base_number[t], finetuned_number + t * given});
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
