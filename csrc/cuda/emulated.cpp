// The kernels as host code: loops over blocks and threads, each launch done when it returns. Addresses are of host
// memory, and all devices and streams are one.
#include <cstring>
#include <memory>

#include "../cpu/float_environment.h"
#include "devices.h"
#include "emulated_kernels.h"
#include "launches.h"
#include "magnitude_kernel.h"
#include "merge_kernel.h"
#include "norm_kernel.h"
#include "patch_kernel.h"
#include "plain_kernel.h"

namespace negmerge::cuda {
namespace {

// What a block finds in shared memory: nothing that it could rely on.
constexpr int kUnwritten = 0xa5;

// Whether blocks, and threads within a phase, have their turn from the last to the first: no result may depend on it.
bool backwards = false;

Launched launched;

template <class Kernel>
void for_each_block(uint32_t blocks, Kernel&& kernel) {
  const FloatEnvironment environment;
  for (uint32_t i = 0; i < blocks; i++) kernel(Cta{backwards ? blocks - 1 - i : i, backwards});
}

template <class Shared, class Kernel>
void for_each_block(uint32_t blocks, size_t shared_size, Kernel&& kernel) {
  // Of the size that a launch asks for, so that an access beyond it is one beyond the allocation.
  const std::unique_ptr<void, decltype(&free)> shared(aligned_alloc(alignof(Shared), shared_size), &free);
  for_each_block(blocks, [&](const Cta& cta) {
    memset(shared.get(), kUnwritten, shared_size);
    kernel(cta, *static_cast<Shared*>(shared.get()));
  });
}

template <class C>
void run_general(const Call& call, uint32_t blocks) {
  Methods::with(call.method, [&](auto method) {
    using A = typename decltype(method)::Accumulation;
    launched.add(named_general<A, C>(call.histogram != nullptr && call.models >= kSharedBins));
    for_each_block<Shared<C>>(blocks, Shared<C>::bytes(call.stats != nullptr),
                              [&](const Cta& cta, Shared<C>& shared) { merge_general<A, C>(cta, call, shared); });
  });
}
template <Dtype kDtype>
void run_plain(const Call& call, uint32_t blocks) {
  launched.add(named_plain<kDtype>());
  for_each_block(blocks * PlainPart<kDtype>::kParts, [&](const Cta& cta) { merge_plain<kDtype>(cta, call); });
}

}  // namespace

extern "C" {

#define EXPORTED __attribute__((visibility("default")))
EXPORTED void emulated_backwards(int on) { backwards = on != 0; }

// The kernels that were not launched since this was last asked, and how many there are.
EXPORTED int emulated_kernels(char* not_launched, size_t size) {
  const std::set<std::string> found = launched.take(), all = all_kernels();
  std::string missing;
  for (const std::string& kernel : all)
    if (found.count(kernel) == 0) missing += kernel + "\n";
  strncpy(not_launched, missing.c_str(), size);
  return static_cast<int>(all.size());
}
}

std::vector<Device> devices() { return {{0, "emulated", 0, 0, 0}}; }
int runtime_version() { return 0; }

OnDevice::OnDevice(int device) {
  if (device != 0) throw CudaError("invalid device ordinal", 101);
}
OnDevice::~OnDevice() = default;

void launch_upload(const void* from, size_t size, void* to, Stream) { memcpy(to, from, size); }

void launch_merge(Variant variant, const Call& call, uint32_t blocks, Stream) {
  switch (variant) {
    case Variant::plain_f64: return run_plain<Dtype::f64>(call, blocks);
    case Variant::plain_f32: return run_plain<Dtype::f32>(call, blocks);
    case Variant::plain_f16: return run_plain<Dtype::f16>(call, blocks);
    case Variant::plain_bf16: return run_plain<Dtype::bf16>(call, blocks);
    case Variant::general_f32: return run_general<float>(call, blocks);
    case Variant::general_f64: return run_general<double>(call, blocks);
  }
}

void launch_add_norms(const Call& call, Stream) {
  launched.add(named("norm"));
  for_each_block<SharedNorms>(call.rows, sizeof(SharedNorms),
                              [&](const Cta& cta, SharedNorms& shared) { add_norms(cta, call, shared); });
}

void launch_count_magnitudes(bool in_double, const MagnitudeCall& call, uint32_t blocks, Stream) {
  launched.add(in_double ? named<double>("count") : named<float>("count"));
  for_each_block(blocks, [&](const Cta& cta) {
    if (in_double)
      count_magnitudes<double>(cta, call);
    else
      count_magnitudes<float>(cta, call);
  });
}

void launch_remember(const PatchCall& call, uint32_t blocks, Stream) {
  launched.add(named("remember"));
  for_each_block<SharedKeep>(blocks, sizeof(SharedKeep),
                             [&](const Cta& cta, SharedKeep& shared) { remember_block(cta, call, shared); });
}
void launch_check(const PatchCall& call, uint32_t blocks, Stream) {
  launched.add(named("check"));
  for_each_block<SharedKeep>(blocks, sizeof(SharedKeep),
                             [&](const Cta& cta, SharedKeep& shared) { check_block(cta, call, shared); });
}
void launch_move(const PatchCall& call, uint32_t blocks, Stream) {
  launched.add(named("move"));
  for_each_block<SharedKeep>(blocks, sizeof(SharedKeep),
                             [&](const Cta& cta, SharedKeep& shared) { move_block(cta, call, shared); });
}

}  // namespace negmerge::cuda
