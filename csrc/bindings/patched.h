// Patched tensors and positions as Python gives them.
#pragma once

#include <tuple>
#include <vector>

#include "../cpu/run_apply.h"
#include "arguments.h"

namespace negmerge {

// A row of native.PATCHED: addresses and dtype codes of one patched tensor.
struct PatchedRow {
  uint64_t elements, keep, values, base, kept_before, numel;
  int32_t dtype, compute;
};

inline const py::dtype& patched_dtype() {
  PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<py::dtype> kept;
  const auto make = [] {
    return record_dtype({{"elements", "<u8", offsetof(PatchedRow, elements)},
                         {"keep", "<u8", offsetof(PatchedRow, keep)},
                         {"values", "<u8", offsetof(PatchedRow, values)},
                         {"base", "<u8", offsetof(PatchedRow, base)},
                         {"kept_before", "<u8", offsetof(PatchedRow, kept_before)},
                         {"numel", "<u8", offsetof(PatchedRow, numel)},
                         {"dtype", "<i4", offsetof(PatchedRow, dtype)},
                         {"compute", "<i4", offsetof(PatchedRow, compute)}},
                        sizeof(PatchedRow));
  };
  return kept.call_once_and_store_result(make).get_stored();
}

inline std::vector<CountedTensor> counted_tensors(const py::array& rows) {
  require(rows.dtype().equal(patched_dtype()), "rows must be of the dtype PATCHED");
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

using PositionRow = std::tuple<bool, int, double>;  // base, mode, scale

inline Position position_of(const PositionRow& row) {
  const Position position = {std::get<0>(row), mode_of(std::get<1>(row)), std::get<2>(row)};
  require(position.mode != Mode::vector, "a patch is added or subtracted");
  return position;
}

// One position to come from, or two.
inline std::vector<Position> positions_of(const std::vector<PositionRow>& rows) {
  require(rows.size() == 1 || rows.size() == 2, "one position to come from, or two, are needed");
  std::vector<Position> positions;
  for (const PositionRow& row : rows) positions.push_back(position_of(row));
  return positions;
}

}  // namespace negmerge
