// The merge of one tensor by CUB's DeviceTransform, as its users would write it. The command line of the compiler gives
// MODELS, the number of fine-tuned models, and ELEMENT, float or __nv_bfloat16.
#include <cuda_bf16.h>
#include <cub/device/device_transform.cuh>
#include <cuda/std/tuple>

#include <utility>

namespace {

using Element = ELEMENT;

__device__ float widened(Element value) {
  if constexpr (sizeof(Element) == sizeof(float)) {
    return value;
  } else {
    return __bfloat162float(value);
  }
}

__device__ Element narrowed(float value) {
  if constexpr (sizeof(Element) == sizeof(float)) {
    return value;
  } else {
    return __float2bfloat16_rn(value);
  }
}

struct Merge {
  float scale;

  template <class... Models>
  __device__ Element operator()(Element base, Models... models) const {
    const float start = widened(base);
    float sum = 0, lowest = __int_as_float(0x7f800000), highest = -lowest;
    const auto visit = [&](float model) {
      const float delta = model - start;
      sum += delta;
      lowest = fminf(lowest, delta);
      highest = fmaxf(highest, delta);
    };
    (visit(widened(models)), ...);
    const bool kept = lowest > 0 || highest < 0;
    return kept ? narrowed(start - scale * (sum / MODELS)) : base;
  }
};

template <size_t... kInput>
cudaError_t transform(const void* const* inputs, void* out, int numel, float scale, cudaStream_t stream,
                      std::index_sequence<kInput...>) {
  return cub::DeviceTransform::Transform(cuda::std::make_tuple(static_cast<const Element*>(inputs[kInput])...),
                                         static_cast<Element*>(out), numel, Merge{scale}, stream);
}

}  // namespace

// inputs: addresses of the base and of MODELS models, numel elements each. 0, or what CUDA has to say.
extern "C" int merge(const void* const* inputs, void* out, int numel, float scale, void* stream) {
  return transform(inputs, out, numel, scale, static_cast<cudaStream_t>(stream),
                   std::make_index_sequence<MODELS + 1>());
}
