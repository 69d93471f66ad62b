// Merges the cases of a file on the instruction set that it names and writes what came out, for processors that can
// only be emulated here: usage `run_cases CASES RESULTS`. tests/native_cases.py writes the one and reads the other.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "../../csrc/cpu/dispatch.h"
#include "../../csrc/cpu/run.h"
#include "../../csrc/cpu/run_apply.h"
#include "../../csrc/method_facts.h"

using namespace negmerge;

namespace {

constexpr size_t kGuard = 64;
constexpr char kFill = 0x5a;

[[noreturn]] void fail(const std::string& why) {
  fprintf(stderr, "%s\n", why.c_str());
  exit(1);
}

// A heap block that ends where its array ends but for guard bytes, starting `offset` bytes after an aligned address.
class Buffer {
 public:
  Buffer(size_t size, size_t offset) : size_(size), lead_(kGuard + offset), memory_(lead_ + size + kGuard, kFill) {}
  ~Buffer() {
    for (size_t i = 0; i < memory_.size(); i++)
      if ((i < lead_ || i >= lead_ + size_) && memory_[i] != kFill) fail("bytes beside an array were written");
  }
  char* data() { return memory_.data() + lead_; }
  size_t size() const { return size_; }

 private:
  const size_t size_, lead_;
  std::vector<char> memory_;
};

class Reader {
 public:
  explicit Reader(const char* path) : file_(fopen(path, "rb")) {
    if (file_ == nullptr) fail(std::string("cannot read ") + path);
  }
  void read(void* to, size_t size) {
    if (size > 0 && fread(to, size, 1, file_) != 1) fail("the file of cases is too short");
  }
  template <class T = uint64_t>
  T number() {
    T value;
    read(&value, sizeof(value));
    return value;
  }
  Dtype dtype() { return static_cast<Dtype>(number()); }

