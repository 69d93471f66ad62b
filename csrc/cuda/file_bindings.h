// The part of negmerge_ext._cuda that merges from files.
#pragma once

#include <pybind11/pybind11.h>

namespace negmerge::cuda {

void bind_file_merger(pybind11::module_& module);

}  // namespace negmerge::cuda
