// The kernels of a merge as device code, and their launches.
#include "check.h"
#include "merge_kernel.h"
#include "norm_kernel.h"
#include "plain_kernel.h"
#include "preload.h"

namespace negmerge::cuda {
namespace {

// Blocks that an SM is to have room for, which bounds the registers of a thread: so many that enough bytes are on their
// way to it with two models, too (HBM of sm_90 and sm_100 wants 48 KiB and 64 KiB, other memories a third of that), but
// not so many that registers are spilled. On an H200 five are up to 5 percent slower than four.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900 && __CUDA_ARCH__ < 1100
constexpr int kPlainResidents = 4;
#else
constexpr int kPlainResidents = 3;
#endif
constexpr int kGeneralResidents = 1;

template <Dtype kDtype>
__global__ void __launch_bounds__(kThreads, kPlainResidents) plain_kernel(const __grid_constant__ Call call) {
  merge_plain<kDtype>(Cta{blockIdx.x}, call);
}

template <class A, class C>
__global__ void __launch_bounds__(kThreads, kGeneralResidents) general_kernel(const __grid_constant__ Call call) {
  extern __shared__ double2 shared[];
  merge_general<A, C>(Cta{blockIdx.x}, call, *reinterpret_cast<Shared<C>*>(shared));
}

__global__ void __launch_bounds__(kThreads) norm_kernel(const __grid_constant__ Call call) {
  __shared__ SharedNorms shared;
  add_norms(Cta{blockIdx.x}, call, shared);
}

// What a launch may ask for without being allowed more first.
constexpr size_t kSharedMemory = 48 * 1024;

template <class C>
void start_general(const Call& call, uint32_t blocks, cudaStream_t stream) {
  static_assert(sizeof(Shared<C>) <= kSharedMemory, "the shared memory of a block");
  Methods::with(call.method, [&](auto method) {
    using A = typename decltype(method)::Accumulation;
    general_kernel<A, C><<<blocks, kThreads, Shared<C>::bytes(call.stats != nullptr), stream>>>(call);
  });
}
template <Dtype kDtype>
void start_plain(const Call& call, uint32_t blocks, cudaStream_t stream) {
  plain_kernel<kDtype><<<blocks * PlainPart<kDtype>::kParts, kThreads, 0, stream>>>(call);
}

void start(Variant variant, const Call& call, uint32_t blocks, cudaStream_t stream) {
  switch (variant) {
    case Variant::plain_f64: return start_plain<Dtype::f64>(call, blocks, stream);
    case Variant::plain_f32: return start_plain<Dtype::f32>(call, blocks, stream);
    case Variant::plain_f16: return start_plain<Dtype::f16>(call, blocks, stream);
    case Variant::plain_bf16: return start_plain<Dtype::bf16>(call, blocks, stream);
    case Variant::general_f32: return start_general<float>(call, blocks, stream);
    case Variant::general_f64: return start_general<double>(call, blocks, stream);
  }
}

}  // namespace

void launch_merge(Variant variant, const Call& call, uint32_t blocks, Stream stream) {
  start(variant, call, blocks, static_cast<cudaStream_t>(stream));
  check_launch();
}

void launch_add_norms(const Call& call, Stream stream) {
  norm_kernel<<<call.rows, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(call);
  check_launch();
}

void preload_merge_kernels() {
  preload(plain_kernel<Dtype::f64>, plain_kernel<Dtype::f32>, plain_kernel<Dtype::f16>, plain_kernel<Dtype::bf16>,
          norm_kernel);
  Methods::all([](auto... method) {
    (preload(general_kernel<typename decltype(method)::Accumulation, float>,
             general_kernel<typename decltype(method)::Accumulation, double>),
     ...);
  });
}

}  // namespace negmerge::cuda
