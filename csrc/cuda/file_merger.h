// A merge on a device whose inputs lie in files (or in host memory): what is read is copied up, merged, and copied down
// by several workers at once, in memory that depends neither on the number of models nor on their size.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "worker.h"

namespace negmerge::cuda {

class FileMerger {
 public:
  // Takes all memory that merges need. Throws CudaError.
  FileMerger(const DeviceApi& api, int device, size_t workers, size_t slot);
  ~FileMerger();

  // As run_merge_files, with the same bits. Output is in the caller's memory. One call at a time. Throws ReadError and
  // CudaError.
  bool run(const Merge& merge, const std::vector<FileTensor>& tensors, const std::vector<File>& files,
           TensorStats* stats, int64_t* histogram, const Poll& poll);

 private:
  Worker* take_worker();
  void give_back(Worker* worker);
  void rest() noexcept;

  const DeviceApi& api_;
  const int device_;
  const size_t slot_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::mutex mutex_;  // guards what follows
  std::vector<Worker*> idle_;
};

}  // namespace negmerge::cuda
