/* Reading, to compare with: threads add up all 8-byte words of some buffers, plainly or in the order of a merge. */

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t word __attribute__((aligned(1), may_alias));
typedef uint64_t line __attribute__((vector_size(64), aligned(1), may_alias));
typedef uint64_t half __attribute__((vector_size(32), aligned(1), may_alias));

struct share {
  const char* const* buffers;
  const size_t* bytes;
  size_t count;
  int streams; /* buffers of one tensor: the base's and the models' */
  int threads, index, variant;
  uint64_t sum;
};

/* Reads one stretch as STREAMS pieces side by side, DISTANCE bytes ahead of itself if that is not 0 (into L1 if
 * LOCALITY is 3, into L2 if it is 2), then what the pieces leave over. Bytes that make no whole word are not read. */
#define DEFINE_READER(name, STREAMS, DISTANCE, LOCALITY)                                          \
  static uint64_t name(const char* data, size_t bytes) {                                          \
    const size_t piece = bytes / STREAMS / 256 * 256;                                             \
    line sums[4] = {{0}};                                                                         \
    for (size_t at = 0; at < piece; at += 256)                                                    \
      for (int stream = 0; stream < STREAMS; ++stream) {                                          \
        const char* from = data + stream * piece + at;                                            \
        for (int part = 0; part < 4; ++part) {                                                    \
          if (DISTANCE) __builtin_prefetch(from + 64 * part + DISTANCE, 0, LOCALITY);             \
          sums[part] += *(const line*)(from + 64 * part);                                         \
        }                                                                                         \
      }                                                                                           \
    uint64_t sum = 0;                                                                             \
    for (int part = 0; part < 4; ++part)                                                          \
      for (int lane = 0; lane < 8; ++lane) sum += sums[part][lane];                               \
    for (size_t at = STREAMS * piece; at + 8 <= bytes; at += 8) sum += *(const word*)(data + at); \
    return sum;                                                                                   \
  }

DEFINE_READER(read_1_stream, 1, 0, 3)
DEFINE_READER(read_1_stream_ahead, 1, 2048, 3)
DEFINE_READER(read_1_stream_near, 1, 512, 2)
DEFINE_READER(read_2_streams, 2, 0, 3)
DEFINE_READER(read_4_streams, 4, 0, 3)
DEFINE_READER(read_4_streams_ahead, 4, 1024, 3)
DEFINE_READER(read_4_streams_near, 4, 512, 2)
DEFINE_READER(read_8_streams, 8, 0, 3)
DEFINE_READER(read_8_streams_near, 8, 512, 2)

static uint64_t (*const readers[])(const char*, size_t) = {
    read_1_stream,        read_1_stream_ahead, read_1_stream_near, read_2_streams,     read_4_streams,
    read_4_streams_ahead, read_4_streams_near, read_8_streams,     read_8_streams_near};

/* All streams of a group side by side, a line of each at a time, AHEAD bytes ahead of themselves if that is not 0. */
#define DEFINE_SIDE_BY_SIDE(name, AHEAD)                                                        \
  static uint64_t name(const char* const* streams, size_t count, size_t begin, size_t end) {    \
    half sums[2] = {{0}};                                                                       \
    for (size_t at = begin; at < end; at += 64)                                                 \
      for (size_t stream = 0; stream < count; ++stream) {                                       \
        if (AHEAD) __builtin_prefetch(streams[stream] + at + AHEAD, 0, 2);                      \
        for (int part = 0; part < 2; ++part)                                                    \
          sums[part] += *(const half*)(streams[stream] + at + 32 * part);                       \
      }                                                                                         \
    uint64_t total = 0;                                                                         \
    for (int lane = 0; lane < 4; ++lane) total += sums[0][lane] + sums[1][lane];                \
    return total;                                                                               \
  }

DEFINE_SIDE_BY_SIDE(side_by_side, 0)
DEFINE_SIDE_BY_SIDE(side_by_side_ahead, 512)

/* One contiguous stretch of every buffer, in whole cache lines; the last thread takes what is left over. */
static void* read_share(void* argument) {
  struct share* share = argument;
  for (size_t i = 0; i < share->count; ++i) {
    const size_t stretch = share->bytes[i] / share->threads / 64 * 64, begin = share->index * stretch;
    const size_t end = share->index + 1 == share->threads ? share->bytes[i] : begin + stretch;
    share->sum += readers[share->variant](share->buffers[i] + begin, end - begin);
  }
  return NULL;
}

/* Tensor by tensor the same stretch of its buffers, which are of one size, in the order of a merge: run by run, and of
 * each run one group of streams after the other. The first has the base and the models that whole groups leave over. */
enum { RUN = 65536, GROUP = 8 };
static void* read_share_in_order(void* argument) {
  struct share* share = argument;
  const size_t streams = share->streams;
  for (size_t tensor = 0; tensor < share->count; tensor += streams) {
    const char* const* from = share->buffers + tensor;
    const size_t bytes = share->bytes[tensor];
    const size_t stretch = bytes / share->threads / RUN * RUN, begin = share->index * stretch;
    const size_t last = share->index + 1 == share->threads ? bytes / 64 * 64 : begin + stretch;
    for (size_t at = begin; at < last; at += RUN) {
      const size_t end = last - at < RUN ? last : at + RUN;
      size_t group = (streams - 2) % GROUP + 2;
      for (size_t first = 0; first < streams; first += group, group = GROUP) {
        if (share->variant)
          share->sum += side_by_side_ahead(from + first, group, at, end);
        else
          share->sum += side_by_side(from + first, group, at, end);
      }
    }
  }
  return NULL;
}

enum { MAX_THREADS = 1024 };

int variants(void) { return sizeof readers / sizeof *readers; }

/* Returns 0, or -1 if there are too many threads or one cannot be started; *sum keeps the reads from being removed. */
static int run(void* (*work)(void*), const char* const* buffers, const size_t* bytes, size_t count, int streams,
               int threads, int variant, uint64_t* sum) {
  static struct share shares[MAX_THREADS];
  static pthread_t started[MAX_THREADS];
  if (threads < 1 || threads > MAX_THREADS) return -1;
  int running = 1, result = 0;
  for (int index = 0; index < threads; ++index)
    shares[index] = (struct share){buffers, bytes, count, streams, threads, index, variant, 0};
  for (; running < threads; ++running)
    if (pthread_create(&started[running], NULL, work, &shares[running]) != 0) {
      result = -1;
      break;
    }
  work(&shares[0]);
  *sum = shares[0].sum;
  for (int index = 1; index < running; ++index) {
    pthread_join(started[index], NULL);
    *sum += shares[index].sum;
  }
  return result;
}

int read_all(const char* const* buffers, const size_t* bytes, size_t count, int threads, int variant, uint64_t* sum) {
  return run(read_share, buffers, bytes, count, 1, threads, variant, sum);
}

/* Of tensors of `streams` buffers of one size, a multiple of 64 bytes; ahead: whether streams are fetched ahead. */
int read_in_order(const char* const* buffers, const size_t* bytes, size_t count, int threads, int ahead, int streams,
                  uint64_t* sum) {
  return run(read_share_in_order, buffers, bytes, count, streams, threads, ahead, sum);
}