 private:
  FILE* const file_;
};

size_t bytes(size_t numel, Dtype dtype) { return numel * static_cast<size_t>(item_size(dtype)); }

// The floating-point unit's flush-to-zero mode, which a merge must neither heed nor change.
#if defined(__aarch64__)
constexpr uint64_t kFlushToZero = uint64_t{1} << 24;
uint64_t control_word() {
  uint64_t word;
  asm volatile("mrs %0, fpcr" : "=r"(word));
  return word;
}
void set_control_word(uint64_t word) { asm volatile("msr fpcr, %0" : : "r"(word)); }
#else
constexpr uint64_t kFlushToZero = 0x8040;
uint64_t control_word() { return __builtin_ia32_stmxcsr(); }
void set_control_word(uint64_t word) { __builtin_ia32_ldmxcsr(static_cast<unsigned>(word)); }
#endif

bool never() { return false; }

void run_case(Reader& in, FILE* out) {
  Merge merge;
  merge.method = static_cast<uint8_t>(in.number());
  merge.mode = static_cast<Mode>(in.number());
  merge.scale = in.number<double>();
  merge.models = in.number();
  merge.histogram = true;
  const size_t first_models = in.number(), offset = in.number();
  const int threads = static_cast<int>(in.number());
  Tensor tensor;
  tensor.numel = in.number();
  tensor.compute = in.dtype();
  tensor.out_dtype = in.dtype();
  tensor.base_dtype = in.dtype();
  Buffer base(bytes(tensor.numel, tensor.base_dtype), offset);
  in.read(base.data(), base.size());
  tensor.base = base.data();

  const MethodFacts method = facts_of(merge.method);
  std::vector<double> thresholds(method.thresholds ? merge.models : 0);
  for (double& threshold : thresholds) threshold = in.number<double>();
  std::vector<Buffer> finetuned;
  finetuned.reserve(merge.models);
  std::vector<const void*> addresses;
  std::vector<Dtype> dtypes;
  for (size_t k = 0; k < merge.models; k++) {
    dtypes.push_back(in.dtype());
    finetuned.emplace_back(bytes(tensor.numel, dtypes.back()), (offset * (k + 2)) % 64);
    in.read(finetuned.back().data(), finetuned.back().size());
    addresses.push_back(finetuned.back().data());
  }

  const size_t packs = (tensor.numel + kPack - 1) / kPack;
  Buffer result(bytes(tensor.numel, tensor.out_dtype), (offset * 3) % 64), keep(packs * 2, offset % 2);
  Buffer values_so_far(method.values * bytes(tensor.numel, tensor.compute), 0), positive(packs * 2, 0),
      negative(packs * 2, 0);
  Buffer counts(tensor.numel * 4, 0);
  tensor.out = result.data();
  tensor.keep = reinterpret_cast<uint16_t*>(keep.data());
  tensor.state.values = values_so_far.data();
  if (method.signs) {
    tensor.state.positive = reinterpret_cast<uint16_t*>(positive.data());
    tensor.state.negative = reinterpret_cast<uint16_t*>(negative.data());
  }
  tensor.state.counts = reinterpret_cast<uint16_t*>(counts.data());
  TensorStats stats = {};
  std::vector<int64_t> histogram(merge.models + 1);

  const uint64_t word = control_word() | kFlushToZero;
  set_control_word(word);
  size_t given = 0;
  for (const size_t upto : {first_models, merge.models}) {
    merge.begin = given == 0;
    merge.end = upto == merge.models;
    merge.models_given = upto - given;
    tensor.finetuned = addresses.data() + given;
    tensor.finetuned_dtype = dtypes.data() + given;
    if (method.thresholds) tensor.threshold = thresholds.data() + given;
    if (!run_merge(merge, {tensor}, &stats, histogram.data(), threads, never)) fail("the merge was cut short");
    given = upto;
    if (merge.end) break;
  }

  // The same from the sparse vector: the merged vector in the compute type, packed, then applied.
  Buffer dense(bytes(tensor.numel, tensor.compute), 0);
  merge.mode = merge.mode == Mode::vector ? Mode::add : merge.mode;
  Merge whole = merge;
  whole.mode = Mode::vector;
  whole.begin = whole.end = true;
  whole.models_given = whole.models;
  Tensor vector = tensor;
  vector.finetuned = addresses.data();
  vector.finetuned_dtype = dtypes.data();
  if (method.thresholds) vector.threshold = thresholds.data();
  vector.out = dense.data();
  vector.out_dtype = tensor.compute;
  vector.state = {};
  TensorStats unused = {};
  std::vector<int64_t> unused_bins(merge.models + 1);
  run_merge(whole, {vector}, &unused, unused_bins.data(), threads, never);
  const std::vector<int64_t> kept_before = count_before_blocks(tensor.numel, tensor.keep);
  const auto kept = static_cast<size_t>(kept_before.back());
  Buffer values(bytes(kept, tensor.compute), 1), kept_base(bytes(kept, tensor.base_dtype), 3);
  const SparseKernels& kernels = active_kernels().sparse;
  kernels.gather(item_size(tensor.compute), tensor.numel, dense.data(), tensor.keep, values.data());
  Buffer applied(result.size(), offset);
  tensor.out = applied.data();
  run_apply(merge.mode, merge.scale, tensor, {tensor.keep, values.data()}, threads, never);

  // In place: to another position first, from there to the merged model, and later back to the base.
  Buffer moved(base.size(), (offset * 5) % 64);
  memcpy(moved.data(), base.data(), base.size());
  const std::vector<CountedTensor> patched = {
      {{tensor.numel, moved.data(), tensor.base_dtype, tensor.compute, {tensor.keep, values.data()}, kept_base.data()},
       kept_before.data()}};
  const Position start = {true, Mode::add, 0}, other = {false, Mode::add, 0.75}, end = {false, merge.mode, merge.scale};
  run_remember(patched, threads, never);
  if (run_move(patched, start, nullptr, other, threads, never) != Moved::done) fail("the base was not recognised");
  if (run_move(patched, other, nullptr, end, threads, never) != Moved::done) fail("moved elements were not recognised");
  if (control_word() != word) fail("the merge left another floating-point mode behind");
  set_control_word(word & ~kFlushToZero);

  fwrite(result.data(), 1, result.size(), out);
  fwrite(applied.data(), 1, applied.size(), out);
  fwrite(moved.data(), 1, moved.size(), out);
  fwrite(keep.data(), 1, keep.size(), out);
  fwrite(&stats, sizeof(stats), 1, out);
  fwrite(histogram.data(), sizeof(int64_t), histogram.size(), out);
  if (run_move(patched, end, nullptr, start, threads, never) != Moved::done)
    fail("the merged model was not recognised");
  if (memcmp(moved.data(), base.data(), base.size()) != 0) fail("the base was not given back");
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) fail("usage: run_cases CASES RESULTS");
  Reader in(arguments[1]);
  FILE* const out = fopen(arguments[2], "wb");
  if (out == nullptr) fail(std::string("cannot write ") + arguments[2]);
  std::string name(in.number(), ' ');
  in.read(name.data(), name.size());
  select_kernels(name);
  for (size_t cases = in.number(); cases > 0; cases--) run_case(in, out);
  return fclose(out) == 0 ? 0 : 1;
}
