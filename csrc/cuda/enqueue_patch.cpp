#include "enqueue_patch.h"

#include <cstring>
#include <limits>

namespace negmerge::cuda {
namespace {

size_t rounded(size_t size) { return (size + 15) / 16 * 16; }

// Puts the rows of the tensors that are not empty into the workspace; returns the number of their blocks.
uint32_t upload_rows(const std::vector<CountedTensor>& tensors, void* workspace, size_t workspace_size, Stream stream,
                     PatchCall& call) {
  std::vector<CountedTensor> rows;
  std::vector<uint32_t> first_block = {0};
  for (const CountedTensor& counted : tensors) {
    if (counted.tensor.numel == 0) continue;
    const size_t blocks = first_block.back() + blocks_of(counted.tensor.numel);
    if (blocks > std::numeric_limits<int32_t>::max()) throw std::invalid_argument("too many elements for one call");
    rows.push_back(counted);
    first_block.push_back(static_cast<uint32_t>(blocks));
  }
  const size_t place = rounded(rows.size() * sizeof(CountedTensor));
  std::vector<unsigned char> bytes(rounded(place + first_block.size() * sizeof(uint32_t)));
  if (bytes.size() > workspace_size) throw std::invalid_argument("the workspace is too small");
  if (rows.empty()) return 0;
  memcpy(bytes.data(), rows.data(), rows.size() * sizeof(CountedTensor));
  memcpy(bytes.data() + place, first_block.data(), first_block.size() * sizeof(uint32_t));
  launch_upload(bytes.data(), bytes.size(), workspace, stream);
  call.rows = static_cast<const CountedTensor*>(workspace);
  call.first_block = reinterpret_cast<const uint32_t*>(static_cast<const unsigned char*>(workspace) + place);
  call.count = static_cast<uint32_t>(rows.size());
  return first_block.back();
}

}  // namespace

size_t patch_workspace_bytes(size_t tensors) {
  return rounded(tensors * sizeof(CountedTensor)) + rounded((tensors + 1) * sizeof(uint32_t));
}

void enqueue_remember(const std::vector<CountedTensor>& tensors, void* workspace, size_t workspace_size,
                      Stream stream) {
  PatchCall call = {};
  const uint32_t blocks = upload_rows(tensors, workspace, workspace_size, stream, call);
  if (blocks > 0) launch_remember(call, blocks, stream);
}

void enqueue_move(const std::vector<CountedTensor>& tensors, const Position& from, const Position& otherwise,
                  const Position& to, void* workspace, size_t workspace_size, int64_t* misplaced, Stream stream) {
  PatchCall call = {};
  call.from = from;
  call.otherwise = otherwise;
  call.to = to;
  call.misplaced = misplaced;
  const uint32_t blocks = upload_rows(tensors, workspace, workspace_size, stream, call);
  if (blocks == 0) return;
  launch_check(call, blocks, stream);
  launch_move(call, blocks, stream);
}

}  // namespace negmerge::cuda
