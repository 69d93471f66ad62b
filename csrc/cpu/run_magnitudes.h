// Counting the magnitudes of a batch of tensors' differences, spread over threads.
#pragma once

#include <vector>

#include "run.h"

namespace negmerge {

// Adds, for each model, how often each value of its digit occurs in its differences of all tensors: `counts` is
// [models][1 << bits], and the digits differ in nothing but their prefix. Returns false if poll() stopped it.
bool run_count_magnitudes(const std::vector<Tensor>& tensors, const std::vector<Digit>& digits, int64_t* counts,
                          int threads, const Poll& poll);

}  // namespace negmerge
