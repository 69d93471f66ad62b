#include "processor.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace negmerge {

#if defined(__x86_64__)
bool prefers_near_prefetch() {
  static const bool zen5_or_later = [] {
    unsigned int eax, ebx, ecx, edx;
    if (!__get_cpuid(0, &eax, &ebx, &ecx, &edx) || ebx != signature_AMD_ebx) return false;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx)) return false;
    constexpr unsigned int kZen5 = 0x1a;
    const unsigned int family = (eax >> 8 & 0xf) + (eax >> 20 & 0xff);
    return family >= kZen5;
  }();
  return zen5_or_later;
}
#else
bool prefers_near_prefetch() { return false; }
#endif

}  // namespace negmerge
