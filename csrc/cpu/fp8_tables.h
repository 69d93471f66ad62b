// What every fp8 pattern means. Filled in by code that every CPU can run: a kernel file must not initialise anything.
#pragma once

namespace negmerge {

struct Fp8Table {
  float value[256];
};
extern const Fp8Table kE4M3Table, kE5M2Table;

}  // namespace negmerge
