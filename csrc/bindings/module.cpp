// negmerge_ext._core: addresses and sizes in, nothing of torch (negmerge_ext/native.py is the typed side).
#include <pybind11/stl.h>

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "../cpu/dispatch.h"
#include "bindings.h"

namespace py = pybind11;

namespace negmerge {
namespace {

void bind_instruction_sets(py::module_& module) {
  module.def("instruction_sets", [] {
    std::vector<std::string> names;
    for (const Kernels* kernels : available_kernels()) names.emplace_back(kernels->name);
    return names;
  });
  module.def("active_instruction_set", [] { return std::string(active_kernels().name); });
  module.def("select_instruction_set", &select_kernels);

  // The environment decides once, when the module is loaded.
  const char* forced = std::getenv("NEGMERGE_ISA");
  if (forced != nullptr && *forced == '\0') forced = nullptr;
  if (forced != nullptr) {
    try {
      select_kernels(forced);
    } catch (const std::invalid_argument& problem) {
      throw py::import_error("NEGMERGE_ISA: " + std::string(problem.what()));
    }
  }
  module.attr("forced_instruction_set") = forced == nullptr ? py::object(py::none()) : py::object(py::str(forced));
}

}  // namespace
}  // namespace negmerge

PYBIND11_MODULE(_core, module, py::mod_gil_not_used()) {
  module.doc() = "Kernels on raw addresses; use negmerge_ext.native.";
  negmerge::bind_merge(module);
  negmerge::bind_magnitudes(module);
  negmerge::bind_patch(module);
  negmerge::bind_memory(module);
  negmerge::bind_scan(module);
  negmerge::bind_instruction_sets(module);
}
