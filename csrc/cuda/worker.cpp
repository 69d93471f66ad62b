#include "worker.h"

#include <algorithm>
#include <cstring>

namespace negmerge::cuda {
namespace {

// The base, running values, masks and counts of a piece whose models come in groups stay on the device.
constexpr size_t kGroupedElements = kGroupedBlocks * kBlock;
constexpr size_t kValues = kGroupedElements * sizeof(double);
constexpr size_t kPositive = kValues + kMostValues * kGroupedElements * sizeof(double);
constexpr size_t kNegative = kPositive + keep_bytes(kGroupedElements);
constexpr size_t kCounts = kNegative + keep_bytes(kGroupedElements);
constexpr size_t kStateBytes = kCounts + 2 * kGroupedElements * sizeof(uint16_t);

// Of a load: every input of a row takes a line of the slot at least.
size_t workspace_bytes(size_t slot) {
  return largest_table(kMostRows, 0) + largest_table(1, slot / kSlotAlignment) + kMostRows * sizeof(BlockNorm);
}

size_t offset_of(const void* address) { return reinterpret_cast<size_t>(address); }

}  // namespace

Worker::Worker(const DeviceApi& api, size_t slot)
    : api_(api),
      slot_size_(slot),
      pinned_(pinned_memory(api, pinned_bytes(slot))),
      device_(device_memory(api, device_bytes(slot))),
      stream_(new_stream(api)),
      slots_{{static_cast<char*>(pinned_.get()), static_cast<char*>(device_.get()), new_event(api)},
             {static_cast<char*>(pinned_.get()) + slot, static_cast<char*>(device_.get()) + slot, new_event(api)}},
      state_(static_cast<char*>(device_.get()) + 2 * slot),
      workspace_(state_ + slot_aligned(kStateBytes)) {}

size_t Worker::device_bytes(size_t slot) {
  return 2 * slot + slot_aligned(kStateBytes) + slot_aligned(workspace_bytes(slot));
}

void Worker::start(const FileMerge& job, const Load& load) {
  for (size_t first = 0; first < job.merge.models;) {
    const size_t end = load.in_groups ? group_end(job, load.pieces[0], first) : job.merge.models;
    start_group(job, load, first, end);
    first = end;
  }
}

// The model after the last that fits a slot together with `first`.
size_t Worker::group_end(const FileMerge& job, const Piece& piece, size_t first) const {
  const Footprint footprint(job.merge, job.tensors[piece.tensor]);
  const size_t elements = piece.elements(), models = job.merge.models;
  size_t needed = footprint.base(elements) + footprint.outputs(elements) + 2 * kSlotAlignment, end = first;
  while (end < models && (end == first || needed + footprint.model(elements, end) <= slot_size_))
    needed += footprint.model(elements, end++);
  return end;
}

void Worker::start_group(const FileMerge& job, const Load& load, size_t first, size_t end) {
  Merge group = job.merge;
  group.models_given = end - first;
  group.begin = first == 0;
  group.end = end == job.merge.models;
  Slot& slot = next_slot();
  place_outputs(slot, job, load);
  const size_t down = slot.used, up = slot.stats;  // zeroed statistics go both ways

  size_t rows = 0;
  for (const Piece& piece : load.pieces) rows += blocks_of(piece.elements());
  rows_.clear();
  addresses_.clear();
  addresses_.reserve(rows * group.models_given);  // rows point into it
  std::vector<const char*> models(group.models_given);
  for (size_t p = 0; p < load.pieces.size(); p++) {
    const Piece& piece = load.pieces[p];
    const FileTensor& source = job.tensors[piece.tensor];
    const Tensor& whole = source.tensor;
    const char* base = state_;
    if (group.begin) {
      const size_t offset = slot.used;
      base = place_input(slot, job, source.base_file, whole.base, whole.base_dtype, piece);
      if (load.in_groups) {
        check(api_,
              api_.copy_up(state_, slot.host + offset, piece.elements() * item_size(whole.base_dtype), stream_.get()),
              "copying to the device");
        base = state_;
      }
    }
    for (size_t k = first; k < end; k++)
      models[k - first] = place_input(slot, job, source.finetuned_file == nullptr ? -1 : source.finetuned_file[k],
                                      whole.finetuned[k], whole.finetuned_dtype[k], piece);
    append_rows(slot, group, whole, piece, base, models, first, group.end ? &slot.made[p] : nullptr);
    if (load.in_groups)
      for (size_t row = 0; row < rows_.size(); row++) place_state(rows_[row], facts_of(group.method), row * kBlock);
  }

  if (!group.end) slot.made.clear();
  slot.busy = true;
  check(api_, api_.copy_up(slot.device + up, slot.host + up, slot.used - up, stream_.get()), "copying to the device");
  check(api_,
        api_.merge({group, rows_, reinterpret_cast<TensorStats*>(slot.device + slot.stats),
                    group.histogram ? reinterpret_cast<int64_t*>(slot.device + slot.histogram) : nullptr, workspace_,
                    workspace_bytes(slot_size_)},
                   stream_.get()),
        "merging");
  if (group.end) check(api_, api_.copy_down(slot.host, slot.device, down, stream_.get()), "copying from the device");
  check(api_, api_.record(slot.done.get(), stream_.get()), "recording an event");
}

// The slot used before the last, when it may be used again.
Worker::Slot& Worker::next_slot() {
  current_ = 1 - current_;
  Slot& slot = slots_[current_];
  finish(slot);
  slot.used = slot.stats = slot.histogram = 0;
  slot.made.clear();
  return slot;
}

size_t Worker::take(Slot& slot, size_t bytes) const {
  const size_t offset = slot.used;
  slot.used += slot_aligned(bytes);
  if (slot.used > slot_size_) throw std::logic_error("a load does not fit its slot");
  return offset;
}

// Outputs, then zeroed rows of statistics and of the histogram.
void Worker::place_outputs(Slot& slot, const FileMerge& job, const Load& load) const {
  slot.job = &job;
  size_t rows = 0;
  for (const Piece& piece : load.pieces) {
    const Tensor& whole = job.tensors[piece.tensor].tensor;
    const size_t elements = piece.elements();
    const size_t out = whole.out == nullptr ? 0 : take(slot, elements * item_size(whole.out_dtype));
    const size_t keep = whole.keep == nullptr ? 0 : take(slot, keep_bytes(elements));
    slot.made.push_back({piece, out, keep, rows});
    rows += blocks_of(elements);
  }
  slot.stats = take(slot, rows * sizeof(TensorStats));
  slot.histogram = job.merge.histogram ? take(slot, rows * (job.merge.models + 1) * sizeof(int64_t)) : slot.used;
  memset(slot.host + slot.stats, 0, slot.used - slot.stats);
}

// Reads a piece of an input from its file, or copies it from memory; gives its address on the device.
char* Worker::place_input(Slot& slot, const FileMerge& job, int32_t file, const void* address, Dtype dtype,
                          const Piece& piece) const {
  const size_t bytes = piece.elements() * item_size(dtype), before = piece.begin * item_size(dtype);
  const size_t offset = take(slot, bytes);
  if (file < 0)
    memcpy(slot.host + offset, static_cast<const char*>(address) + before, bytes);
  else
    read_exactly(job.files, static_cast<size_t>(file), offset_of(address) + before, slot.host + offset, bytes);
  return slot.device + offset;
}

// A row for each block of a piece, so that its statistics are those of the block.
void Worker::append_rows(const Slot& slot, const Merge& group, const Tensor& whole, const Piece& piece,
                         const char* base, const std::vector<const char*>& models, size_t first, const Made* made) {
  for (size_t begin = 0; begin < piece.elements(); begin += kBlock) {
    Tensor row = whole;
    row.numel = std::min(kBlock, piece.elements() - begin);
    row.base = base + begin * item_size(whole.base_dtype);
    row.finetuned = addresses_.data() + addresses_.size();
    row.finetuned_dtype = whole.finetuned_dtype + first;
    if (whole.threshold != nullptr) row.threshold = whole.threshold + first;
    for (size_t k = 0; k < group.models_given; k++)
      addresses_.push_back(models[k] + begin * item_size(row.finetuned_dtype[k]));
    if (whole.out != nullptr)
      row.out = made == nullptr ? nullptr : slot.device + made->out + begin * item_size(whole.out_dtype);
    if (whole.keep != nullptr)
      row.keep = made == nullptr ? nullptr : reinterpret_cast<uint16_t*>(slot.device + made->keep) + begin / kPack;
    rows_.push_back(row);
  }
}

void Worker::place_state(Tensor& row, const MethodFacts& method, size_t begin) const {
  row.state.values = state_ + kValues + begin * method.values * item_size(row.compute);
  if (method.signs) {
    row.state.positive = reinterpret_cast<uint16_t*>(state_ + kPositive) + begin / kPack;
    row.state.negative = reinterpret_cast<uint16_t*>(state_ + kNegative) + begin / kPack;
  }
  row.state.counts = reinterpret_cast<uint16_t*>(state_ + kCounts) + 2 * begin;
}

void Worker::finish() {
  for (Slot& slot : slots_) finish(slot);
}

void Worker::finish(Slot& slot) {
  if (!slot.busy) return;
  slot.busy = false;
  check(api_, api_.wait(slot.done.get()), "waiting for the device");
  deliver(slot);
}

void Worker::abandon() noexcept {
  for (Slot& slot : slots_) slot.busy = false;
  api_.synchronise(stream_.get());
}

void Worker::deliver(const Slot& slot) const {
  const auto* rows = reinterpret_cast<const TensorStats*>(slot.host + slot.stats);
  const auto* counts = reinterpret_cast<const int64_t*>(slot.host + slot.histogram);
  for (const Made& made : slot.made) {
    const Piece& piece = made.piece;
    const Tensor& whole = slot.job->tensors[piece.tensor].tensor;
    const size_t item = item_size(whole.out_dtype), blocks = blocks_of(piece.elements());
    if (whole.out != nullptr)
      memcpy(static_cast<char*>(whole.out) + piece.begin * item, slot.host + made.out, piece.elements() * item);
    if (whole.keep != nullptr)
      memcpy(whole.keep + piece.begin / kPack, slot.host + made.keep, keep_bytes(piece.elements()));
    for (size_t block = 0; block < blocks; block++) {
      const TensorStats& row = rows[made.first_row + block];
      *slot.job->blocks.stats(piece.tensor, piece.begin / kBlock + block) = {row.kept, row.non_finite, row.sum_squares,
                                                                             row.max_abs};
    }
    if (slot.job->histogram == nullptr) continue;
    const size_t bins = slot.job->merge.models + 1;
    const std::lock_guard<std::mutex> lock(slot.job->histogram_mutex);
    for (size_t i = 0; i < blocks * bins; i++)
      slot.job->histogram[piece.tensor * bins + i % bins] += counts[made.first_row * bins + i];
  }
}

}  // namespace negmerge::cuda
