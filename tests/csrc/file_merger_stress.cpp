// Merges from a file on the fake device by one worker and by several, with failures in between: the same bytes.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "cuda/file_merger.h"
#include "fake_device.h"

namespace {

using namespace negmerge;

constexpr size_t kModels = 5, kTensors = 12, kElements = 3 * kBlock + 100;

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "%s\n", what);
  std::exit(1);
}

struct Results {
  std::vector<std::vector<float>> out{kTensors, std::vector<float>(kElements)};
  std::vector<TensorStats> stats{kTensors, TensorStats{}};
  std::vector<int64_t> histogram = std::vector<int64_t>(kTensors * (kModels + 1));

  bool same_as(const Results& other) const {
    return out == other.out && histogram == other.histogram &&
           memcmp(stats.data(), other.stats.data(), stats.size() * sizeof(TensorStats)) == 0;
  }
};

// One file holds base and models of all tensors.
class Inputs {
 public:
  explicit Inputs(const char* path) : files_{{open(path, O_RDWR | O_CREAT | O_TRUNC, 0600), path}} {
    std::vector<float> values(kTensors * (kModels + 1) * kElements);
    uint32_t random = 1;
    for (float& value : values) value = static_cast<float>((random = random * 1664525 + 1013904223) >> 8);
    if (write(files_[0].descriptor, values.data(), values.size() * sizeof(float)) < 0) fail("cannot write");
  }
  ~Inputs() { close(files_[0].descriptor); }

  bool merge(cuda::FileMerger& merger, Results& results) const {
    Merge job;
    job.models = job.models_given = kModels;
    job.histogram = true;
    const std::vector<Dtype> dtypes(kModels, Dtype::f32);
    const std::vector<int32_t> numbers(kModels, 0);
    std::vector<std::vector<const void*>> models(kTensors);
    std::vector<FileTensor> tensors;
    for (size_t t = 0; t < kTensors; t++) {
      const auto place = [&](size_t k) {
        return reinterpret_cast<const void*>((t * (kModels + 1) + k) * kElements * sizeof(float));
      };
      for (size_t k = 0; k < kModels; k++) models[t].push_back(place(k + 1));
      Tensor tensor;
      tensor.numel = kElements;
      tensor.base = place(0);
      tensor.finetuned = models[t].data();
      tensor.finetuned_dtype = dtypes.data();
      tensor.out = results.out[t].data();
      tensors.push_back({tensor, 0, numbers.data()});
    }
    return merger.run(job, tensors, files_, results.stats.data(), results.histogram.data(), [] { return false; });
  }

 private:
  const std::vector<File> files_;
};

}  // namespace

int main(int, char** arguments) {
  const Inputs inputs(arguments[1]);
  const size_t slot = cuda::least_slot(kModels, true);
  Results expected;
  {
    cuda::FileMerger alone(cuda::device_api(), 0, 1, slot);
    inputs.merge(alone, expected);
  }
  {
    cuda::FileMerger together(cuda::device_api(), 0, 4, slot + (300 << 10));
    for (int round = 0; round < 12; round++) {
      fake_eager(round % 2);
      Results found;
      if (!inputs.merge(together, found) || !found.same_as(expected)) fail("results differ");
      const char* const failing[] = {"copy_up", "running", "merge", "wait"};
      fake_fail(failing[round % 4], 5 + round);
      try {
        inputs.merge(together, found);
        fail("nothing failed");
      } catch (const cuda::CudaError&) {
      }
      fake_fail("", 0);
    }
  }
  if (fake_left() != 0) fail("something is left");
  return 0;
}
