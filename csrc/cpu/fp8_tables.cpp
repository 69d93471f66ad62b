#include "fp8_tables.h"

#include "../dtype.h"

namespace negmerge {
namespace {

template <class Format>
Fp8Table decode_all() {
  Fp8Table table;
  for (uint32_t bits = 0; bits < 256; bits++) table.value[bits] = Format::decode(bits);
  return table;
}

}  // namespace

const Fp8Table kE4M3Table = decode_all<E4M3>();
const Fp8Table kE5M2Table = decode_all<E5M2>();

}  // namespace negmerge
