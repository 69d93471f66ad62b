// Bytes of files, for kernels whose inputs are not in memory.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <vector>

namespace negmerge {

// A file to read from. With the descriptor -1, of which a process has only so many, it is opened for every read.
struct File {
  int descriptor = -1;
  std::string path;
};

// What could not be read: a file by number, a byte of it, and the system's error (0: the file ends there).
struct ReadError : std::runtime_error {
  ReadError(size_t file, size_t offset, int code);
  size_t file, offset;
  int code;
};

// Fills `bytes` bytes at `to`, or throws ReadError.
void read_exactly(const std::vector<File>& files, size_t file, size_t offset, void* to, size_t bytes);

}  // namespace negmerge
