// Has memory made ready by several threads, over and over, of which some is written before. Prints the most huge pages
// that came of it.
#include "memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

namespace {

constexpr size_t kSize = (size_t{61} << 20) + 12345;

void expect(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "%s\n", what);
  std::exit(1);
}

// The share of the pages between begin and end that the system has given.
double share_there(const char* begin, const char* end) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> there((static_cast<size_t>(end - begin) + page - 1) / page);
  expect(mincore(const_cast<char*>(begin), static_cast<size_t>(end - begin), there.data()) == 0, "mincore");
  const auto given = std::count_if(there.begin(), there.end(), [](unsigned char bits) { return bits & 1; });
  return static_cast<double>(given) / static_cast<double>(there.size());
}

// The huge pages of this process (0 where the system has none), of 2 MiB.
long huge_pages() {
  std::ifstream rollup("/proc/self/smaps_rollup");
  for (std::string word; rollup >> word;)
    if (long kibibytes = 0; word == "AnonHugePages:" && rollup >> kibibytes) return kibibytes / 2048;
  return 0;
}

// Returns the number of huge pages.
long round(int number) {
  void* mapped = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  expect(mapped != MAP_FAILED, "mmap");
  char* const memory = static_cast<char*>(mapped);
  for (size_t i = 0; i < kSize; i += 100003 * static_cast<size_t>(1 + number % 50)) memory[i] = 7;
  // The second area is too small to be made ready by itself; the others are neighbours within a page.
  const size_t third = kSize / 3;
  const std::vector<negmerge::Area> areas{{memory + third, kSize - third}, {memory + kSize, 0}, {memory, third}};
  const int threads = 1 + number % 4;
  expect(negmerge::populate(areas, threads, [] { return false; }), "not finished");
#if defined(MADV_POPULATE_WRITE)
  if (madvise(memory, 1, MADV_POPULATE_WRITE) == 0) expect(share_there(memory, memory + kSize) == 1.0, "pages lack");
#endif
  for (size_t i = 0; i < kSize; i += 511)
    expect(memory[i] == 0 || memory[i] == 7, "memory is neither new nor as it was");
  for (size_t i = 0; i < kSize; i += 100003 * static_cast<size_t>(1 + number % 50))
    expect(memory[i] == 7, "memory that was written has changed");
  expect(negmerge::populate(areas, threads, [] { return false; }), "not finished where all is there");
  const long huge = huge_pages();
  expect(munmap(memory, kSize) == 0, "munmap");
  return huge;
}

}  // namespace

int main() {
  long most = 0;
  for (int number = 0; number < 60; number++) most = std::max(most, round(number));
  std::printf("%ld\n", most);
  return 0;
}
