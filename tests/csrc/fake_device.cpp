#include "fake_device.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>

#include "cuda/device.h"
#include "cuda/enqueue.h"
#include "method_facts.h"

#define EXPORTED __attribute__((visibility("default")))

namespace negmerge::cuda {
namespace {

constexpr size_t kDeviceBit = size_t{1} << 62;
constexpr int kPoison = 0xA5;
constexpr size_t kPage = 4096;

enum Error { kNone = 0, kInvalidValue = 1, kOutOfMemory = 2, kInvalidDevice = 101, kWrongAddress = 700, kFailed = 719 };

std::string describe(int error) {
  switch (error) {
    case kNone: return "no error";
    case kInvalidValue: return "invalid argument";
    case kOutOfMemory: return "out of memory";
    case kInvalidDevice: return "invalid device ordinal";
    case kWrongAddress: return "an illegal memory access was encountered";
    default: return "unspecified launch failure";
  }
}

// Areas of memory by their first address.
class Areas {
 public:
  void add(size_t begin, size_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    areas_[begin] = bytes;
    taken_ += bytes;
    peak_ = std::max(peak_, taken_);
  }
  bool remove(size_t begin) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = areas_.find(begin);
    if (found == areas_.end()) return false;
    taken_ -= found->second;
    areas_.erase(found);
    return true;
  }
  bool hold(const void* address, size_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto begin = reinterpret_cast<size_t>(address);
    auto after = areas_.upper_bound(begin);
    if (after == areas_.begin()) return false;
    --after;
    return begin + bytes <= after->first + after->second;
  }
  size_t count() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return areas_.size();
  }
  size_t peak() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return peak_;
  }
  void forget_peak() {
    const std::lock_guard<std::mutex> lock(mutex_);
    peak_ = taken_;
  }

 private:
  std::mutex mutex_;
  std::map<size_t, size_t> areas_;
  size_t taken_ = 0, peak_ = 0;
};

struct FakeStream {
  std::mutex mutex;
  std::deque<std::function<int()>> work;
  size_t enqueued = 0, done = 0;
};
struct FakeEvent {
  FakeStream* stream = nullptr;
  size_t after = 0;
};

struct State {
  Areas pinned, device;
  std::atomic<int> objects{0}, entered{0};
  std::atomic<bool> eager{false};
  std::atomic<int> sticky{kNone};
  std::mutex mutex;  // guards what follows
  std::map<std::string, int> calls;
  std::string failing;
  int until = 0;
};

State& state() {
  static State all;
  return all;
}

constexpr int kElsewhere = -1;
thread_local int current = kElsewhere;

// Counts a call; whether it is to fail.
bool fails(const char* function) {
  State& all = state();
  const std::lock_guard<std::mutex> lock(all.mutex);
  const int calls = ++all.calls[function];
  return all.until > 0 && all.failing == function && calls >= all.until;
}

int begin(const char* function, int failure = kFailed) {
  if (fails(function)) return failure;
  if (current != 0) return kInvalidDevice;  // work for a device is given by threads that are on it
  return state().sticky;
}

template <class T>
T* on_host(T* address) {
  return address == nullptr ? nullptr : reinterpret_cast<T*>(reinterpret_cast<size_t>(address) & ~kDeviceBit);
}

bool of_device(const void* address, size_t bytes) {
  return (reinterpret_cast<size_t>(address) & kDeviceBit) != 0 && state().device.hold(on_host(address), bytes);
}

int enter(int device, bool* changed) {
  if (fails("enter") || device != 0) return kInvalidDevice;
  *changed = current != device;
  current = device;
  state().entered++;
  return kNone;
}

int leave(bool changed) {
  if (changed) current = kElsewhere;
  state().entered--;
  return kNone;
}

void* poisoned(size_t bytes) {
  void* const memory = std::aligned_alloc(kPage, (bytes + kPage - 1) / kPage * kPage);
  if (memory != nullptr) memset(memory, kPoison, bytes);
  return memory;
}

