#include "memory.h"

#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>

#include "pool.h"
#include "tuning.h"

namespace negmerge {
namespace {

struct Span {
  uintptr_t begin, end;
};

uintptr_t rounded_up(uintptr_t address, size_t unit) { return (address + unit - 1) / unit * unit; }

// The pages of the areas, neighbours joined: tensors of a few megabytes lie next to each other, and only together do
// they fill huge pages. Every page of a span holds bytes of an area.
std::vector<Span> joined(const std::vector<Area>& areas, size_t page) {
  std::vector<Span> spans;
  for (const Area& area : areas) {
    const auto begin = reinterpret_cast<uintptr_t>(area.begin);
    if (area.size > 0) spans.push_back({begin / page * page, rounded_up(begin + area.size, page)});
  }
  std::sort(spans.begin(), spans.end(), [](const Span& a, const Span& b) { return a.begin < b.begin; });
  std::vector<Span> result;
  for (const Span& span : spans) {
    if (result.empty() || span.begin > result.back().end)
      result.push_back(span);
    else
      result.back().end = std::max(result.back().end, span.end);
  }
  return result;
}

// Cuts a span at multiples of kPagesAtOnce.
void cut(Span span, std::vector<Span>& pieces) {
  while (span.begin < span.end) {
    const uintptr_t end = std::min(span.end, rounded_up(span.begin + 1, kPagesAtOnce));
    pieces.push_back({span.begin, end});
    span.begin = end;
  }
}

#if defined(MADV_HUGEPAGE) && defined(MADV_POPULATE_WRITE)
// Seconds that this thread has computed: what others take of its core does not count, what a host takes to provide its
// memory does.
double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}
#endif

}  // namespace

// Kernels may lack what is advised here (huge pages, or populating before Linux 5.14): the merge faults the pages in.
// Where they are given huge pages unasked (transparent_hugepage=always), these stay.
bool populate(const std::vector<Area>& areas, int threads, const Poll& poll) {
#if defined(MADV_HUGEPAGE) && defined(MADV_POPULATE_WRITE)
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  std::vector<Span> pieces;
  for (const Span& span : joined(areas, page))
    if (span.end - span.begin >= kWorthPopulating) cut(span, pieces);
  std::atomic<bool> small_pages{false};
  const auto work = [&](size_t i) {
    void* begin = reinterpret_cast<void*>(pieces[i].begin);
    const size_t size = pieces[i].end - pieces[i].begin;
    if (!small_pages.load(std::memory_order_relaxed)) madvise(begin, size, MADV_HUGEPAGE);
    const double start = thread_seconds();
    const bool made = madvise(begin, size, MADV_POPULATE_WRITE) == 0;
    // Pieces at the ends of a span may hold no huge page and say nothing about them.
    const bool slow = size == kPagesAtOnce && static_cast<double>(size) < kSlowHugePages * (thread_seconds() - start);
    if (!made || slow) small_pages.store(true, std::memory_order_relaxed);
  };
  return parallel_for(pieces.size(), threads, work, poll);
#else
  (void)areas, (void)threads, (void)poll;
  return true;
#endif
}

bool copy(const std::vector<const char*>& sources, const std::vector<Area>& areas, int threads, const Poll& poll) {
  struct Piece {
    const char* source;
    char* destination;
    size_t size;
  };
  std::vector<Piece> pieces;
  for (size_t i = 0; i < areas.size(); i++)
    for (size_t begin = 0; begin < areas[i].size; begin += kPagesAtOnce)
      pieces.push_back({sources[i] + begin, areas[i].begin + begin, std::min(kPagesAtOnce, areas[i].size - begin)});
  const auto work = [&](size_t i) { std::memcpy(pieces[i].destination, pieces[i].source, pieces[i].size); };
  return parallel_for(pieces.size(), threads, work, poll);
}

}  // namespace negmerge
