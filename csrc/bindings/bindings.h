// The parts of negmerge_ext._core, each bound by a file of its own.
#pragma once

#include <pybind11/pybind11.h>

namespace negmerge {

void bind_magnitudes(pybind11::module_& module);
void bind_merge(pybind11::module_& module);
void bind_memory(pybind11::module_& module);
void bind_patch(pybind11::module_& module);
void bind_scan(pybind11::module_& module);

}  // namespace negmerge
