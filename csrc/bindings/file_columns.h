// A batch of tensors whose inputs may lie in files, and where what is counted of them goes, as Python gives them.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "../files/merge_files.h"
#include "columns.h"

namespace negmerge {

// Descriptor (-1: to be opened for every read) and path.
using Paths = std::vector<std::pair<int, std::string>>;

inline std::vector<File> files_of(const Paths& paths) {
  std::vector<File> files;
  for (const auto& [descriptor, path] : paths) files.push_back({descriptor, path});
  return files;
}

// For each input, which of the files it is in; its address is then a byte offset. -1: in memory. Empty without files.
struct FileColumns {
  const NumberArray& base;
  const NumberArray& finetuned;
};

inline void check_files(const Columns& columns, const FileColumns& numbers, size_t files) {
  if (files == 0) return;
  require(columns.state.empty(), "models in files are given all at once");
  require(length(numbers.base) == columns.tensors() && length(numbers.finetuned) == length(columns.finetuned),
          "arrays differ in length");
  for (const NumberArray* given : {&numbers.base, &numbers.finetuned})
    for (py::ssize_t i = 0; i < given->size(); i++)
      require(given->data()[i] < static_cast<int64_t>(files), "there is no such file");
}

// files: how many there are.
inline std::vector<FileTensor> file_tensors_of(const Columns& columns, const Merge& job, const FileColumns& numbers,
                                               size_t files) {
  check_files(columns, numbers, files);
  const int32_t *base = numbers.base.data(), *finetuned = numbers.finetuned.data();
  const size_t given = job.models_given;
  const std::vector<Tensor> tensors = tensors_of(columns, job, [&](size_t t, int k) {
    return files > 0 && (k < 0 ? base[t] : finetuned[t * given + static_cast<size_t>(k)]) >= 0;
  });
  std::vector<FileTensor> sources;
  sources.reserve(tensors.size());
  for (size_t t = 0; t < tensors.size(); t++)
    sources.push_back(files > 0 ? FileTensor{tensors[t], base[t], finetuned + t * given} : FileTensor{tensors[t]});
  return sources;
}

// NATIVE_STATS of negmerge_ext/stats.py.
inline const py::dtype& stats_dtype() {
  PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<py::dtype> kept;
  const auto make = [] {
    return record_dtype({{"kept", "<i8", offsetof(TensorStats, kept)},
                         {"non_finite", "<i8", offsetof(TensorStats, non_finite)},
                         {"sum_squares", "<f8", offsetof(TensorStats, sum_squares)},
                         {"max_abs", "<f8", offsetof(TensorStats, max_abs)}},
                        sizeof(TensorStats));
  };
  return kept.call_once_and_store_result(make).get_stored();
}

// Where statistics are counted, a row for each tensor; null for none.
inline TensorStats* stats_of(const py::object& stats, size_t tensors) {
  if (stats.is_none()) return nullptr;
  auto rows = py::cast<py::array>(stats);
  require(rows.dtype().equal(stats_dtype()), "stats must be of the dtype NATIVE_STATS");
  require(length(rows) == tensors, "stats must hold one row per tensor");
  require((rows.flags() & py::array::c_style) != 0, "stats must be contiguous");
  return static_cast<TensorStats*>(rows.mutable_data());
}

// Where a histogram is counted, [tensors, models + 1]; null for none.
inline int64_t* bins_of(const py::object& histogram, size_t tensors, size_t models) {
  if (histogram.is_none()) return nullptr;
  auto array = py::cast<py::array_t<int64_t, py::array::c_style>>(histogram);
  require(array.ptr() == histogram.ptr() && length(array) == tensors * (models + 1),
          "histogram must be a contiguous int64 array [tensors, models + 1]");
  return array.mutable_data();
}

// Makes a ReadError one of Python's: the number of a file, a byte offset, and an errno (0: the file ends there). `name`
// is that of the module.
inline void bind_read_error(py::module_& module, const char* name) {
  static const py::handle read_error = PyErr_NewException((std::string(name) + ".ReadError").c_str(), nullptr, nullptr);
  module.attr("ReadError") = read_error;
  py::register_local_exception_translator([](std::exception_ptr raised) {
    try {
      std::rethrow_exception(raised);
    } catch (const ReadError& problem) {
      PyErr_SetObject(read_error.ptr(), py::make_tuple(problem.file, problem.offset, problem.code).ptr());
    }
  });
}

}  // namespace negmerge
