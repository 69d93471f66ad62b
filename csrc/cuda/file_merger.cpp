#include "file_merger.h"

#include "../cpu/pool.h"

namespace negmerge::cuda {

FileMerger::FileMerger(const DeviceApi& api, int device, size_t workers, size_t slot)
    : api_(api), device_(device), slot_(slot) {
  const Visit there(api, device);
  idle_.reserve(workers);
  try {
    while (workers_.size() < workers) workers_.push_back(std::make_unique<Worker>(api, slot));
  } catch (...) {
    workers_.clear();  // while on the device
    throw;
  }
  rest();
}

FileMerger::~FileMerger() {
  const QuietVisit there(api_, device_);
  workers_.clear();
}

bool FileMerger::run(const Merge& merge, const std::vector<FileTensor>& tensors, const std::vector<File>& files,
                     TensorStats* stats, int64_t* histogram, const Poll& poll) {
  BlockTable blocks;
  for (const FileTensor& source : tensors) blocks.append(source.tensor.numel);
  blocks.allocate();
  std::mutex histogram_mutex;
  const FileMerge job = {merge, tensors, files, blocks, histogram, histogram_mutex};
  const std::vector<Load> loads = cut_into_loads(merge, tensors, slot_);

  // However this ends, the device is done with memory that is about to be given back.
  struct Rest {
    FileMerger& merger;
    ~Rest() { merger.rest(); }
  } const at_the_end{*this};
  const auto start = [&](size_t load) {
    const Visit there(api_, device_);
    Worker* const worker = take_worker();
    worker->start(job, loads[load]);
    give_back(worker);
  };
  const auto finish = [&](size_t worker) {
    const Visit there(api_, device_);
    workers_[worker]->finish();
  };
  const int threads = static_cast<int>(workers_.size());
  if (!parallel_for(loads.size(), threads, start, poll)) return false;
  if (!parallel_for(workers_.size(), threads, finish, poll)) return false;
  blocks.add_up(stats);
  return true;
}

// There is one for every thread.
Worker* FileMerger::take_worker() {
  const std::lock_guard<std::mutex> lock(mutex_);
  Worker* const worker = idle_.back();
  idle_.pop_back();
  return worker;
}

void FileMerger::give_back(Worker* worker) {
  const std::lock_guard<std::mutex> lock(mutex_);
  idle_.push_back(worker);
}

void FileMerger::rest() noexcept {
  const QuietVisit there(api_, device_);
  idle_.clear();
  for (const auto& worker : workers_) {
    worker->abandon();
    idle_.push_back(worker.get());
  }
}

}  // namespace negmerge::cuda
