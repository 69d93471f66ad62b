// Memory as such: pages made ready for writing, bytes copied, by several threads.
#pragma once

#include <cstddef>
#include <vector>

#include "run.h"

namespace negmerge {

struct Area {
  char* begin;
  size_t size;
};

// Has the operating system give the pages of areas that nobody has written yet, huge ones until they come slowly; what
// is written already stays. Only time depends on it. Returns false if poll() cut it short.
bool populate(const std::vector<Area>& areas, int threads, const Poll& poll);

// Copies sources[i] to areas[i], which do not overlap. Returns false if poll() cut it short.
bool copy(const std::vector<const char*>& sources, const std::vector<Area>& areas, int threads, const Poll& poll);

}  // namespace negmerge
