#include "enqueue_magnitudes.h"

#include <cstring>

namespace negmerge::cuda {
namespace {

size_t prefix_bytes(size_t models) { return (models * sizeof(uint64_t) + 15) / 16 * 16; }

}  // namespace

size_t magnitudes_workspace_bytes(size_t tensors, size_t models) {
  return largest_table(tensors, models) + prefix_bytes(models);
}

void enqueue_count_magnitudes(const std::vector<Tensor>& tensors, const std::vector<Digit>& digits, void* workspace,
                              size_t workspace_size, int64_t* counts, Stream stream) {
  const HostTable table(tensors, digits.size(), false);
  const size_t prefixes = prefix_bytes(digits.size());
  if (table.bytes().size() + prefixes > workspace_size) throw std::invalid_argument("the workspace is too small");
  if (table.groups().empty()) return;

  std::vector<unsigned char> bytes(prefixes);
  for (size_t model = 0; model < digits.size(); model++)
    memcpy(bytes.data() + model * sizeof(uint64_t), &digits[model].prefix, sizeof(uint64_t));
  launch_upload(bytes.data(), prefixes, workspace, stream);
  auto* const rows = static_cast<unsigned char*>(workspace) + prefixes;
  launch_upload(table.bytes().data(), table.bytes().size(), rows, stream);

  MagnitudeCall call = {};
  call.models = static_cast<uint32_t>(digits.size());
  call.prefixes = static_cast<const uint64_t*>(workspace);
  call.shift = digits[0].shift;
  call.bits = digits[0].bits;
  call.wide = digits[0].wide;
  call.counts = counts;
  for (const Group& group : table.groups()) {
    call.table = table.at(rows);
    call.table.rows += group.first_row;
    call.table.first_block += group.first_offset;
    call.rows = group.rows;
    launch_count_magnitudes(group.variant == Variant::general_f64, call, group.blocks, stream);
  }
}

}  // namespace negmerge::cuda
