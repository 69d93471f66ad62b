#include "pool.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "float_environment.h"
#include "tuning.h"

namespace negmerge {
namespace {

constexpr auto kPollInterval = std::chrono::milliseconds(50);
constexpr size_t kMostThreads = 1024;

// Counts in a child how often it and its ancestors were forked.
std::atomic<int> forks{0};

// One call of parallel_for.
class Job {
 public:
  Job(size_t count, size_t threads, const std::function<void(size_t)>& work, const std::function<bool()>& poll)
      : count_(count),
        at_once_(std::clamp<size_t>(count / (kTurns * threads), 1, kMostBlocksAtOnce)),
        work_(work),
        poll_(poll) {}

  // What a helping thread does.
  void help() noexcept {
    try {
      const FloatEnvironment environment;
      take([this](size_t i) { work_(i); });
    } catch (...) {
      fail(std::current_exception());
    }
  }

  // What the calling thread does.
  void lead() noexcept {
    try {
      const FloatEnvironment environment;
      auto asked = std::chrono::steady_clock::now();
      take([&](size_t i) {
        work_(i);
        const auto now = std::chrono::steady_clock::now();
        if (now - asked < kPollInterval) return;
        asked = now;
        ask();
      });
    } catch (...) {
      fail(std::current_exception());
    }
  }

  // Ask whether to go on, while others finish. A child that poll() forked must not: memory that it shares with its
  // parent is written there, and a mutex may be locked for ever by a thread that it does not have.
  void ask() noexcept {
    try {
      if (!stopped_ && (poll_() || abandoned())) stopped_ = true;
    } catch (...) {
      if (abandoned())
        stopped_ = true;
      else
        fail(std::current_exception());
    }
  }

  // Whether poll() forked and this is the child, in which the other threads do not exist.
  bool abandoned() const { return forks != forks_before_; }

  // To be called when no thread works on it any more. Returns whether all work was done.
  bool finish() {
    if (abandoned()) throw std::runtime_error("the process was forked by a signal handler during a merge");
    if (failure_) std::rethrow_exception(failure_);
    return !stopped_;
  }

 private:
  // Do what is left, some consecutive work at a time.
  template <class Do>
  void take(Do&& one) {
    for (size_t first; !stopped_ && (first = next_.fetch_add(at_once_)) < count_;)
      for (size_t i = first; !stopped_ && i < std::min(first + at_once_, count_); i++) one(i);
  }

  void fail(std::exception_ptr failure) noexcept {
    const std::lock_guard<std::mutex> lock(failure_mutex_);
    if (!failure_) failure_ = failure;
    stopped_ = true;
  }

  const size_t count_, at_once_;
  const std::function<void(size_t)>& work_;
  const std::function<bool()>& poll_;
  const int forks_before_ = forks;
  std::atomic<size_t> next_{0};
  std::atomic<bool> stopped_{false};
  std::mutex failure_mutex_;
  std::exception_ptr failure_;
};

class Pool {
 public:
  // Whether the pool was free; it is then the caller's until run() returns.
  bool reserve() { return !reserved_.exchange(true); }

  void run(Job& job, size_t helpers) {
    const size_t ready = start_threads(helpers);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      job_ = &job;
      wanted_ = std::min(ready, helpers);
    }
    wake_.notify_all();
    job.lead();
    if (job.abandoned()) return;  // nothing of this pool can be relied on
    std::unique_lock<std::mutex> lock(mutex_);
    wanted_ = 0;  // whoever has not begun need not
    while (!idle_.wait_for(lock, kPollInterval, [this] { return working_ == 0; })) {
      lock.unlock();
      job.ask();
      if (job.abandoned()) return;
      lock.lock();
    }
    job_ = nullptr;
    reserved_ = false;
  }

 private:
  // Returns the number of threads there are; fewer than asked for if the system has no more to give.
  size_t start_threads(size_t many) {
    try {
      for (; threads_ < many; threads_++) std::thread([this] { serve(); }).detach();
    } catch (const std::exception&) {
    }
    return threads_;
  }

  void serve() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return wanted_ > 0; });
      wanted_--;
      working_++;
      Job* const job = job_;
      lock.unlock();
      job->help();
      lock.lock();
      if (--working_ == 0) idle_.notify_one();
    }
  }

  std::atomic<bool> reserved_{false};
  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_, idle_;
  Job* job_ = nullptr;
  size_t wanted_ = 0;   // threads that are still to take up the job
  size_t working_ = 0;  // threads at work on it
  size_t threads_ = 0;  // touched only by who has reserved the pool
};

// Never destroyed: its threads wait in it until the process ends. A forked child has none of them, and starts anew.
std::atomic<Pool*> pool{new Pool};

const int kForkHandler = pthread_atfork(nullptr, nullptr, [] {
  pool = new Pool;
  forks++;
});

}  // namespace

bool parallel_for(size_t count, int threads, const std::function<void(size_t)>& work,
                  const std::function<bool()>& poll) {
  const size_t most = std::max<size_t>(std::min({count, static_cast<size_t>(threads), kMostThreads}), 1);
  Job job(count, most, work, poll);
  Pool& own = *pool;
  if (most <= 1 || !own.reserve())
    job.lead();
  else
    own.run(job, most - 1);
  return job.finish();
}

}  // namespace negmerge
