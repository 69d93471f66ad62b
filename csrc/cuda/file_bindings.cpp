#include "file_bindings.h"

#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../bindings/merge_columns.h"
#include "file_merger.h"

namespace negmerge::cuda {
namespace {

// A FileMerger that can be closed before Python is done with it.
class Merger {
 public:
  Merger(int device, size_t workers, size_t slot) {
    require(workers > 0, "at least one worker is needed");
    merger_ = std::make_unique<FileMerger>(device_api(), device, workers, slot);
  }

  void merge(int method, int mode, double scale, size_t models, const AddressArray& numel, const CodeArray& compute,
             const AddressArray& base, const CodeArray& base_dtype, const AddressArray& finetuned,
             const CodeArray& finetuned_dtype, const AddressArray& out, const CodeArray& out_dtype, py::array stats,
             const AddressArray& keep, const py::object& histogram,
             const std::vector<std::pair<int, std::string>>& paths, const NumberArray& base_file,
             const NumberArray& finetuned_file) {
    const std::vector<AddressArray> no_state;
    const Columns columns = {numel, compute,   base, base_dtype, finetuned, finetuned_dtype,
                             out,   out_dtype, keep, no_state,   base_file, finetuned_file};
    require(merger_ != nullptr, "the merger is closed");
    Merge job = merge_of(method, mode, scale, models);
    job.models_given = columns.models();
    job.histogram = !histogram.is_none();
    check_lengths(columns, job, paths.size());
    const std::vector<FileTensor> sources = tensors_of(columns, job, !paths.empty());
    TensorStats* const rows = stats_of(stats, sources.size());
    int64_t* const bins = bins_of(histogram, sources.size(), models);
    std::vector<File> files;
    for (const auto& [descriptor, path] : paths) files.push_back({descriptor, path});
    without_gil([&](const Poll& poll) { return merger_->run(job, sources, files, rows, bins, poll); });
  }

  void close() { merger_.reset(); }

 private:
  std::unique_ptr<FileMerger> merger_;
};

}  // namespace

void bind_file_merger(py::module_& module) {
  static const py::handle read_error = PyErr_NewException("negmerge_ext._cuda.ReadError", nullptr, nullptr);
  module.attr("ReadError") = read_error;
  py::register_local_exception_translator([](std::exception_ptr raised) {
    try {
      std::rethrow_exception(raised);
    } catch (const ReadError& problem) {
      PyErr_SetObject(read_error.ptr(), py::make_tuple(problem.file, problem.offset, problem.code).ptr());
    }
  });
  module.def("least_slot", &least_slot);
  module.def("worker_memory",
             [](size_t slot) { return py::make_tuple(Worker::pinned_bytes(slot), Worker::device_bytes(device_api(), slot)); });
  py::class_<Merger>(module, "FileMerger")
      .def(py::init<int, size_t, size_t>(), py::call_guard<py::gil_scoped_release>())
      .def("merge", &Merger::merge)
      .def("close", &Merger::close, py::call_guard<py::gil_scoped_release>());
}

}  // namespace negmerge::cuda
