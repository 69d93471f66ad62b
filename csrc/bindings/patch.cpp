// Merged vectors in sparse form: packed, and applied.
#include <pybind11/stl.h>

#include <vector>

#include "../cpu/dispatch.h"
#include "../cpu/run_apply.h"
#include "bindings.h"
#include "patched.h"

namespace negmerge {
namespace {

void apply_patch(int mode, double scale, size_t numel, int compute, Address base, int base_dtype, Address out,
                 int out_dtype, Address keep, Address values, int threads) {
  require(mode_of(mode) != Mode::vector, "a patch is added or subtracted");
  require(threads > 0, "threads must be positive");
  Tensor tensor;
  tensor.numel = numel;
  tensor.compute = compute_of(compute);
  tensor.base = pointer<const void>(base);
  tensor.base_dtype = dtype_of(base_dtype);
  tensor.out = pointer<void>(out);
  tensor.out_dtype = dtype_of(out_dtype);
  require(tensor.base_dtype != Dtype::f64 || tensor.compute == Dtype::f64, "fp64 input needs the compute type F64");
  const SparseVector patch = {pointer<const uint16_t>(keep), pointer<const void>(values)};
  without_gil([&](const Poll& poll) { return run_apply(mode_of(mode), scale, tensor, patch, threads, poll); });
}

size_t gather(size_t numel, size_t item, Address source, Address keep, Address destination) {
  require(item == 1 || item == 2 || item == 4 || item == 8, "item size must be 1, 2, 4 or 8");
  return active_kernels().sparse.gather(item, numel, pointer<const void>(source), pointer<const uint16_t>(keep),
                                        pointer<void>(destination));
}

py::array_t<int64_t> kept_before(size_t numel, Address keep) {
  const std::vector<int64_t> before = count_before_blocks(numel, pointer<const uint16_t>(keep));
  return py::array_t<int64_t>(static_cast<py::ssize_t>(before.size()), before.data());
}

void remember(const py::array& rows, int threads) {
  require(threads > 0, "threads must be positive");
  const std::vector<CountedTensor> tensors = counted_tensors(rows);
  without_gil([&](const Poll& poll) { return run_remember(tensors, threads, poll); });
}

bool move(const py::array& rows, const std::vector<PositionRow>& from, const PositionRow& to, int threads) {
  require(threads > 0, "threads must be positive");
  const std::vector<Position> positions = positions_of(from);
  const Position target = position_of(to);
  const std::vector<CountedTensor> tensors = counted_tensors(rows);
  Moved moved;
  without_gil([&](const Poll& poll) {
    moved = run_move(tensors, positions[0], from.size() == 2 ? &positions[1] : nullptr, target, threads, poll);
    return moved != Moved::stopped;
  });
  return moved == Moved::done;
}

}  // namespace

void bind_patch(py::module_& module) {
  module.def("apply_patch", &apply_patch);
  module.def("gather", &gather, py::call_guard<py::gil_scoped_release>());
  module.def("kept_before", &kept_before);
  module.def("remember", &remember);
  module.def("move", &move);
  module.def(
      "count",
      [](size_t numel, Address keep) { return active_kernels().sparse.count(numel, pointer<const uint16_t>(keep)); },
      py::call_guard<py::gil_scoped_release>());
}

}  // namespace negmerge
