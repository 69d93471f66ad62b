// The rule of one element as device code: float and double, every method and mode.
#include "value.h"

namespace negmerge {

template <class T>
__global__ void merge_elements(Method method, Mode mode, T scale, const T* base, const T* const* finetuned, int models,
                               size_t numel, T* out) {
  const size_t stride = static_cast<size_t>(gridDim.x) * blockDim.x;
  for (size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < numel; i += stride) {
    const Value<T> start(base[i]);
    Value<T> sum(static_cast<T>(kEmptySum));
    DeltaRange<Value<T>> range;
    for (int k = 0; k < models; k++) visit(Value<T>(finetuned[k][i]), start, sum, range);
    const Flag kept =
        method == Method::uniform ? Flag{true} : either(all_positive(sum, range), all_negative(sum, range));
    const Value<T> merged = merged_vector(sum, Value<T>(static_cast<T>(models)), kept);
    out[i] = result(mode, start, merged, kept, Value<T>(scale)).v;
  }
}

template __global__ void merge_elements(Method, Mode, float, const float*, const float* const*, int, size_t, float*);
template __global__ void merge_elements(Method, Mode, double, const double*, const double* const*, int, size_t,
                                        double*);

}  // namespace negmerge
