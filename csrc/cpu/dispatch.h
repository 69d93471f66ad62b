// The instruction sets compiled in, and the one in use.
#pragma once

#include <string>
#include <vector>

#include "../merge.h"

namespace negmerge {

// Those that this CPU can run, slowest first.
std::vector<const Kernels*> available_kernels();

// The kernels in use: the fastest available, unless one was selected.
const Kernels& active_kernels();

// Throws std::invalid_argument, naming the choices, for a name that is unknown or cannot run here.
void select_kernels(const std::string& name);

}  // namespace negmerge
