#include "merge_files.h"

#include <algorithm>
#include <memory>
#include <mutex>
#include <stdexcept>

#include "../cpu/block_table.h"
#include "../cpu/dispatch.h"
#include "../cpu/per_thread.h"
#include "../cpu/pool.h"
#include "../cpu/processor.h"
#include "../cpu/tuning.h"
#include "../method_facts.h"

namespace negmerge {
namespace {

constexpr size_t kAlignment = 64;

constexpr size_t align(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

bool in_file(int32_t file) { return file >= 0; }

size_t offset_of(const void* address) { return reinterpret_cast<size_t>(address); }

const void* advanced(const void* address, size_t bytes) { return static_cast<const char*>(address) + bytes; }
void* advanced(void* address, size_t bytes) { return static_cast<char*>(address) + bytes; }

// Elements of a tensor that are read at once: whole blocks, so that statistics do not depend on it. What is known of
// them between groups of models must leave half of the scratch to the models.
size_t piece_elements(const FileTensor& source, size_t models, size_t values) {
  const size_t most = kScratch / 2 / (values * item_size(source.tensor.compute) * kBlock);
  size_t widest = in_file(source.base_file) ? item_size(source.tensor.base_dtype) : 1;
  for (size_t k = 0; k < models; k++)
    if (in_file(source.finetuned_file[k])) widest = std::max(widest, item_size(source.tensor.finetuned_dtype[k]));
  return std::max<size_t>(1, std::min(most, kReadBytes / (kBlock * widest))) * kBlock;
}

// One thread's memory, given out from the beginning.
class Scratch {
 public:
  Scratch() : memory_(new char[kScratch + kAlignment]) {
    void* begin = memory_.get();
    size_t room = kScratch + kAlignment;
    begin_ = static_cast<char*>(std::align(kAlignment, kScratch, begin, room));
  }
  void* take(size_t bytes) {
    if (align(bytes) > room()) throw std::logic_error("a piece does not fit the scratch");
    void* taken = begin_ + used_;
    used_ += align(bytes);
    return taken;
  }
  size_t used() const { return used_; }
  size_t room() const { return kScratch - used_; }
  void release_to(size_t used) { used_ = used; }

  std::vector<const void*> models;  // addresses of the piece in every model

 private:
  const std::unique_ptr<char[]> memory_;
  char* begin_;
  size_t used_ = 0;
};

// Merges elements [begin, end) of one tensor.
class Piece {
 public:
  Piece(const Merge& merge, const FileTensor& source, const std::vector<File>& files, Scratch& scratch, size_t begin,
        size_t end)
      : merge_(merge),
        source_(source),
        whole_(source.tensor),
        files_(files),
        scratch_(scratch),
        begin_(begin),
        elements_(end - begin),
        part_(source.tensor) {
    part_.numel = elements_;
    if (whole_.out != nullptr) part_.out = advanced(whole_.out, begin * item_size(whole_.out_dtype));
    if (whole_.keep != nullptr) part_.keep = whole_.keep + begin / kPack;
  }

  void run(BlockStats* stats, int64_t* histogram) {
    part_.base = input(source_.base_file, whole_.base, whole_.base_dtype);
    const size_t models = merge_.models;
    size_t needed = 0;
    for (size_t k = 0; k < models; k++) needed += scratch_bytes(k);
    if (needed > scratch_.room()) place_state();
    scratch_.models.resize(models);
    part_.finetuned = scratch_.models.data();
    for (size_t first = 0; first < models;) first = run_group(first, stats, histogram);
  }

 private:
  // Reads and merges models from `first` on, as many as there is room for; returns the one after them.
  size_t run_group(size_t first, BlockStats* stats, int64_t* histogram) {
    const size_t used = scratch_.used(), end = group_end(first);
    for (size_t k = first; k < end; k++)
      scratch_.models[k] = input(source_.finetuned_file[k], whole_.finetuned[k], whole_.finetuned_dtype[k]);
    Merge group = merge_;
    group.models_given = end - first;
    group.begin = first == 0;
    group.end = end == merge_.models;
    part_.finetuned = scratch_.models.data() + first;
    part_.finetuned_dtype = whole_.finetuned_dtype + first;
    if (whole_.threshold != nullptr) part_.threshold = whole_.threshold + first;
    const Kernels& kernels = active_kernels();
    for (size_t begin = 0; begin < elements_; begin += kBlock)
      kernels.merge_block(group, part_, begin, std::min(begin + kBlock, elements_), stats + begin / kBlock, histogram);
    scratch_.release_to(used);
    return end;
  }

  size_t group_end(size_t first) const {
    size_t end = first, needed = 0;
    while (end < merge_.models && (end == first || needed + scratch_bytes(end) <= scratch_.room()))
      needed += scratch_bytes(end++);
    const size_t many = end - first;  // whole sweeps of the kernel, unless these are the last
    return end == merge_.models || many < kGroup ? end : first + many / kGroup * kGroup;
  }

  size_t scratch_bytes(size_t model) const {
    return in_file(source_.finetuned_file[model]) ? align(elements_ * item_size(whole_.finetuned_dtype[model])) : 0;
  }

  // The piece of an input where it lies in memory, or read from its file.
  const void* input(int32_t file, const void* address, Dtype dtype) {
    const size_t bytes = elements_ * item_size(dtype), before = begin_ * item_size(dtype);
    if (!in_file(file)) return advanced(address, before);
    void* to = scratch_.take(bytes);
    read_exactly(files_, static_cast<size_t>(file), offset_of(address) + before, to, bytes);
    return to;
  }

  void place_state() {
    const size_t packs = (elements_ + kPack - 1) / kPack;
    const MethodFacts facts = facts_of(merge_.method);
    part_.state.values = scratch_.take(facts.values * elements_ * item_size(whole_.compute));
    if (facts.signs) {
      part_.state.positive = static_cast<uint16_t*>(scratch_.take(packs * sizeof(uint16_t)));
      part_.state.negative = static_cast<uint16_t*>(scratch_.take(packs * sizeof(uint16_t)));
    }
    if (merge_.histogram) part_.state.counts = static_cast<uint16_t*>(scratch_.take(2 * elements_ * sizeof(uint16_t)));
  }

  const Merge& merge_;
  const FileTensor& source_;
  const Tensor& whole_;
  const std::vector<File>& files_;
  Scratch& scratch_;
  const size_t begin_, elements_;
  Tensor part_;
};

}  // namespace

bool run_merge_files(const Merge& asked, const std::vector<FileTensor>& tensors, const std::vector<File>& files,
                     TensorStats* stats, int64_t* histogram, int threads, const Poll& poll) {
  Merge merge = asked;
  merge.statistics = stats != nullptr;
  merge.prefetch_near = prefers_near_prefetch();
  BlockTable blocks;
  std::vector<size_t> elements, first_piece = {0};
  const size_t values = facts_of(merge.method).values;
  for (const FileTensor& source : tensors) {
    const size_t numel = source.tensor.numel;
    elements.push_back(piece_elements(source, merge.models, values));
    first_piece.push_back(first_piece.back() + (numel + elements.back() - 1) / elements.back());
    blocks.append(numel);
  }
  blocks.allocate();
  PerThread<Scratch> scratches(std::make_unique<Scratch>);
  const size_t bins = merge.models + 1;
  std::mutex histogram_mutex;

  const auto work = [&](size_t piece) {
    const size_t t =
        static_cast<size_t>(std::upper_bound(first_piece.begin(), first_piece.end(), piece) - first_piece.begin()) - 1;
    const size_t begin = (piece - first_piece[t]) * elements[t];
    const size_t end = std::min(begin + elements[t], tensors[t].tensor.numel);
    std::vector<int64_t> own(merge.histogram ? bins : 0);
    Scratch& scratch = scratches.take();
    Piece(merge, tensors[t], files, scratch, begin, end).run(blocks.stats(t, begin / kBlock), own.data());
    scratch.release_to(0);
    scratches.give_back(scratch);
    if (!merge.histogram) return;
    const std::lock_guard<std::mutex> lock(histogram_mutex);
    for (size_t h = 0; h < bins; h++) histogram[t * bins + h] += own[h];
  };
  if (!parallel_for(first_piece.back(), threads, work, poll)) return false;
  if (merge.statistics) blocks.add_up(stats);
  return true;
}

}  // namespace negmerge
