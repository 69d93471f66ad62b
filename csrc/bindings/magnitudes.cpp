// Counts of the magnitudes of differences.
#include "magnitudes.h"

#include <pybind11/stl.h>

#include "../cpu/run_magnitudes.h"
#include "bindings.h"

namespace negmerge {
namespace {

void count_magnitudes(const AddressArray& numel, const CodeArray& compute, const AddressArray& base,
                      const CodeArray& base_dtype, const AddressArray& finetuned, const CodeArray& finetuned_dtype,
                      const std::vector<uint64_t>& prefixes, int shift, int bits, bool wide, const py::object& counts,
                      int threads) {
  require(threads > 0, "threads must be positive");
  const MagnitudeColumns columns =
      magnitude_columns(numel, compute, base, base_dtype, finetuned, finetuned_dtype, prefixes, shift, bits, wide);
  auto array = py::cast<py::array_t<int64_t, py::array::c_style>>(counts);
  require(array.ptr() == counts.ptr() && length(array) == prefixes.size() << bits,
          "counts must be a contiguous int64 array [models, 2 ** bits]");
  int64_t* const bins = array.mutable_data();
  without_gil(
      [&](const Poll& poll) { return run_count_magnitudes(columns.tensors, columns.digits, bins, threads, poll); });
}

}  // namespace

void bind_magnitudes(py::module_& module) { module.def("count_magnitudes", &count_magnitudes); }

}  // namespace negmerge
