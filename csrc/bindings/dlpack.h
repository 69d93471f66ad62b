// The part of DLPack's C interface (dmlc/dlpack, version 1) that tells where a tensor lies.
#pragma once

#include <cstdint>

namespace negmerge::dlpack {

constexpr uint32_t kMajorVersion = 1;
constexpr int32_t kCpu = 1;
constexpr int32_t kCuda = 2;

struct Device {
  int32_t type;
  int32_t id;
};

struct DataType {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  int32_t ndim;
  DataType dtype;
  int64_t* shape;
  int64_t* strides;  // in elements; null: packed in row-major order
  uint64_t byte_offset;
};

struct Version {
  uint32_t major;
  uint32_t minor;
};

struct ExchangeHeader {
  Version version;
  ExchangeHeader* previous;  // of an older major version
};

// What the capsule "dlpack_exchange_api" of a tensor type points to. Members that are not used here stand as void*.
struct Exchange {
  ExchangeHeader header;
  void* managed_tensor_allocator;
  void* managed_tensor_from_py_object_no_sync;
  void* managed_tensor_to_py_object_no_sync;
  // Fills in where a tensor lies without taking a reference; -1 with a Python exception if that cannot be told. Null
  // if the library does not offer it.
  int (*tensor_from_py_object_no_sync)(void* object, Tensor* out);
  void* current_work_stream;
};

}  // namespace negmerge::dlpack
