#include "preload.h"

#include <mutex>
#include <set>

namespace negmerge::cuda {
namespace {

// The calling thread may load while a graph captures one of its streams: loading is nothing that the graph would miss.
class DuringCapture {
 public:
  DuringCapture() { check(cudaThreadExchangeStreamCaptureMode(&mode_)); }
  ~DuringCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  DuringCapture(const DuringCapture&) = delete;
  DuringCapture& operator=(const DuringCapture&) = delete;

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

}  // namespace

void preload_kernels(int device) {
  static std::mutex mutex;
  static std::set<int> loaded;
  const std::lock_guard<std::mutex> lock(mutex);
  if (loaded.count(device) > 0) return;
  const DuringCapture allowed;
  preload_merge_kernels();
  preload_magnitude_kernels();
  preload_patch_kernels();
  preload_upload_kernel();
  loaded.insert(device);
}

}  // namespace negmerge::cuda
