// Things of which every thread at work uses one at a time.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

namespace negmerge {

template <class T>
class PerThread {
 public:
  explicit PerThread(std::function<std::unique_ptr<T>()> make) : make_(std::move(make)) {}

  // One that nobody uses, made if there is none.
  T& take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (idle_.empty()) return *all_.emplace_back(make_());
    T* const one = idle_.back();
    idle_.pop_back();
    return *one;
  }
  void give_back(T& one) {
    const std::lock_guard<std::mutex> lock(mutex_);
    idle_.push_back(&one);
  }

  // All that were made, for when no thread is at work.
  const std::vector<std::unique_ptr<T>>& all() const { return all_; }

 private:
  const std::function<std::unique_ptr<T>()> make_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<T>> all_;
  std::vector<T*> idle_;
};

}  // namespace negmerge
