#include "pool.h"

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>

#include "float_environment.h"

namespace negmerge {
namespace {

constexpr auto kPollInterval = std::chrono::milliseconds(50);

// One call of parallel_for.
class Job {
 public:
  Job(size_t count, const std::function<void(size_t)>& work) : count_(count), work_(work) {}

  void run_until_done() {
    const FloatEnvironment environment;
    for (size_t i; (i = next_++) < count_ && !stopped_;) work_(i);
  }

  // As above, asking poll() in between.
  void run_until_done(const std::function<bool()>& poll) {
    const FloatEnvironment environment;
    auto asked = std::chrono::steady_clock::now();
    for (size_t i; !stopped_ && (i = next_++) < count_;) {
      work_(i);
      const auto now = std::chrono::steady_clock::now();
      if (now - asked < kPollInterval) continue;
      asked = now;
      if (poll()) stop();
    }
  }

  void stop() { stopped_ = true; }
  bool stopped() const { return stopped_; }

 private:
  const size_t count_;
  const std::function<void(size_t)>& work_;
  std::atomic<size_t> next_{0};
  std::atomic<bool> stopped_{false};
};

class Pool {
 public:
  bool busy_or_lock() { return !running_.try_lock(); }

  void run(Job& job, size_t helpers, const std::function<bool()>& poll) {
    const std::lock_guard<std::mutex> running(running_, std::adopt_lock);
    const size_t ready = start_threads(helpers);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      job_ = &job;
      wanted_ = ready < helpers ? ready : helpers;
    }
    wake_.notify_all();
    job.run_until_done(poll);
    std::unique_lock<std::mutex> lock(mutex_);
    wanted_ = 0;  // whoever has not begun need not
    while (!idle_.wait_for(lock, kPollInterval, [this] { return working_ == 0; })) {
      lock.unlock();
      if (!job.stopped() && poll()) job.stop();
      lock.lock();
    }
    job_ = nullptr;
  }

 private:
  // Returns the number of threads there are; fewer than asked for if the system has no more to give.
  size_t start_threads(size_t many) {
    try {
      for (; threads_ < many; threads_++) std::thread([this] { serve(); }).detach();
    } catch (const std::system_error&) {
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
      job->run_until_done();
      lock.lock();
      if (--working_ == 0) idle_.notify_one();
    }
  }

  std::mutex running_;  // held for the time of a job
  std::mutex mutex_;    // guards what follows
  std::condition_variable wake_, idle_;
  Job* job_ = nullptr;
  size_t wanted_ = 0;   // threads that are still to take up the job
  size_t working_ = 0;  // threads at work on it
  size_t threads_ = 0;
};

// Never destroyed: its threads wait in it until the process ends. A forked child has none of them, and starts anew.
std::atomic<Pool*> pool{nullptr};

Pool& the_pool() {
  static const bool prepared = [] {
    pool = new Pool;
    pthread_atfork(nullptr, nullptr, [] { pool = new Pool; });
    return true;
  }();
  (void)prepared;
  return *pool;
}

}  // namespace

bool parallel_for(size_t count, int threads, const std::function<void(size_t)>& work,
                  const std::function<bool()>& poll) {
  Job job(count, work);
  const size_t most = count < static_cast<size_t>(threads) ? count : static_cast<size_t>(threads);
  if (most <= 1 || the_pool().busy_or_lock())
    job.run_until_done(poll);
  else
    the_pool().run(job, most - 1, poll);
  return !job.stopped();
}

}  // namespace negmerge
