// Counting the magnitudes of differences on a GPU, all tensors in one call.
#pragma once

#include <vector>

#include "launches.h"

namespace negmerge::cuda {

// Device memory that a call takes, in bytes.
size_t magnitudes_workspace_bytes(size_t tensors, size_t models);

// As run_count_magnitudes, enqueued on a stream of the current device, which every address is of, `counts` included.
// The workspace is at a multiple of 16 and must be left alone until the work is done. Throws CudaError, and
// std::invalid_argument for a workspace that is too small.
void enqueue_count_magnitudes(const std::vector<Tensor>& tensors, const std::vector<Digit>& digits, void* workspace,
                              size_t workspace_size, int64_t* counts, Stream stream);

}  // namespace negmerge::cuda
