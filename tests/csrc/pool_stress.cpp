// Many calls of the thread pool from several threads: all work is done once, stops and exceptions come through.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <stdexcept>
#include <thread>
#include <vector>

#include "../../csrc/cpu/pool.h"

namespace {

std::atomic<int> failures{0};

void expect(bool holds, const char* what) {
  if (holds) return;
  std::printf("%s\n", what);
  failures++;
}

void all_work_is_done_once(size_t count) {
  std::vector<int> done(count, 0);
  const bool finished = negmerge::parallel_for(count, 4, [&](size_t i) { done[i]++; }, [] { return false; });
  expect(finished, "a call was cut short");
  for (const int times : done) expect(times == 1, "work was left out or done twice");
}

void an_exception_comes_through() {
  bool caught = false;
  try {
    negmerge::parallel_for(
        500, 4,
        [](size_t i) {
          if (i == 77) throw std::out_of_range("77");
        },
        [] { return false; });
  } catch (const std::out_of_range&) {
    caught = true;
  }
  expect(caught, "an exception was lost");
}

void a_poll_stops_it() {
  const bool finished = negmerge::parallel_for(
      1000, 4, [](size_t) { std::this_thread::sleep_for(std::chrono::milliseconds(1)); }, [] { return true; });
  expect(!finished, "the work went on");
}

void a_child_forked_by_a_poll_does_no_more_work() {
  const pid_t parent = getpid();
  pid_t child = -1;
  std::atomic<int> done_by_child{0};
  bool told = false;
  try {
    negmerge::parallel_for(
        500, 4,
        [&](size_t) {
          if (getpid() != parent) done_by_child++;
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
        },
        [&] {
          if (child == -1) child = fork();
          return false;
        });
  } catch (const std::runtime_error&) {
    told = true;
  }
  if (getpid() != parent) _exit(told && done_by_child == 0 ? 0 : 1);
  int status = 1;
  expect(child > 0 && waitpid(child, &status, 0) == child && status == 0, "a forked child worked on, or was not told");
  expect(!told, "a parent was told what only concerns its child");
}

}  // namespace

int main() {
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 3; caller++)
    callers.emplace_back([] {
      for (size_t round = 0; round < 200; round++) all_work_is_done_once(round % 50);
      an_exception_comes_through();
    });
  for (std::thread& caller : callers) caller.join();
  an_exception_comes_through();
  a_poll_stops_it();
  a_child_forked_by_a_poll_does_no_more_work();
  all_work_is_done_once(1000);
  return failures == 0 ? 0 : 1;
}
