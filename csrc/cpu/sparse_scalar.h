// Packing and unpacking raw elements without registers of their own: for every CPU, and for NEON.
#pragma once

#include "sparse_plain.h"

namespace negmerge {
namespace {

template <size_t kSize>
struct Lanes : PlainLanes<kSize> {};

}  // namespace
}  // namespace negmerge
