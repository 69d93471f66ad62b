// A batch of tensors as Python gives it: columns of addresses and codes, by tensor.
#pragma once

#include <vector>

#include "../method_facts.h"
#include "arguments.h"

namespace negmerge {

// finetuned, finetuned_dtype and, if the method has them, thresholds are [tensors, models of this call]; keep is empty
// or by tensor; state is empty, or values, positive, negative and (for a histogram) counts, each by tensor.
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
  const DoubleArray& thresholds;

  size_t tensors() const { return length(numel); }
  size_t models() const { return tensors() == 0 ? 0 : length(finetuned) / tensors(); }
};

// Models that a histogram takes at most: signs are counted in 16 bits.
constexpr size_t kMostCounted = 65535;

// A merge of the models of these columns; what is not given here is as Merge has it.
inline Merge merge_of(int method, int mode, double scale, size_t models, const Columns& columns, bool begin, bool end,
                      bool histogram) {
  require(method >= 0 && method < kMethods, "unknown method code");
  require(models > 0, "at least one model is needed");
  require(!histogram || models <= kMostCounted, "a histogram takes at most 65535 models");
  Merge job;
  job.method = static_cast<uint8_t>(method);
  job.mode = mode_of(mode);
  job.scale = scale;
  job.models = models;
  job.models_given = columns.models();
  job.begin = begin;
  job.end = end;
  job.histogram = histogram;
  return job;
}

inline void check_lengths(const Columns& columns, const Merge& job) {
  const size_t count = columns.tensors(), inputs = length(columns.finetuned);
  require(length(columns.compute) == count && length(columns.base) == count && length(columns.base_dtype) == count &&
              length(columns.out) == count && length(columns.out_dtype) == count &&
              (length(columns.keep) == 0 || length(columns.keep) == count),
          "arrays differ in length");
  require(count == 0 || inputs % count == 0, "finetuned is not a whole number of models per tensor");
  require(inputs == length(columns.finetuned_dtype), "finetuned and finetuned_dtype differ in length");
  const MethodFacts method = facts_of(job.method);
  require(length(columns.thresholds) == (method.thresholds ? inputs : 0),
          "thresholds are needed for each model of a method that has them, and for no other");
  const bool at_once = job.begin && job.end;
  require(!at_once || count == 0 || columns.models() == job.models, "not all models are given at once");
  require(columns.state.empty() ? at_once : columns.state.size() == 4, "all models at once, or a state");
  const bool needed[] = {true, method.signs, method.signs, job.histogram};
  for (size_t part = 0; part < columns.state.size(); part++)
    require(length(columns.state[part]) == count || !needed[part], "state arrays differ in length");
}

// in_file(t, k): whether model k of tensor t, or its base (k = -1), lies in a file, where its address may be 0.
template <class InFile>
std::vector<Tensor> tensors_of(const Columns& columns, const Merge& job, InFile&& in_file) {
  const auto* sources = reinterpret_cast<const void* const*>(columns.finetuned.data());
  const Dtype* source_dtypes = dtypes_of(columns.finetuned_dtype);
  const Dtype* base_dtypes = dtypes_of(columns.base_dtype);
  const Dtype* out_dtypes = dtypes_of(columns.out_dtype);
  const auto& state = columns.state;
  const bool signs = facts_of(job.method).signs, thresholds = length(columns.thresholds) > 0;
  std::vector<Tensor> tensors(columns.tensors());
  for (size_t t = 0; t < tensors.size(); t++) {
    require(columns.numel.data()[t] >= 0, "numel must not be negative");
    Tensor& tensor = tensors[t];
    tensor.numel = static_cast<size_t>(columns.numel.data()[t]);
    tensor.compute = compute_of(columns.compute.data()[t]);
    tensor.base = pointer<const void>(columns.base.data()[t]);
    tensor.base_dtype = base_dtypes[t];
    tensor.finetuned = sources + t * job.models_given;
    tensor.finetuned_dtype = source_dtypes + t * job.models_given;
    tensor.out = pointer<void>(columns.out.data()[t]);
    tensor.out_dtype = out_dtypes[t];
    tensor.keep = length(columns.keep) == 0 ? nullptr : pointer<uint16_t>(columns.keep.data()[t]);
    if (thresholds) tensor.threshold = columns.thresholds.data() + t * job.models_given;
    if (!state.empty()) {
      tensor.state = {pointer<void>(state[0].data()[t]), signs ? pointer<uint16_t>(state[1].data()[t]) : nullptr,
                      signs ? pointer<uint16_t>(state[2].data()[t]) : nullptr,
                      job.histogram ? pointer<uint16_t>(state[3].data()[t]) : nullptr};
      const State& kept = tensor.state;
      const bool whole = kept.values != nullptr && ((kept.positive != nullptr && kept.negative != nullptr) || !signs) &&
                         (kept.counts != nullptr || !job.histogram);
      require(tensor.numel == 0 || whole, "a state address is null");
    }

    const auto given = [&](const void* address, int k) {
      return tensor.numel == 0 || address != nullptr || in_file(t, k);
    };
    bool all_given = given(tensor.base, -1), double_input = tensor.base_dtype == Dtype::f64;
    for (size_t k = 0; k < job.models_given; k++) {
      all_given &= given(tensor.finetuned[k], static_cast<int>(k));
      double_input |= tensor.finetuned_dtype[k] == Dtype::f64;
    }
    require(all_given, "an input address is null");
    require(!double_input || tensor.compute == Dtype::f64, "fp64 input needs the compute type F64");
  }
  return tensors;
}

}  // namespace negmerge
