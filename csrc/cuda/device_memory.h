// What is taken of a device and given back: the calling thread's device, memory, streams, events.
#pragma once

#include <memory>

#include "device.h"

namespace negmerge::cuda {

// The calling thread works on a device, for as long as this lasts.
class Visit {
 public:
  Visit(const DeviceApi& api, int device) : api_(api) {
    check(api, api.enter(device, &changed_), "selecting the device");
  }
  ~Visit() { api_.leave(changed_); }
  Visit(const Visit&) = delete;
  Visit& operator=(const Visit&) = delete;

 private:
  const DeviceApi& api_;
  bool changed_ = false;
};

// The same where nothing can be done if it fails: giving back.
class QuietVisit {
 public:
  QuietVisit(const DeviceApi& api, int device) : api_(api), there_(api.enter(device, &changed_) == 0) {}
  ~QuietVisit() {
    if (there_) api_.leave(changed_);
  }
  QuietVisit(const QuietVisit&) = delete;
  QuietVisit& operator=(const QuietVisit&) = delete;

 private:
  const DeviceApi& api_;
  bool changed_ = false;
  const bool there_;
};

// Given back at the end. That can only fail where the device has failed before, which has been said then.
using Owned = std::unique_ptr<void, int (*)(void*)>;

inline Owned pinned_memory(const DeviceApi& api, size_t bytes) {
  void* memory = nullptr;
  check(api, api.allocate_pinned(&memory, bytes), "allocating pinned host memory");
  return {memory, api.free_pinned};
}

// Its addresses mean nothing to the host.
inline Owned device_memory(const DeviceApi& api, size_t bytes) {
  void* memory = nullptr;
  check(api, api.allocate(&memory, bytes), "allocating device memory");
  return {memory, api.free};
}

inline Owned new_stream(const DeviceApi& api) {
  Stream stream = nullptr;
  check(api, api.create_stream(&stream), "making a stream");
  return {stream, api.destroy_stream};
}

inline Owned new_event(const DeviceApi& api) {
  Event event = nullptr;
  check(api, api.create_event(&event), "making an event");
  return {event, api.destroy_event};
}

}  // namespace negmerge::cuda
