// Looking at the tensors of a state dict: Python objects in, columns out. Knows DLPack, not torch.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>

namespace negmerge {

// What is known of the tensors of one library.
struct Library {
  pybind11::object exchange;  // its DLPack exchange API, a capsule
  pybind11::tuple kinds;      // the exact types of ordinary tensors
  pybind11::object negated;   // negated(tensor): whether it is a lazily negated view
  // [65536] numbers of dtypes by DLPack's type code << 8 | bits; negative for those that are out of the ordinary.
  pybind11::array_t<int64_t> numbers;
  // Numbers of the dtypes of one byte, by the library's own dtype objects: DLPack does not tell an integer of four
  // bits in a byte from one of eight.
  pybind11::dict bytes;
};

// Where the tensors of a state dict (tuples of its names and values) lie, if all are ordinary: memory of their own, of
// the CPU or a CUDA device, that holds their values.
//
// Returns (start: int64[T] addresses, dtype: int64[T] numbers, row_major: bool[T], numel: int64[T], nbytes: int64[T],
// dims: bytes of int64, for each tensor the number of its dimensions and their sizes, device: None if all are on the
// CPU, else int64[T], -1 for the CPU and k for the k-th CUDA device), or None if a tensor is not ordinary, a name is no
// string, or the exchange API is of an unknown version.
pybind11::object scan(const pybind11::tuple& names, const pybind11::tuple& values, const Library& library);

}  // namespace negmerge
