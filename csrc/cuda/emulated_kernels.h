// Names of the kernels as emulated.cpp launches them, for tests that want every one launched.
#pragma once

#include <mutex>
#include <set>
#include <string>
#include <typeinfo>
#include <utility>

#include "../methods.h"

namespace negmerge::cuda {

class Launched {
 public:
  void add(const std::string& kernel) {
    const std::lock_guard<std::mutex> lock(mutex_);
    kernels_.insert(kernel);
  }
  std::set<std::string> take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return std::exchange(kernels_, {});
  }

 private:
  std::mutex mutex_;
  std::set<std::string> kernels_;
};

template <class... Of>
std::string named(const char* kernel) {
  std::string name = kernel;
  ((name += std::string(" ") + typeid(Of).name()), ...);
  return name;
}
template <Dtype kDtype>
std::string named_plain() {
  return "plain " + std::to_string(static_cast<int>(kDtype));
}
// Histograms that are too large for shared memory are counted by another part of the kernel.
template <class A, class C>
std::string named_general(bool large_histogram) {
  return named<A, C>(large_histogram ? "general, large histogram" : "general");
}

inline std::set<std::string> all_kernels() {
  std::set<std::string> all = {named_plain<Dtype::f64>(),
                               named_plain<Dtype::f32>(),
                               named_plain<Dtype::f16>(),
                               named_plain<Dtype::bf16>(),
                               named("norm"),
                               named<float>("count"),
                               named<double>("count"),
                               named("remember"),
                               named("check"),
                               named("move")};
  Methods::all([&](auto... method) {
    (all.insert({named_general<typename decltype(method)::Accumulation, float>(false),
                 named_general<typename decltype(method)::Accumulation, double>(false)}),
     ...);
  });
  all.insert(named_general<SignMean, float>(true));
  return all;
}

}  // namespace negmerge::cuda
