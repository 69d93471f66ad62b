// The columns that a merge is given by Python, checked, and as kernels take them.
#pragma once

#include <cstdint>
#include <vector>

#include "../cpu/run.h"
#include "../files/merge_files.h"
#include "arguments.h"

namespace negmerge {

// The columns of a call, by tensor. finetuned and finetuned_dtype are [tensors, models of this call]; keep is empty or
// by tensor; state is empty, or sum, positive, negative and (for a histogram) counts, each by tensor. If there are
// files, base_file and finetuned_file say for each input which of them it is in, -1 for memory; its address is then a
// byte offset.
struct Columns {
  const AddressArray& numel;
  const CodeArray& compute;
  const AddressArray& base;
  const CodeArray& base_dtype;
  const AddressArray& finetuned;
  const CodeArray& finetuned_dtype;
  const AddressArray& out;
  const CodeArray& out_dtype;
  const AddressArray& keep;
  const std::vector<AddressArray>& state;
  const NumberArray& base_file;
  const NumberArray& finetuned_file;

  size_t tensors() const { return length(numel); }
  size_t models() const { return tensors() == 0 ? 0 : length(finetuned) / tensors(); }
};

// Throws std::invalid_argument unless all columns fit each other, the merge, and the number of files.
void check_lengths(const Columns& columns, const Merge& job, size_t files);

// Every tensor of a call, its inputs checked; they point into the columns.
std::vector<FileTensor> tensors_of(const Columns& columns, const Merge& job, bool from_files);

// What is asked for, checked; models_given, begin, end and histogram are the caller's to set.
Merge merge_of(int method, int mode, double scale, size_t models);

// Where statistics are counted, a row per tensor.
TensorStats* stats_of(py::array& stats, size_t tensors);

// Where a histogram is counted, [tensors, models + 1]; null for none.
int64_t* bins_of(const py::object& histogram, size_t tensors, size_t models);

}  // namespace negmerge
