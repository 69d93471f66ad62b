#include "enqueue.h"

namespace negmerge::cuda {
namespace {

// The rule of a method whose accumulation the plain kernels have; false if it has another one.
bool plain_method(uint8_t number, SignRule* rule) {
  bool plain = false;
  Methods::with(number, [&](auto method) {
    using M = decltype(method);
    if constexpr (kIsSignMean<M>) {
      plain = true;
      *rule = M::rule();
    }
  });
  return plain;
}

bool power_of_two(size_t number) { return (number & (number - 1)) == 0; }

}  // namespace

size_t workspace_bytes(const std::vector<size_t>& numel, size_t models_given, bool statistics) {
  size_t blocks = 0;
  for (const size_t elements : numel) blocks += blocks_of(elements);
  return largest_table(numel.size(), models_given) + (statistics ? blocks * sizeof(BlockNorm) : 0);
}

void enqueue_merge(const Merge& merge, const std::vector<Tensor>& tensors, void* workspace, size_t workspace_size,
                   TensorStats* stats, int64_t* histogram, Stream stream) {
  const bool statistics = merge.end && stats != nullptr;
  SignRule rule = {};
  const bool plain_allowed =
      plain_method(merge.method, &rule) && merge.begin && merge.end && !statistics && histogram == nullptr;
  const HostTable table(tensors, merge.models_given, plain_allowed);
  const size_t norms = statistics ? table.blocks() * sizeof(BlockNorm) : 0;
  if (table.bytes().size() + norms > workspace_size) throw std::invalid_argument("the workspace is too small");
  if (table.groups().empty()) return;

  launch_upload(table.bytes().data(), table.bytes().size(), workspace, stream);
  Call call = {};
  call.method = merge.method;
  call.rule = rule;
  call.mode = merge.mode;
  call.begin = merge.begin;
  call.end = merge.end;
  call.models = static_cast<uint32_t>(merge.models);
  call.models_given = static_cast<uint32_t>(merge.models_given);
  call.scale = merge.scale;
  call.reciprocal = power_of_two(merge.models) ? 1 / static_cast<double>(merge.models) : 0;
  call.stats = statistics ? stats : nullptr;
  call.block_norms = reinterpret_cast<BlockNorm*>(static_cast<unsigned char*>(workspace) + table.bytes().size());
  call.histogram = histogram;
  const Table whole = table.at(workspace);
  uint32_t rows = 0;
  for (const Group& group : table.groups()) {
    call.table = whole;
    call.table.rows += group.first_row;
    call.table.first_block += group.first_offset;
    call.rows = group.rows;
    launch_merge(group.variant, call, group.blocks, stream);
    rows += group.rows;
  }
  if (!statistics) return;
  call.table = whole;
  call.rows = rows;
  launch_add_norms(call, stream);
}

}  // namespace negmerge::cuda
