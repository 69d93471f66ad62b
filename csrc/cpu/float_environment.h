// IEEE arithmetic for the time of a task, whatever the thread was set to (torch.set_flush_denormal sets the caller's
// thread, and threads inherit from the one that makes them).
#pragma once

#include <cstdint>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace negmerge {

class FloatEnvironment {
 public:
  FloatEnvironment() : saved_(get()) { set(kDefault); }
  ~FloatEnvironment() { set(saved_); }
  FloatEnvironment(const FloatEnvironment&) = delete;
  FloatEnvironment& operator=(const FloatEnvironment&) = delete;

 private:
#if defined(__x86_64__)
  using Word = unsigned;
  static constexpr Word kDefault = 0x1f80;  // round to nearest even, denormals kept, exceptions masked
  static Word get() { return _mm_getcsr(); }
  static void set(Word word) { _mm_setcsr(word); }
#elif defined(__aarch64__)
  using Word = uint64_t;
  static constexpr Word kDefault = 0;
  static Word get() {
    Word word;
    asm volatile("mrs %0, fpcr" : "=r"(word));
    return word;
  }
  static void set(Word word) { asm volatile("msr fpcr, %0" : : "r"(word)); }
#else
#error "the control word of this architecture's floating-point unit is not known"
#endif
  const Word saved_;
};

}  // namespace negmerge