int allocate_pinned(void** memory, size_t bytes) {
  if (const int error = begin("allocate_pinned", kOutOfMemory)) return error;
  *memory = poisoned(bytes);
  state().pinned.add(reinterpret_cast<size_t>(*memory), bytes);
  return kNone;
}

int free_pinned(void* memory) {
  if (!state().pinned.remove(reinterpret_cast<size_t>(memory))) std::abort();
  std::free(memory);
  return kNone;
}

int allocate(void** memory, size_t bytes) {
  if (const int error = begin("allocate", kOutOfMemory)) return error;
  void* const place = poisoned(bytes);
  state().device.add(reinterpret_cast<size_t>(place), bytes);
  *memory = reinterpret_cast<void*>(reinterpret_cast<size_t>(place) | kDeviceBit);
  return kNone;
}

int free_device(void* memory) {
  void* const place = on_host(memory);
  if (!state().device.remove(reinterpret_cast<size_t>(place))) std::abort();
  std::free(place);
  return kNone;
}

int create_stream(Stream* stream) {
  if (const int error = begin("create_stream")) return error;
  *stream = new FakeStream;
  state().objects++;
  return kNone;
}

int destroy_stream(Stream stream) {
  auto* const gone = static_cast<FakeStream*>(stream);
  if (!gone->work.empty() && state().sticky == kNone) std::abort();  // its memory may be gone when it is done
  delete gone;
  state().objects--;
  return kNone;
}

int create_event(Event* event) {
  if (const int error = begin("create_event")) return error;
  *event = new FakeEvent;
  state().objects++;
  return kNone;
}

int destroy_event(Event event) {
  delete static_cast<FakeEvent*>(event);
  state().objects--;
  return kNone;
}

// Does what was enqueued, up to the `until`-th. After a failure a device does nothing more.
int do_work(FakeStream& stream, size_t until) {
  const std::lock_guard<std::mutex> lock(stream.mutex);
  for (; stream.done < until && !stream.work.empty(); stream.done++) {
    const std::function<int()> one = std::move(stream.work.front());
    stream.work.pop_front();
    if (state().sticky != kNone) continue;
    const int error = fails("running") ? kFailed : one();
    if (error != kNone) state().sticky = error;
  }
  return state().sticky;
}

int enqueue(Stream stream, std::function<int()> work) {
  auto& on = *static_cast<FakeStream*>(stream);
  size_t enqueued;
  {
    const std::lock_guard<std::mutex> lock(on.mutex);
    on.work.push_back(std::move(work));
    enqueued = ++on.enqueued;
  }
  if (state().eager) do_work(on, enqueued);  // errors are seen by whoever waits
  return kNone;
}

int copy_up(void* device, const void* pinned, size_t bytes, Stream stream) {
  if (const int error = begin("copy_up")) return error;
  return enqueue(stream, [=] {
    if (!of_device(device, bytes) || !state().pinned.hold(pinned, bytes)) return kWrongAddress;
    memcpy(on_host(device), pinned, bytes);
    return kNone;
  });
}

int copy_down(void* pinned, const void* device, size_t bytes, Stream stream) {
  if (const int error = begin("copy_down")) return error;
  return enqueue(stream, [=] {
    if (!of_device(device, bytes) || !state().pinned.hold(pinned, bytes)) return kWrongAddress;
    memcpy(pinned, on_host(device), bytes);
    return kNone;
  });
}

// A merge as a launch takes it: by value.
struct Launch {
  Merge merge;
  std::vector<Tensor> tensors;
  std::vector<const void*> finetuned;
  std::vector<Dtype> dtypes;
  TensorStats* stats;
  int64_t* histogram;
  void* workspace;
  size_t workspace_bytes;
  bool in_place = true;  // every address is the device's

  explicit Launch(const DeviceMerge& asked)
      : merge(asked.merge),
        tensors(asked.tensors),
        stats(asked.stats),
        histogram(asked.histogram),
        workspace(asked.workspace),
        workspace_bytes(asked.workspace_bytes) {
    for (const Tensor& tensor : tensors)
      for (size_t k = 0; k < merge.models_given; k++) {
        finetuned.push_back(tensor.finetuned[k]);
        dtypes.push_back(tensor.finetuned_dtype[k]);
      }
  }

