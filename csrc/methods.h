// The methods there are. A method's number is its place in the list; negmerge_ext/methods/ has the same numbers.
#pragma once

#include <type_traits>

#include "methods/conflict.h"
#include "methods/magmax.h"
#include "methods/negmerge.h"
#include "methods/ties.h"
#include "methods/uniform.h"

namespace negmerge {

template <class... Ms>
struct MethodList {
  static constexpr int kCount = sizeof...(Ms);

  // Calls body(M()) for the method of a number. The body may be for the host alone.
#if defined(__CUDACC__)
#pragma nv_exec_check_disable
#endif
  template <class Body>
  static NEGMERGE_HD void with(uint8_t number, Body&& body) {
    uint8_t place = 0;
    ((place++ == number ? body(Ms()) : void()), ...);
  }

  // Calls body(M()...) with all methods.
  template <class Body>
  static void all(Body&& body) {
    body(Ms()...);
  }

  static constexpr int most_values() {
    int most = 0;
    ((most = Ms::Accumulation::kValues > most ? Ms::Accumulation::kValues : most), ...);
    return most;
  }
};

using Methods = MethodList<NegMerge, Uniform, Conflict, MagMax, Ties>;
constexpr int kMethods = Methods::kCount;
// Running values of an element, whatever the method.
constexpr size_t kMostValues = Methods::most_values();

template <class M>
constexpr bool kIsSignMean = std::is_same_v<typename M::Accumulation, SignMean>;

}  // namespace negmerge
