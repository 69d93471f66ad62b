// One element as csrc/methods/ want it, in device code and in the same kernels run on the host. On the device the
// operations are intrinsics, which are never contracted to a fused operation, whatever the compiler is told.
#pragma once

#include "../methods.h"

#if defined(__CUDA_ARCH__)
#define NEGMERGE_ROUNDED(on_device, on_host) on_device
#else
#define NEGMERGE_ROUNDED(on_device, on_host) on_host
#endif

namespace negmerge {

template <class T>
struct Value;

template <>
struct Value<float> {
  using Scalar = float;
  float v;
  Value() = default;
  NEGMERGE_HD explicit Value(float value) : v(value) {}
  NEGMERGE_HD static Value least() { return Value(-kInfinity); }
  NEGMERGE_HD static Value most() { return Value(kInfinity); }
  friend NEGMERGE_HD Value operator+(Value a, Value b) {
    return Value(NEGMERGE_ROUNDED(__fadd_rn(a.v, b.v), a.v + b.v));
  }
  friend NEGMERGE_HD Value operator-(Value a, Value b) {
    return Value(NEGMERGE_ROUNDED(__fsub_rn(a.v, b.v), a.v - b.v));
  }
  friend NEGMERGE_HD Value operator*(Value a, Value b) {
    return Value(NEGMERGE_ROUNDED(__fmul_rn(a.v, b.v), a.v * b.v));
  }
  friend NEGMERGE_HD Value operator/(Value a, Value b) {
    return Value(NEGMERGE_ROUNDED(__fdiv_rn(a.v, b.v), a.v / b.v));
  }
};

template <>
struct Value<double> {
  using Scalar = double;
  double v;
  Value() = default;
  NEGMERGE_HD explicit Value(double value) : v(value) {}
  NEGMERGE_HD static Value least() { return Value(-kInfinity); }
  NEGMERGE_HD static Value most() { return Value(kInfinity); }
  friend NEGMERGE_HD Value operator+(Value a, Value b) {
    return Value(NEGMERGE_ROUNDED(__dadd_rn(a.v, b.v), a.v + b.v));
  }
  friend NEGMERGE_HD Value operator-(Value a, Value b) {
    return Value(NEGMERGE_ROUNDED(__dsub_rn(a.v, b.v), a.v - b.v));
  }
  friend NEGMERGE_HD Value operator*(Value a, Value b) {
    return Value(NEGMERGE_ROUNDED(__dmul_rn(a.v, b.v), a.v * b.v));
  }
  friend NEGMERGE_HD Value operator/(Value a, Value b) {
    return Value(NEGMERGE_ROUNDED(__ddiv_rn(a.v, b.v), a.v / b.v));
  }
};

struct Flag {
  bool v;
};
template <class T>
NEGMERGE_HD Flag above_zero(Value<T> a) {
  return {a.v > 0};
}
template <class T>
NEGMERGE_HD Flag below_zero(Value<T> a) {
  return {a.v < 0};
}
template <class T>
NEGMERGE_HD Flag is_number(Value<T> a) {
  return {a.v == a.v};
}
template <class T>
NEGMERGE_HD Flag is_finite(Value<T> a) {
  return {(a - a).v == 0};
}
template <class T>
NEGMERGE_HD Value<T> larger(Value<T> a, Value<T> b) {
  return a.v > b.v ? a : b;
}
template <class T>
NEGMERGE_HD Value<T> lower(Value<T> a, Value<T> b) {
  return a.v < b.v ? a : b;
}
template <class T>
NEGMERGE_HD Value<T> higher(Value<T> a, Value<T> b) {
  return larger(a, b);
}
template <class T>
NEGMERGE_HD Flag above_zero(const DeltaRange<Value<T>>& range) {
  return above_zero(range.lowest);
}
template <class T>
NEGMERGE_HD Flag below_zero(const DeltaRange<Value<T>>& range) {
  return below_zero(range.highest);
}
template <class T>
NEGMERGE_HD Value<T> magnitude(Value<T> a) {
  return Value<T>(a.v < 0 ? -a.v : a.v);
}
template <class T>
NEGMERGE_HD Flag at_least(Value<T> a, Value<T> b) {
  return {a.v >= b.v};
}
// NaN too.
template <class T>
NEGMERGE_HD Flag not_zero(Value<T> a) {
  return {a.v != 0};
}
NEGMERGE_HD Flag everywhere(Flag) { return {true}; }
NEGMERGE_HD Flag complement(Flag a) { return {!a.v}; }
NEGMERGE_HD Flag both(Flag a, Flag b) { return {a.v && b.v}; }
NEGMERGE_HD Flag either(Flag a, Flag b) { return {a.v || b.v}; }
template <class T>
NEGMERGE_HD Value<T> select(Flag mask, Value<T> a, Value<T> b) {
  return mask.v ? a : b;
}

}  // namespace negmerge

#undef NEGMERGE_ROUNDED