  int run() {
    const size_t models = merge.models_given;
    for (size_t t = 0; t < tensors.size(); t++) {
      Tensor& tensor = tensors[t];
      const size_t numel = tensor.numel, mask = (numel + kPack - 1) / kPack * sizeof(uint16_t);
      tensor.base = place(tensor.base, numel * item_size(tensor.base_dtype));
      tensor.out = place(tensor.out, numel * item_size(tensor.out_dtype));
      tensor.keep = place(tensor.keep, mask);
      tensor.state.values =
          place(tensor.state.values, facts_of(merge.method).values * numel * item_size(tensor.compute));
      tensor.state.positive = place(tensor.state.positive, mask);
      tensor.state.negative = place(tensor.state.negative, mask);
      tensor.state.counts = place(tensor.state.counts, 2 * numel * sizeof(uint16_t));
      for (size_t k = t * models; k < (t + 1) * models; k++)
        finetuned[k] = place(finetuned[k], numel * item_size(dtypes[k]));
      tensor.finetuned = finetuned.data() + t * models;
      tensor.finetuned_dtype = dtypes.data() + t * models;
    }
    stats = place(stats, tensors.size() * sizeof(TensorStats));
    histogram = place(histogram, tensors.size() * (merge.models + 1) * sizeof(int64_t));
    workspace = place(workspace, workspace_bytes);
    if (!in_place) return kWrongAddress;
    memset(workspace, kPoison, workspace_bytes);
    enqueue_merge(merge, tensors, workspace, workspace_bytes, stats, histogram, nullptr);  // the kernels run at once
    return kNone;
  }

 private:
  template <class T>
  T* place(T* address, size_t bytes) {
    in_place &= address == nullptr || of_device(address, bytes);
    return on_host(address);
  }
};

int merge(const DeviceMerge& asked, Stream stream) {
  if (const int error = begin("merge")) return error;
  const auto launch = std::make_shared<Launch>(asked);
  return enqueue(stream, [launch] { return launch->run(); });
}

int record(Event event, Stream stream) {
  if (const int error = begin("record")) return error;
  auto& on = *static_cast<FakeStream*>(stream);
  const std::lock_guard<std::mutex> lock(on.mutex);
  *static_cast<FakeEvent*>(event) = {&on, on.enqueued};
  return kNone;
}

int wait(Event event) {
  if (const int error = begin("wait")) return error;
  const auto& recorded = *static_cast<FakeEvent*>(event);
  return recorded.stream == nullptr ? kNone : do_work(*recorded.stream, recorded.after);
}

int synchronise(Stream stream) {
  const bool failed = fails("synchronise");
  const int error = do_work(*static_cast<FakeStream*>(stream), SIZE_MAX);
  return failed ? kFailed : error;
}

}  // namespace

EXPORTED const DeviceApi& device_api() {
  static const DeviceApi api = {enter,       leave,         allocate_pinned, free_pinned,  allocate,
                                free_device, create_stream, destroy_stream,  create_event, destroy_event,
                                copy_up,     copy_down,     merge,           record,       wait,
                                synchronise, describe};
  return api;
}

}  // namespace negmerge::cuda

using negmerge::cuda::state;

extern "C" {

EXPORTED void fake_eager(int eager) { state().eager = eager != 0; }

EXPORTED void fake_fail(const char* function, int n) {
  const std::lock_guard<std::mutex> lock(state().mutex);
  state().failing = function;
  state().until = n;
  state().calls.clear();
  state().sticky = 0;
}

EXPORTED int fake_calls(const char* function) {
  const std::lock_guard<std::mutex> lock(state().mutex);
  return state().calls[function];
}

EXPORTED int fake_left() {
  auto& all = state();
  return all.objects + all.entered + static_cast<int>(all.pinned.count() + all.device.count());
}

EXPORTED size_t fake_peak(int of_device) { return (of_device != 0 ? state().device : state().pinned).peak(); }

EXPORTED void fake_forget_peaks() {
  state().pinned.forget_peak();
  state().device.forget_peak();
}
}
