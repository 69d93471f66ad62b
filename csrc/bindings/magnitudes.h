// A call to count magnitudes as Python gives it, for any device.
#pragma once

#include <vector>

#include "columns.h"

namespace negmerge {

struct MagnitudeColumns {
  std::vector<Tensor> tensors;
  std::vector<Digit> digits;
};

inline MagnitudeColumns magnitude_columns(const AddressArray& numel, const CodeArray& compute, const AddressArray& base,
                                          const CodeArray& base_dtype, const AddressArray& finetuned,
                                          const CodeArray& finetuned_dtype, const std::vector<uint64_t>& prefixes,
                                          int shift, int bits, bool wide) {
  const AddressArray no_addresses;
  const std::vector<AddressArray> no_state;
  const DoubleArray no_thresholds;
  // What a merge would write to is not asked for.
  const Columns columns = {numel, compute,    base,         base_dtype, finetuned,    finetuned_dtype,
                           base,  base_dtype, no_addresses, no_state,   no_thresholds};
  const Merge job = merge_of(0, 0, 0, prefixes.size(), columns, true, true, false);
  check_lengths(columns, job);
  require(shift >= 0 && bits > 0 && bits <= 16 && shift + bits <= (wide ? 63 : 31), "there is no such digit");
  MagnitudeColumns found = {tensors_of(columns, job, [](size_t, int) { return false; }), {}};
  for (const Tensor& tensor : found.tensors)
    require(wide || tensor.compute == Dtype::f32, "differences in fp64 need wide digits");
  for (const uint64_t prefix : prefixes) found.digits.push_back({prefix, shift, bits, wide});
  return found;
}

}  // namespace negmerge
