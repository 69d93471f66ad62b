#include "memory.h"

#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <fstream>

#include "pool.h"
#include "tuning.h"

#ifndef MADV_POPULATE_WRITE  // headers may be older than the system
#define MADV_POPULATE_WRITE 23
#endif

namespace negmerge {
namespace {

struct Span {
  uintptr_t begin, end;
};

uintptr_t rounded_up(uintptr_t address, size_t unit) { return (address + unit - 1) / unit * unit; }

std::vector<Span> whole_pages(const std::vector<Area>& areas, size_t page) {
  std::vector<Span> spans;
  for (const Area& area : areas) {
    const auto begin = reinterpret_cast<uintptr_t>(area.begin);
    if (area.size > 0) spans.push_back({begin / page * page, rounded_up(begin + area.size, page)});
  }
  return spans;
}

// In ascending order, neighbours as one: tensors of a few megabytes lie next to each other, and only together do they
// fill huge pages.
std::vector<Span> joined(std::vector<Span> spans) {
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

// Whether the system makes pages when asked to, which Linux does from 5.14 on. Where not, the merge faults them in.
bool can_populate(size_t page) {
  void* const probe = mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (probe == MAP_FAILED) return false;
  const bool made = madvise(probe, page, MADV_POPULATE_WRITE) == 0;
  munmap(probe, page);
  return made;
}

// Whether huge pages are of the size that is counted on here; of other sizes none is asked for.
bool has_huge_pages() {
  size_t size = 0;
  std::ifstream("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size") >> size;
  return size == kHugePage;
}

// How many pages of a span are there already, as in memory that malloc had back and gives again.
size_t pages_there(Span span, size_t page) {
  std::vector<unsigned char> there((span.end - span.begin) / page);
  if (mincore(reinterpret_cast<void*>(span.begin), span.end - span.begin, there.data()) != 0) return 0;
  return static_cast<size_t>(std::count_if(there.begin(), there.end(), [](unsigned char bits) { return bits & 1; }));
}

bool is_there(Span span, size_t page) { return pages_there(span, page) == (span.end - span.begin) / page; }

// Seconds that this thread has computed: what others take of its core does not count, what a host takes to provide its
// memory does.
double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Makes the pages of pieces, by several threads: huge ones, and no longer once they come slowly.
class Pages {
 public:
  Pages(const std::vector<Span>& spans, size_t page) : spans_(spans), page_(page), has_huge_(has_huge_pages()) {
    if (has_huge_) advise(MADV_HUGEPAGE);
  }
  Pages(const Pages&) = delete;

  // What was advised last stays with the memory. Huge pages do no harm there: the system may put some in place of small
  // ones later, at its own pace.
  ~Pages() {
    if (small_) advise(MADV_HUGEPAGE);
  }

  void make(Span piece) {
    while (piece.begin < piece.end) {
      const uintptr_t end = std::min(piece.end, rounded_up(piece.begin + 1, kHugePage));
      make_at_most_a_huge_one({piece.begin, end});
      piece.begin = end;
    }
  }

 private:
  void make_at_most_a_huge_one(Span span) {
    const size_t there = pages_there(span, page_), size = span.end - span.begin;
    if (there == size / page_) return;
    if (small_ && !advised_small_) advise(MADV_NOHUGEPAGE);
    const bool huge = has_huge_ && !small_ && size == kHugePage && there == 0;
    const double start = thread_seconds();
    const bool made = madvise(reinterpret_cast<void*>(span.begin), size, MADV_POPULATE_WRITE) == 0;
    if (made && huge) judge(thread_seconds() - start);
  }

  void judge(double seconds) {
    if (seconds < kSlowHugePage) {
      slow_in_a_row_ = 0;
    } else if (++slow_in_a_row_ >= kSlowHugePagesInARow) {
      small_ = true;
      advise(MADV_NOHUGEPAGE);
      advised_small_ = true;
    }
  }

  // The system acts on advice only while it makes no page of this process. A thread that sees small_ before that has
  // happened gives the same advice: so it waits, where it would have another huge page made. A mutex could be found
  // locked by a forked child.
  void advise(int advice) const {
    for (const Span& span : spans_) madvise(reinterpret_cast<void*>(span.begin), span.end - span.begin, advice);
  }

  const std::vector<Span>& spans_;
  const size_t page_;
  const bool has_huge_;
  std::atomic<int> slow_in_a_row_{0};  // of all threads
  std::atomic<bool> small_{false}, advised_small_{false};
};

}  // namespace

bool populate(const std::vector<Area>& areas, int threads, const Poll& poll) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  std::vector<Span> spans, pieces;
  for (const Span& span : joined(whole_pages(areas, page))) {
    if (span.end - span.begin < kWorthPopulating) continue;
    spans.push_back(span);
    cut(span, pieces);
  }
  const auto there = [page](Span piece) { return is_there(piece, page); };
  if (std::all_of(pieces.begin(), pieces.end(), there) || !can_populate(page)) return true;
  Pages pages(spans, page);
  return parallel_for(pieces.size(), threads, [&](size_t i) { pages.make(pieces[i]); }, poll);
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
