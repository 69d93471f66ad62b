#include "dispatch.h"

#include <atomic>
#include <stdexcept>

namespace negmerge {

extern const Kernels kScalar;
#if defined(__x86_64__)
extern const Kernels kAvx2, kAvx512;
#elif defined(__aarch64__)
extern const Kernels kNeon;
#endif

std::vector<const Kernels*> available_kernels() {
  std::vector<const Kernels*> found = {&kScalar};
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c")) {
    found.push_back(&kAvx2);
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
      found.push_back(&kAvx512);
  }
#elif defined(__aarch64__)
  found.push_back(&kNeon);
#endif
  return found;
}

namespace {
std::atomic<const Kernels*>& active() {
  static std::atomic<const Kernels*> kernels{available_kernels().back()};
  return kernels;
}
}  // namespace

const Kernels& active_kernels() { return *active().load(); }

void select_kernels(const std::string& name) {
  std::string choices;
  for (const Kernels* kernels : available_kernels()) {
    if (name == kernels->name) {
      active() = kernels;
      return;
    }
    choices += (choices.empty() ? "" : ", ") + std::string(kernels->name);
  }
  throw std::invalid_argument("instruction set '" + name + "' is unknown or not available on this CPU; use one of " +
                              choices);
}

}  // namespace negmerge
