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

#if defined(MADV_HUGEPAGE) && defined(MADV_NOHUGEPAGE) && defined(MADV_POPULATE_WRITE)
// Seconds that this thread has computed: what others take of its core does not count, what a host takes to provide its
// memory does.
double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Whether a piece has pages that the system has yet to give. Memory that malloc had back and gives again has none.
bool lacks_pages(Span piece, size_t page) {
  std::vector<unsigned char> present((piece.end - piece.begin) / page);
  if (mincore(reinterpret_cast<void*>(piece.begin), piece.end - piece.begin, present.data()) != 0) return true;
  return std::any_of(present.begin(), present.end(), [](unsigned char bits) { return (bits & 1) == 0; });
}

// Makes the pages of pieces, by several threads: huge ones, and no longer once they come slowly.
class Pages {
 public:
  explicit Pages(const std::vector<Span>& pieces) : spans_(joined(pieces)) { advise(MADV_HUGEPAGE); }
  Pages(const Pages&) = delete;

  // What was advised last stays with the memory: small pages were wanted for speed only, not for good.
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
  // Pages that cannot be made here are made by the merge that writes them.
  void make_at_most_a_huge_one(Span span) {
    if (small_ && !advised_small_) advise(MADV_NOHUGEPAGE);
    const bool huge = !small_ && span.end - span.begin == kHugePage;
    const double start = thread_seconds();
    madvise(reinterpret_cast<void*>(span.begin), span.end - span.begin, MADV_POPULATE_WRITE);
    if (huge) judge(thread_seconds() - start);
  }

  void judge(double seconds) {
    if (seconds < kSlowHugePage) {
      slow_in_a_row_ = 0;
    } else if (++slow_in_a_row_ >= kSlowHugePagesInARow) {
      // The system changes the advice when no thread has pages made. A thread that knows already must not have another
      // huge one made meanwhile, so it waits by giving the advice, too.
      small_ = true;
      advise(MADV_NOHUGEPAGE);
      advised_small_ = true;
    }
  }

  void advise(int advice) const {
    for (const Span& span : spans_) madvise(reinterpret_cast<void*>(span.begin), span.end - span.begin, advice);
  }

  const std::vector<Span> spans_;
  std::atomic<int> slow_in_a_row_{0};
  std::atomic<bool> small_{false}, advised_small_{false};
};
#endif

}  // namespace

// Kernels may lack what is advised here (huge pages, or populating before Linux 5.14): the merge faults the pages in.
bool populate(const std::vector<Area>& areas, int threads, const Poll& poll) {
#if defined(MADV_HUGEPAGE) && defined(MADV_NOHUGEPAGE) && defined(MADV_POPULATE_WRITE)
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  std::vector<Span> pieces;
  for (const Span& span : joined(whole_pages(areas, page)))
    if (span.end - span.begin >= kWorthPopulating) cut(span, pieces);
  const auto present = [page](Span piece) { return !lacks_pages(piece, page); };
  pieces.erase(std::remove_if(pieces.begin(), pieces.end(), present), pieces.end());
  Pages pages(pieces);
  return parallel_for(pieces.size(), threads, [&](size_t i) { pages.make(pieces[i]); }, poll);
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
