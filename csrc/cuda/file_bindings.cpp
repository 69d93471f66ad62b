#include "file_bindings.h"

#include <pybind11/stl.h>

#include <memory>
#include <vector>

#include "../bindings/file_columns.h"
#include "file_merger.h"

namespace negmerge::cuda {
namespace {

// A FileMerger that can be closed before Python is done with it.
class Merger {
 public:
  Merger(int device, size_t workers, size_t slot) {
    require(workers > 0, "at least one worker is needed");
    require(slot % kSlotAlignment == 0, "the size of a slot must be a multiple of 128");
    merger_ = std::make_unique<FileMerger>(device_api(), device, workers, slot);
  }

  void merge(int method, int mode, double scale, size_t models, const AddressArray& numel, const CodeArray& compute,
             const AddressArray& base, const CodeArray& base_dtype, const AddressArray& finetuned,
             const CodeArray& finetuned_dtype, const AddressArray& out, const CodeArray& out_dtype,
             const py::array& stats, const AddressArray& keep, const py::object& histogram, const Paths& paths,
             const NumberArray& base_file, const NumberArray& finetuned_file, const DoubleArray& thresholds) {
    require(merger_ != nullptr, "the merger is closed");
    const std::vector<AddressArray> no_state;
    const Columns columns = {numel, compute,   base, base_dtype, finetuned, finetuned_dtype,
                             out,   out_dtype, keep, no_state,   thresholds};
    const Merge job = merge_of(method, mode, scale, models, columns, true, true, !histogram.is_none());
    check_lengths(columns, job);
    const std::vector<FileTensor> sources = file_tensors_of(columns, job, {base_file, finetuned_file}, paths.size());
    TensorStats* const rows = stats_of(stats, sources.size());
    int64_t* const bins = bins_of(histogram, sources.size(), models);
    const std::vector<File> files = files_of(paths);
    without_gil([&](const Poll& poll) { return merger_->run(job, sources, files, rows, bins, poll); });
  }

  void close() { merger_.reset(); }

 private:
  std::unique_ptr<FileMerger> merger_;
};

}  // namespace

void bind_file_merger(py::module_& module) {
  using namespace py::literals;
  bind_read_error(module, "negmerge_ext._cuda");
  module.def("least_slot", &least_slot);
  module.def("worker_memory",
             [](size_t slot) { return py::make_tuple(Worker::pinned_bytes(slot), Worker::device_bytes(slot)); });
  py::class_<Merger>(module, "FileMerger")
      .def(py::init<int, size_t, size_t>(), py::call_guard<py::gil_scoped_release>())
      .def("merge", &Merger::merge, "method"_a, "mode"_a, "scale"_a, "models"_a, "numel"_a, "compute"_a, "base"_a,
           "base_dtype"_a, "finetuned"_a, "finetuned_dtype"_a, "out"_a, "out_dtype"_a, "stats"_a, "keep"_a,
           "histogram"_a, "files"_a, "base_file"_a, "finetuned_file"_a, "thresholds"_a)
      .def("close", &Merger::close, py::call_guard<py::gil_scoped_release>());
}

}  // namespace negmerge::cuda
