// One element on a CUDA device, as csrc/arithmetic.h wants it. The intrinsics are never contracted to a fused
// operation, whatever the compiler is told.
#pragma once

#include "../arithmetic.h"

namespace negmerge {

template <class T>
struct Value;

template <>
struct Value<float> {
  float v;
  NEGMERGE_HD explicit Value(float value) : v(value) {}
  NEGMERGE_HD static Value least() { return Value(-kInfinity); }
  NEGMERGE_HD static Value most() { return Value(kInfinity); }
  friend __device__ Value operator+(Value a, Value b) { return Value(__fadd_rn(a.v, b.v)); }
  friend __device__ Value operator-(Value a, Value b) { return Value(__fsub_rn(a.v, b.v)); }
  friend __device__ Value operator*(Value a, Value b) { return Value(__fmul_rn(a.v, b.v)); }
  friend __device__ Value operator/(Value a, Value b) { return Value(__fdiv_rn(a.v, b.v)); }
};

template <>
struct Value<double> {
  double v;
  NEGMERGE_HD explicit Value(double value) : v(value) {}
  NEGMERGE_HD static Value least() { return Value(-kInfinity); }
  NEGMERGE_HD static Value most() { return Value(kInfinity); }
  friend __device__ Value operator+(Value a, Value b) { return Value(__dadd_rn(a.v, b.v)); }
  friend __device__ Value operator-(Value a, Value b) { return Value(__dsub_rn(a.v, b.v)); }
  friend __device__ Value operator*(Value a, Value b) { return Value(__dmul_rn(a.v, b.v)); }
  friend __device__ Value operator/(Value a, Value b) { return Value(__ddiv_rn(a.v, b.v)); }
};

struct Flag {
  bool v;
};
template <class T>
__device__ Flag is_number(Value<T> a) {
  return {a.v == a.v};
}
template <class T>
__device__ Value<T> lower(Value<T> a, Value<T> b) {
  return a.v < b.v ? a : b;
}
template <class T>
__device__ Value<T> higher(Value<T> a, Value<T> b) {
  return a.v > b.v ? a : b;
}
template <class T>
__device__ Flag above_zero(const DeltaRange<Value<T>>& range) {
  return {range.lowest.v > 0};
}
template <class T>
__device__ Flag below_zero(const DeltaRange<Value<T>>& range) {
  return {range.highest.v < 0};
}
__device__ inline Flag both(Flag a, Flag b) { return {a.v && b.v}; }
__device__ inline Flag either(Flag a, Flag b) { return {a.v || b.v}; }
template <class T>
__device__ Value<T> select(Flag mask, Value<T> a, Value<T> b) {
  return mask.v ? a : b;
}

}  // namespace negmerge
