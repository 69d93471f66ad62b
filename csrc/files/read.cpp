#include "read.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <system_error>
#include <thread>

namespace negmerge {
namespace {

// How long a thread waits for others to close what they have opened.
constexpr auto kPause = std::chrono::milliseconds(1);
constexpr int kMostPauses = 5000;

// Not blocking: opening a FIFO must not wait for a writer. Regular files ignore it.
int open_when_possible(const char* path) {
  for (int pauses = 0;; pauses++) {
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    const bool too_many = descriptor < 0 && (errno == EMFILE || errno == ENFILE);
    if (!too_many || pauses == kMostPauses) return descriptor;
    std::this_thread::sleep_for(kPause);
  }
}

// The file's own descriptor, or one that is closed at the end.
class Descriptor {
 public:
  explicit Descriptor(const File& file)
      : borrowed_(file.descriptor >= 0), number_(borrowed_ ? file.descriptor : open_when_possible(file.path.c_str())) {}
  ~Descriptor() {
    if (!borrowed_ && number_ >= 0) close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int number() const { return number_; }

 private:
  const bool borrowed_;
  const int number_;
};

}  // namespace

ReadError::ReadError(size_t file, size_t offset, int code)
    : std::runtime_error(code == 0 ? "the file ends" : std::generic_category().message(code)),
      file(file),
      offset(offset),
      code(code) {}

void read_exactly(const std::vector<File>& files, size_t file, size_t offset, void* to, size_t bytes) {
  const Descriptor descriptor(files[file]);
  if (descriptor.number() < 0) throw ReadError(file, offset, errno);
  auto* rest = static_cast<char*>(to);
  while (bytes > 0) {
    // One call reads at most about 2 GiB, and network file systems may return less than asked for.
    const ssize_t count = pread(descriptor.number(), rest, bytes, static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) throw ReadError(file, offset, count < 0 ? errno : 0);
    rest += count;
    offset += static_cast<size_t>(count);
    bytes -= static_cast<size_t>(count);
  }
}

}  // namespace negmerge
