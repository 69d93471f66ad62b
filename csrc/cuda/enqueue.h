// Whole calls on a GPU: many tensors, one launch for all that are alike.
#pragma once

#include <vector>

#include "launches.h"

namespace negmerge::cuda {

// Device memory that a merge of such tensors takes, in bytes.
size_t workspace_bytes(const std::vector<size_t>& numel, size_t models_given, bool statistics);

// Enqueues a merge on a stream of the current device. All addresses are of that device, at multiples of their element's
// size; `workspace` is at a multiple of 16 and must be left alone until the merge is done. `stats` and `histogram` are
// added to; null: not asked for. Throws CudaError, and std::invalid_argument for a workspace that is too small.
void enqueue_merge(const Merge& merge, const std::vector<Tensor>& tensors, void* workspace, size_t workspace_size,
                   TensorStats* stats, int64_t* histogram, Stream stream);

}  // namespace negmerge::cuda
