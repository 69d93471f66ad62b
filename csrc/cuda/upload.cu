// Bytes of the host put into device memory by way of kernel parameters, which are copied when a launch is enqueued:
// neither the call nor a CUDA graph that captured it depends on host memory afterwards.
#include <algorithm>
#include <cstring>

#include "check.h"
#include "preload.h"

namespace negmerge::cuda {
namespace {

// All parameters of a kernel together: 32764 bytes since CUDA 12.1, 4096 before.
#if CUDART_VERSION >= 12010
constexpr size_t kPayload = 32736;
#else
constexpr size_t kPayload = 4064;
#endif
constexpr uint32_t kUploadThreads = 128;

struct Payload {
  uint4 words[kPayload / sizeof(uint4)];
};

__global__ void __launch_bounds__(kUploadThreads)
    upload_kernel(const __grid_constant__ Payload payload, uint4* to, uint32_t words) {
  const uint32_t word = blockIdx.x * kUploadThreads + threadIdx.x;
  if (word < words) to[word] = payload.words[word];
}

}  // namespace

void launch_upload(const void* from, size_t size, void* to, Stream stream) {
  Payload payload;
  for (size_t done = 0; done < size; done += kPayload) {
    const size_t part = std::min(size - done, kPayload);
    memcpy(payload.words, static_cast<const unsigned char*>(from) + done, part);
    const auto words = static_cast<uint32_t>(part / sizeof(uint4));
    auto* place = reinterpret_cast<uint4*>(static_cast<unsigned char*>(to) + done);
    upload_kernel<<<(words + kUploadThreads - 1) / kUploadThreads, kUploadThreads, 0,
                    static_cast<cudaStream_t>(stream)>>>(payload, place, words);
    check_launch();
  }
}

void preload_upload_kernel() { preload(upload_kernel); }

}  // namespace negmerge::cuda
