// Merges of a batch of tensors, given by columns of addresses or of places in files.
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "../cpu/run.h"
#include "../files/merge_files.h"
#include "bindings.h"
#include "merge_columns.h"

namespace negmerge {
namespace {

void merge(int method, int mode, double scale, size_t models, const AddressArray& numel, const CodeArray& compute,
           const AddressArray& base, const CodeArray& base_dtype, const AddressArray& finetuned,
           const CodeArray& finetuned_dtype, const AddressArray& out, const CodeArray& out_dtype, py::array stats,
           const AddressArray& keep, const py::object& histogram, const std::vector<AddressArray>& state, bool begin,
           bool end, int threads, const std::vector<std::pair<int, std::string>>& paths, const NumberArray& base_file,
           const NumberArray& finetuned_file) {
  const Columns columns = {numel, compute,   base, base_dtype, finetuned, finetuned_dtype,
                           out,   out_dtype, keep, state,      base_file, finetuned_file};
  require(threads > 0, "threads must be positive");
  Merge job = merge_of(method, mode, scale, models);
  job.models_given = columns.models();
  job.begin = begin;
  job.end = end;
  job.histogram = !histogram.is_none();
  check_lengths(columns, job, paths.size());
  const std::vector<FileTensor> sources = tensors_of(columns, job, !paths.empty());

  TensorStats* const rows = stats_of(stats, sources.size());
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
