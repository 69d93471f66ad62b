// Memory for results, and copies.
#include <vector>

#include "../cpu/memory.h"
#include "arguments.h"
#include "bindings.h"

namespace negmerge {
namespace {

std::vector<Area> areas_of(const AddressArray& address, const AddressArray& nbytes) {
  require(length(address) == length(nbytes), "arrays differ in length");
  std::vector<Area> areas(length(address));
  for (size_t i = 0; i < areas.size(); i++) {
    require(nbytes.data()[i] >= 0, "sizes must not be negative");
    areas[i] = {pointer<char>(address.data()[i]), static_cast<size_t>(nbytes.data()[i])};
  }
  return areas;
}

void populate_areas(const AddressArray& address, const AddressArray& nbytes, int threads) {
  require(threads > 0, "threads must be positive");
  const std::vector<Area> areas = areas_of(address, nbytes);
  without_gil([&](const Poll& poll) { return populate(areas, threads, poll); });
}

void copy_areas(const AddressArray& source, const AddressArray& destination, const AddressArray& nbytes, int threads) {
  require(threads > 0, "threads must be positive");
  require(length(source) == length(destination), "arrays differ in length");
  const std::vector<Area> areas = areas_of(destination, nbytes);
  std::vector<const char*> sources(areas.size());
  for (size_t i = 0; i < areas.size(); i++) sources[i] = pointer<const char>(source.data()[i]);
  without_gil([&](const Poll& poll) { return copy(sources, areas, threads, poll); });
}

}  // namespace

void bind_memory(py::module_& module) {
  module.def("populate", &populate_areas);
  module.def("copy", &copy_areas);
}

}  // namespace negmerge
