// What one thread at a time merges loads with: a stream, and two slots that are used in turn, so that one is read into
// while the device is at work on the other.
#pragma once

#include <mutex>
#include <vector>

#include "../cpu/block_table.h"
#include "../method_facts.h"
#include "device_memory.h"
#include "loads.h"

namespace negmerge::cuda {

// One merge, by all workers.
struct FileMerge {
  const Merge& merge;
  const std::vector<FileTensor>& tensors;
  const std::vector<File>& files;
  BlockTable& blocks;
  int64_t* histogram;  // [tensors, models + 1], guarded by the mutex, or null
  std::mutex& histogram_mutex;
};

class Worker {
 public:
  // slot: a multiple of kSlotAlignment.
  Worker(const DeviceApi& api, size_t slot);
  ~Worker() { abandon(); }

  // Memory of every worker.
  static size_t pinned_bytes(size_t slot) { return 2 * slot; }
  static size_t device_bytes(size_t slot);

  // Reads a load and sets the device to work on it; takes what it has made of earlier ones. The thread must be on the
  // device. Throws ReadError and CudaError.
  void start(const FileMerge& job, const Load& load);
  // Waits for the device, and takes what it has made.
  void finish();
  // Waits for the device, and drops what it has made.
  void abandon() noexcept;

 private:
  // Where outputs of a piece lie in a slot; its first row of statistics and histogram.
  struct Made {
    Piece piece;
    size_t out, keep, first_row;
  };
  // The same offsets are used on both sides.
  struct Slot {
    char* host;
    char* device;
    Owned done;
    bool busy = false;
    const FileMerge* job = nullptr;
    size_t used = 0, stats = 0, histogram = 0;
    std::vector<Made> made = {};
  };

  void start_group(const FileMerge& job, const Load& load, size_t first, size_t end);
  size_t group_end(const FileMerge& job, const Piece& piece, size_t first) const;
  Slot& next_slot();
  size_t take(Slot& slot, size_t bytes) const;
  void place_outputs(Slot& slot, const FileMerge& job, const Load& load) const;
  char* place_input(Slot& slot, const FileMerge& job, int32_t file, const void* address, Dtype dtype,
                    const Piece& piece) const;
  void append_rows(const Slot& slot, const Merge& group, const Tensor& whole, const Piece& piece, const char* base,
                   const std::vector<const char*>& models, size_t first, const Made* made);
  void place_state(Tensor& row, const MethodFacts& method, size_t begin) const;
  void finish(Slot& slot);
  void deliver(const Slot& slot) const;

  const DeviceApi& api_;
  const size_t slot_size_;
  // Destroyed in reverse order.
  const Owned pinned_, device_, stream_;
  Slot slots_[2];
  size_t current_ = 0;
  char* const state_;
  char* const workspace_;
  // The rows of a merge while it is being enqueued.
  std::vector<Tensor> rows_;
  std::vector<const void*> addresses_;
};

}  // namespace negmerge::cuda
