// negmerge_ext._core: addresses and sizes in, nothing of torch (negmerge_ext/native.py is the typed side).
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "cpu/dispatch.h"
#include "cpu/run.h"
#include "cpu/run_apply.h"
#include "files/merge_files.h"

namespace py = pybind11;

namespace negmerge {
namespace {

using Address = int64_t;

void require(bool holds, const char* otherwise) {
  if (!holds) throw std::invalid_argument(otherwise);
}

Dtype dtype_of(int code) {
  require(code >= 0 && code < kDtypes, "unknown dtype code");
  return static_cast<Dtype>(code);
}
Dtype compute_of(int code) {
  require(code == static_cast<int>(Dtype::f64) || code == static_cast<int>(Dtype::f32),
          "compute type must be F64 or F32");
  return static_cast<Dtype>(code);
}
Mode mode_of(int code) {
  require(code >= 0 && code < kModes, "unknown mode code");
  return static_cast<Mode>(code);
}
template <class T>
T* pointer(Address address) {
  return reinterpret_cast<T*>(address);
}

// Runs work() without the GIL, giving Python's signal handlers a chance through its argument. What a handler raises,
// KeyboardInterrupt for one, is raised when the work has come to rest.
template <class Work>
void without_gil(Work&& work) {
  bool finished;
  {
    const py::gil_scoped_release released;
    finished = work([] {
      const py::gil_scoped_acquire acquired;
      return PyErr_CheckSignals() != 0;
    });
  }
  if (!finished) throw py::error_already_set();
}

// Arrays by tensor; what is given as something else is converted.
using AddressArray = py::array_t<int64_t, py::array::c_style | py::array::forcecast>;
using NumberArray = py::array_t<int32_t, py::array::c_style | py::array::forcecast>;
using CodeArray = py::array_t<uint8_t, py::array::c_style | py::array::forcecast>;
static_assert(sizeof(void*) == sizeof(int64_t) && sizeof(Dtype) == sizeof(uint8_t), "arrays are read where they lie");

// The dtypes of an array of codes, where they lie.
const Dtype* dtypes_of(const CodeArray& codes) {
  const auto* first = codes.data();
  for (py::ssize_t i = 0; i < codes.size(); i++) dtype_of(first[i]);
  return reinterpret_cast<const Dtype*>(first);
}

size_t length(const py::array& array) { return static_cast<size_t>(array.size()); }

// finetuned and finetuned_dtype are [tensors, models of this call]; keep is empty or by tensor; state is empty, or
// sum, positive, negative and (for a histogram) counts, each by tensor. If there are files, base_file and
// finetuned_file say for each input which of them it is in, -1 for memory; its address is then a byte offset.
void merge(int method, int mode, double scale, size_t models, const AddressArray& numel, const CodeArray& compute,
           const AddressArray& base, const CodeArray& base_dtype, const AddressArray& finetuned,
           const CodeArray& finetuned_dtype, const AddressArray& out, const CodeArray& out_dtype, py::array stats,
           const AddressArray& keep, const py::object& histogram, const std::vector<AddressArray>& state, bool begin,
           bool end, int threads, const std::vector<std::pair<int, std::string>>& paths, const NumberArray& base_file,
           const NumberArray& finetuned_file) {
  const size_t count = length(numel);
  require(method >= 0 && method < kMethods, "unknown method code");
  require(length(compute) == count && length(base) == count && length(base_dtype) == count && length(out) == count &&
              length(out_dtype) == count && (length(keep) == 0 || length(keep) == count),
          "arrays differ in length");
  require(models > 0, "at least one model is needed");
  require(count == 0 || length(finetuned) % count == 0, "finetuned is not a whole number of models per tensor");
  require(length(finetuned) == length(finetuned_dtype), "finetuned and finetuned_dtype differ in length");
  Merge job;
  job.method = static_cast<Method>(method);
  job.mode = mode_of(mode);
  job.scale = scale;
  job.models = models;
  job.models_given = count == 0 ? 0 : length(finetuned) / count;
  job.begin = begin;
  job.end = end;
  job.histogram = !histogram.is_none();
  require(state.empty() ? begin && end && (count == 0 || job.models_given == models) : state.size() == 4,
          "all models at once, or a state");
  for (size_t part = 0; part < state.size(); part++)
    require(length(state[part]) == count || (part == 3 && !job.histogram), "state arrays differ in length");
  require(threads > 0, "threads must be positive");

  const auto* sources = reinterpret_cast<const void* const*>(finetuned.data());
  const Dtype* source_dtypes = dtypes_of(finetuned_dtype);
  const Dtype* base_dtypes = dtypes_of(base_dtype);
  const Dtype* out_dtypes = dtypes_of(out_dtype);
  const bool from_files = !paths.empty();
  std::vector<File> files;
  for (const auto& [descriptor, path] : paths) files.push_back({descriptor, path});
  if (from_files) {
    require(length(base_file) == count && length(finetuned_file) == length(finetuned), "arrays differ in length");
    require(state.empty(), "models in files are given all at once");
    for (const NumberArray* numbers : {&base_file, &finetuned_file})
      for (py::ssize_t i = 0; i < numbers->size(); i++)
        require(numbers->data()[i] < static_cast<int64_t>(files.size()), "there is no such file");
  }
  const auto in_file = [&](const NumberArray& file, size_t input) { return from_files && file.data()[input] >= 0; };

  std::vector<Tensor> tensors(count);
  for (size_t t = 0; t < count; t++) {
    Tensor& tensor = tensors[t];
    require(numel.data()[t] >= 0, "numel must not be negative");
    tensor.numel = static_cast<size_t>(numel.data()[t]);
    tensor.compute = compute_of(compute.data()[t]);
    tensor.base = pointer<const void>(base.data()[t]);
    tensor.base_dtype = base_dtypes[t];
    tensor.finetuned = sources + t * job.models_given;
    tensor.finetuned_dtype = source_dtypes + t * job.models_given;
    tensor.out = pointer<void>(out.data()[t]);
    tensor.out_dtype = out_dtypes[t];
    tensor.keep = length(keep) == 0 ? nullptr : pointer<uint16_t>(keep.data()[t]);
    bool all_given = tensor.numel == 0 || tensor.base != nullptr || in_file(base_file, t);
    bool double_input = tensor.base_dtype == Dtype::f64;
    for (size_t k = 0; k < job.models_given; k++) {
      all_given &=
          tensor.numel == 0 || tensor.finetuned[k] != nullptr || in_file(finetuned_file, t * job.models_given + k);
      double_input |= tensor.finetuned_dtype[k] == Dtype::f64;
    }
    require(all_given, "an input address is null");
    require(!double_input || tensor.compute == Dtype::f64, "fp64 input needs the compute type F64");
    if (!state.empty())
      tensor.state = {pointer<void>(state[0].data()[t]), pointer<uint16_t>(state[1].data()[t]),
                      pointer<uint16_t>(state[2].data()[t]),
                      job.histogram ? pointer<uint16_t>(state[3].data()[t]) : nullptr};
  }

  require(stats.itemsize() == sizeof(TensorStats) && length(stats) == count, "stats must hold one row per tensor");
  require((stats.flags() & py::array::c_style) != 0, "stats must be contiguous");
  int64_t* bins = nullptr;
  if (job.histogram) {
    require(models < 65536, "a histogram takes at most 65535 models");
    auto array = py::cast<py::array_t<int64_t, py::array::c_style>>(histogram);
    require(array.ptr() == histogram.ptr() && length(array) == count * (models + 1),
            "histogram must be a contiguous int64 array [tensors, models + 1]");
    bins = array.mutable_data();
  }
  auto* rows = static_cast<TensorStats*>(stats.mutable_data());
  if (!from_files) {
    without_gil([&](const Poll& poll) { return run_merge(job, tensors, rows, bins, threads, poll); });
    return;
  }
  std::vector<FileTensor> sources_of(count);
  for (size_t t = 0; t < count; t++)
    sources_of[t] = {tensors[t], base_file.data()[t], finetuned_file.data() + t * job.models_given};
  without_gil([&](const Poll& poll) { return run_merge_files(job, sources_of, files, rows, bins, threads, poll); });
}

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
}  // namespace negmerge

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
  using namespace negmerge;
  m.doc() = "Kernels on raw addresses; use negmerge_ext.native.";
  m.attr("BLOCK") = kBlock;
  m.attr("SCRATCH") = kScratch;
  // Raised with the number of a file, a byte offset, and an errno (0: the file ends there).
  static const py::handle read_error = PyErr_NewException("negmerge_ext._core.ReadError", nullptr, nullptr);
  m.attr("ReadError") = read_error;
  py::register_local_exception_translator([](std::exception_ptr raised) {
    try {
      std::rethrow_exception(raised);
    } catch (const ReadError& problem) {
      PyErr_SetObject(read_error.ptr(), py::make_tuple(problem.file, problem.offset, problem.code).ptr());
    }
  });
  m.def("merge", &merge);
  m.def("apply_patch", &apply_patch);
  m.def("gather", &gather, py::call_guard<py::gil_scoped_release>());
  m.def("kept_before", &kept_before);
  m.def("remember", &remember);
  m.def("move", &move);
  m.def(
      "count",
      [](size_t numel, Address keep) { return active_kernels().sparse.count(numel, pointer<const uint16_t>(keep)); },
      py::call_guard<py::gil_scoped_release>());
  m.def("instruction_sets", [] {
    std::vector<std::string> names;
    for (const Kernels* kernels : available_kernels()) names.emplace_back(kernels->name);
    return names;
  });
  m.def("active_instruction_set", [] { return std::string(active_kernels().name); });
  m.def("select_instruction_set", &select_kernels);

  // The environment decides once, when the module is loaded.
  const char* forced = std::getenv("NEGMERGE_ISA");
  if (forced != nullptr && *forced == '\0') forced = nullptr;
  if (forced != nullptr) {
    try {
      select_kernels(forced);
    } catch (const std::invalid_argument& problem) {
      throw py::import_error("NEGMERGE_ISA: " + std::string(problem.what()));
    }
  }
  m.attr("forced_instruction_set") = forced == nullptr ? py::object(py::none()) : py::object(py::str(forced));
}
