// Whole calls for sparse vectors on the CPU: tensors cut into blocks, spread over threads.
#pragma once

#include <vector>

#include "../merge.h"
#include "run.h"

namespace negmerge {

// [blocks + 1]: the number of kept elements before each block, and of all.
std::vector<int64_t> count_before_blocks(size_t numel, const uint16_t* keep);

// tensor.base moved along a sparse vector into tensor.out. Returns false if poll() stopped it.
bool run_apply(Mode mode, double scale, const Tensor& tensor, const SparseVector& vector, int threads,
               const Poll& poll);

// A patched tensor, and what count_before_blocks() gives for it.
struct CountedTensor {
  PatchedTensor tensor;
  const int64_t* kept_before;
};

// Sets the base of every tensor to its kept elements as they are. Returns false if poll() stopped it.
bool run_remember(const std::vector<CountedTensor>& tensors, int threads, const Poll& poll);

enum class Moved { done, elsewhere, stopped };

// Moves the kept elements of all tensors to a position, each from `from` or, if that is given, from `otherwise`. Where
// one is at neither, all that were moved are put at `from` and the answer is `elsewhere`. After `stopped`, each is at
// `to` or where it was.
Moved run_move(const std::vector<CountedTensor>& tensors, const Position& from, const Position* otherwise,
               const Position& to, int threads, const Poll& poll);

}  // namespace negmerge
