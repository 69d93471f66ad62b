// Merges of a batch of tensors, given by columns of addresses or of places in files.
#include <pybind11/stl.h>

#include <vector>

#include "../cpu/run.h"
#include "../cpu/tuning.h"
#include "bindings.h"
#include "file_columns.h"

namespace negmerge {
namespace {

void merge(int method, int mode, double scale, size_t models, const AddressArray& numel, const CodeArray& compute,
           const AddressArray& base, const CodeArray& base_dtype, const AddressArray& finetuned,
           const CodeArray& finetuned_dtype, const AddressArray& out, const CodeArray& out_dtype,
           const py::object& stats, const AddressArray& keep, const py::object& histogram,
           const std::vector<AddressArray>& state, bool begin, bool end, int threads, const Paths& paths,
           const NumberArray& base_file, const NumberArray& finetuned_file, const DoubleArray& thresholds) {
  const Columns columns = {numel, compute,   base, base_dtype, finetuned, finetuned_dtype,
                           out,   out_dtype, keep, state,      thresholds};
  require(threads > 0, "threads must be positive");
  const Merge job = merge_of(method, mode, scale, models, columns, begin, end, !histogram.is_none());
  check_lengths(columns, job);
  const std::vector<FileTensor> sources = file_tensors_of(columns, job, {base_file, finetuned_file}, paths.size());
  TensorStats* const rows = stats_of(stats, sources.size());
  int64_t* const bins = bins_of(histogram, sources.size(), models);
  if (paths.empty()) {
    std::vector<Tensor> tensors;
    tensors.reserve(sources.size());
    for (const FileTensor& source : sources) tensors.push_back(source.tensor);
    without_gil([&](const Poll& poll) { return run_merge(job, tensors, rows, bins, threads, poll); });
    return;
  }
  const std::vector<File> files = files_of(paths);
  without_gil([&](const Poll& poll) { return run_merge_files(job, sources, files, rows, bins, threads, poll); });
}

}  // namespace

void bind_merge(py::module_& module) {
  py::list methods;
  for (int number = 0; number < kMethods; number++) {
    const MethodFacts facts = facts_of(static_cast<uint8_t>(number));
    methods.append(py::make_tuple(facts.name, facts.values, facts.signs, facts.thresholds));
  }
  module.attr("METHODS") = py::tuple(methods);
  module.attr("BLOCK") = kBlock;
  module.attr("SCRATCH") = kScratch;
  module.attr("MOST_COUNTED") = kMostCounted;
  bind_read_error(module, "negmerge_ext._core");
  module.def("merge", &merge);
}

}  // namespace negmerge
