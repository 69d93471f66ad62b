// Patched tensors on a GPU, all in one call.
#pragma once

#include <vector>

#include "launches.h"

namespace negmerge::cuda {

// Device memory that a call takes, in bytes.
size_t patch_workspace_bytes(size_t tensors);

// Both enqueue on a stream of the current device, which every address is of, kept_before included; `workspace` is at a
// multiple of 16 and must be left alone until the work is done. They throw CudaError, and std::invalid_argument for a
// workspace that is too small.

// Sets the base of every tensor to its kept elements as they are.
void enqueue_remember(const std::vector<CountedTensor>& tensors, void* workspace, size_t workspace_size, Stream stream);

// Moves the kept elements to `to`, if each is at `from` or at `otherwise`; else adds the number of those that are not
// to *misplaced, which is zero before, and changes nothing.
void enqueue_move(const std::vector<CountedTensor>& tensors, const Position& from, const Position& otherwise,
                  const Position& to, void* workspace, size_t workspace_size, int64_t* misplaced, Stream stream);

}  // namespace negmerge::cuda
