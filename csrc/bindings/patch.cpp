// Merged vectors in sparse form: packed, and applied.
#include <pybind11/stl.h>

#include <tuple>
#include <vector>

#include "../cpu/dispatch.h"
#include "../cpu/run_apply.h"
#include "arguments.h"
#include "bindings.h"

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

// A row of native.PATCHED: addresses and dtype codes of one patched tensor.
struct PatchedRow {
  uint64_t elements, keep, values, base, kept_before, numel;
  int32_t dtype, compute;
};

std::vector<CountedTensor> counted_tensors(const py::array& rows) {
  require(rows.itemsize() == sizeof(PatchedRow), "rows must be of the dtype PATCHED");
  require((rows.flags() & py::array::c_style) != 0, "rows must be contiguous");
  const auto* row = static_cast<const PatchedRow*>(rows.data());
  std::vector<CountedTensor> tensors(static_cast<size_t>(rows.size()));
  for (CountedTensor& counted : tensors) {
    PatchedTensor& tensor = counted.tensor;
    tensor.numel = row->numel;
    tensor.elements = pointer<void>(row->elements);
    tensor.dtype = dtype_of(row->dtype);
    tensor.compute = compute_of(row->compute);
    tensor.vector = {pointer<const uint16_t>(row->keep), pointer<const void>(row->values)};
    tensor.base = pointer<void>(row->base);
    counted.kept_before = pointer<const int64_t>(row->kept_before);
    require(tensor.dtype != Dtype::f64 || tensor.compute == Dtype::f64, "fp64 input needs the compute type F64");
    row++;
  }
  return tensors;
}

void remember(const py::array& rows, int threads) {
  require(threads > 0, "threads must be positive");
  const std::vector<CountedTensor> tensors = counted_tensors(rows);
  without_gil([&](const Poll& poll) { return run_remember(tensors, threads, poll); });
}

using PositionRow = std::tuple<bool, int, double>;  // base, mode, scale

Position position_of(const PositionRow& row) {
  const Position position = {std::get<0>(row), mode_of(std::get<1>(row)), std::get<2>(row)};
  require(position.mode != Mode::vector, "a patch is added or subtracted");
  return position;
}

bool move(const py::array& rows, const std::vector<PositionRow>& from, const PositionRow& to, int threads) {
  require(threads > 0, "threads must be positive");
  require(from.size() == 1 || from.size() == 2, "one position to come from, or two, are needed");
  std::vector<Position> positions;
  for (const PositionRow& row : from) positions.push_back(position_of(row));
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
