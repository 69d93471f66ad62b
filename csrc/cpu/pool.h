// Threads that wait for work. Ours rather than OpenMP's, whose runtime hangs in a forked child.
#pragma once

#include <cstddef>
#include <functional>

namespace negmerge {

// Calls work(i) once for every i in [0, count), on the calling thread and up to threads - 1 others, in no fixed
// order. The calling thread asks poll() now and then; when it answers true no further work is begun. Returns false
// if the work was cut short. What work or poll throws ends it too, and is thrown here when all threads have come to
// rest. A call made while another is under way runs on its own thread alone.
bool parallel_for(size_t count, int threads, const std::function<void(size_t)>& work,
                  const std::function<bool()>& poll);

}  // namespace negmerge
