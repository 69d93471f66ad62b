// What the kernels of a merge are told.
#pragma once

#include "../cpu/run.h"
#include "table.h"

namespace negmerge::cuda {

// Of one block, to be added up in order.
struct BlockNorm {
  double sum_squares, max_abs;
};

// What all blocks of a launch are told.
struct Call {
  Table table;  // first_block: that of the group
  uint32_t rows;
  uint8_t method;
  Mode mode;
  bool begin, end;
  uint32_t models, models_given;
  double scale;
  SignRule rule;           // of a method that the plain kernels know
  double reciprocal;       // of the number of models if that is a power of two, else 0
  TensorStats* stats;      // null: no statistics
  BlockNorm* block_norms;  // by block of the batch, with statistics
  int64_t* histogram;      // [tensors, models + 1] or null
};

}  // namespace negmerge::cuda
