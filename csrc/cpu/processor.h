// What speed depends on and no instruction set tells: which processor this is.
#pragma once

namespace negmerge {

// Whether this processor's own prefetchers keep ahead of streams, so that a kernel does better to fetch kNearBytes
// ahead than kFarBytes (tuning.h).
bool prefers_near_prefetch();

}  // namespace negmerge
