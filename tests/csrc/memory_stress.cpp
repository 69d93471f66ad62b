// Has memory made ready by several threads, over and over, of which some is written before. Prints two numbers of huge
// pages: in memory that the system was asked to make of them, and the most that came of making memory ready.
#include "memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace {

constexpr size_t kSize = (size_t{61} << 20) + 12345;

void expect(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "%s\n", what);
  std::exit(1);
}

// A private mapping. Nothing of it is huge before somebody asks for it, whatever the system is set to.
class Mapping {
 public:
  explicit Mapping(size_t size) : size_(size) {
    void* mapped = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    expect(mapped != MAP_FAILED, "mmap");
    begin_ = static_cast<char*>(mapped);
    madvise(begin_, size, MADV_NOHUGEPAGE);
  }
  ~Mapping() { munmap(begin_, size_); }
  char* begin() const { return begin_; }
  char* end() const { return begin_ + size_; }

  size_t pages_there() const {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    std::vector<unsigned char> there((size_ + page - 1) / page);
    expect(mincore(begin_, size_, there.data()) == 0, "mincore");
    return static_cast<size_t>(std::count_if(there.begin(), there.end(), [](unsigned char bits) { return bits & 1; }));
  }

  // Of the lines about this mapping in /proc/self/smaps, the one that begins so; empty where the system has none.
  // Advice for a part of it makes several mappings of it, which no test here does.
  std::string fact(const std::string& name) const {
    std::ostringstream first;
    first << std::hex << reinterpret_cast<uintptr_t>(begin_) << '-';
    std::ifstream smaps("/proc/self/smaps");
    bool here = false;
    for (std::string line; std::getline(smaps, line);) {
      if (line.find('-') != std::string::npos && line.find(':') > line.find('-'))
        here = line.rfind(first.str(), 0) == 0;
      if (here && line.rfind(name + ":", 0) == 0) return line.substr(name.size() + 1);
    }
    return "";
  }

  long huge_pages() const { return std::atol(fact("AnonHugePages").c_str()) / 2048; }

 private:
  const size_t size_;
  char* begin_;
};

const negmerge::Poll kGoOn = [] { return false; };

bool can_populate() {
  Mapping probe(1);
  return madvise(probe.begin(), 1, MADV_POPULATE_WRITE) == 0;
}

// Every stride-th byte is written before (0: none). Returns the number of huge pages.
long fill(int threads, size_t stride, bool all_made, bool gives_huge) {
  const Mapping memory(kSize);
  for (size_t i = 0; stride > 0 && i < kSize; i += stride) memory.begin()[i] = 7;
  const size_t third = kSize / 3;
  const std::vector<negmerge::Area> areas{
      {memory.begin() + third, kSize - third}, {memory.end(), 0}, {memory.begin(), third}};
  expect(negmerge::populate(areas, threads, kGoOn), "not finished");
  if (all_made) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    expect(memory.pages_there() == (kSize + page - 1) / page, "pages lack");
    const std::string flags = gives_huge ? memory.fact("VmFlags") : "";
    expect(flags.empty() || flags.find(" nh") == std::string::npos, "memory is left as one to have no huge pages");
  }
  const long huge = memory.huge_pages();
  for (size_t i = 0; i < kSize; i += 511)
    expect(memory.begin()[i] == 0 || memory.begin()[i] == 7, "memory is neither new nor as it was");
  for (size_t i = 0; stride > 0 && i < kSize; i += stride)
    expect(memory.begin()[i] == 7, "memory that was written has changed");
  expect(negmerge::populate(areas, threads, kGoOn), "not finished where all is there");
  return huge;
}

// What the system gives where huge pages are asked for and every byte is written.
long asked_for() {
  const Mapping memory(kSize);
  madvise(memory.begin(), kSize, MADV_HUGEPAGE);
  std::memset(memory.begin(), 1, kSize);
  return memory.huge_pages();
}

void leave_little_alone() {
  const Mapping memory(kSize);
  const std::vector<negmerge::Area> areas{{memory.begin(), size_t{3} << 20}, {memory.end() - (3 << 20), 3 << 20}};
  expect(negmerge::populate(areas, 2, kGoOn), "not finished");
  expect(memory.pages_there() == 0, "little memory was made ready");
}

}  // namespace

int main() {
  const bool knows_pages = Mapping(kSize).pages_there() == 0;  // some sandboxes call all of them there
  const bool all_made = knows_pages && can_populate();
  const long asked = asked_for();
  long most = 0;
  for (int threads = 1; threads <= 4; threads++)
    for (size_t stride : {size_t{0}, size_t{100003}, size_t{700001}, size_t{5000011}})
      for (int again = 0; again < 4; again++) most = std::max(most, fill(threads, stride, all_made, asked > 0));
  if (knows_pages) leave_little_alone();
  std::printf("%ld %ld\n", asked, most);
  return 0;
}
