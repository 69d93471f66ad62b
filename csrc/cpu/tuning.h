// The numbers that speed depends on and results do not. Unless another is named, measured on a Zen 4 core pair (32 KiB
// L1 and 1 MiB L2 each, 32 MiB L3), fp32, 1.2 GB, 4 KiB pages, as rates over a plain read of the same buffers in the
// same run or, where it says so, as times. Figures of one line were measured together and those of different lines were
// not. To measure a line again: change it (a group takes a change of the switches in kernel.inc and fused.inc, too),
// build, and run benchmarks/kernel.py --dtype float32. Where it says "not measured", no figures of other values are
// recorded.
#pragma once

#include <cstddef>

namespace negmerge {

// Models visited per sweep. N = 8: 1.01 in groups of 4, 1.04 of 6, 1.21 of 8; N = 30: 0.91, 0.98, 0.94. One size serves
// all N: in a later run groups of 8 came to 1.05 at N = 30. On Zen 5, whose figures below say more, groups of 4 and of
// 16 take 1.08 and 1.12 of the time at N = 64. A sweep visits one pack after the other: two or four packs of sixteen in
// order side by side, which AVX-512 has registers for, are 1.03 and 1.19 as fast in the caches for bf16 with N = 2;
// four are 1.01 and 0.93 as fast with N = 8 and 30.
constexpr size_t kGroup = 8;

// Bytes of running sums that wait between two groups of models, and so how long a run of each stream a sweep goes over,
// but for the last one, which goes by tiles. Times over those with 64 KiB, on Zen 5 with the near prefetches below:
//                  4 KiB   16     32     64
//   fp32, N = 16   1.07    1.05   1.02   1
//   fp32, N = 64   1.15    1.07   1.01   1
//   bf16, N = 64           1.07   1.04   1
// The base comes from the L2 cache in all sweeps but the first: fetching it there, or leaving a trace of it before,
// changes nothing. With far prefetches all are alike there with AVX-512; with AVX2 64 KiB take 0.88 (N = 30) and 0.95
// (N = 64) of the time that 4 KiB take. Sums, base and a run of eight models are 640 KiB then. On Zen 3, whose L2 cache
// has 512 KiB, 16, 32 and 64 KiB are alike to within 5 percent in fp32: 0.95, 1.00 and 1 at N = 16, 1.02, 1.02 and 1 at
// N = 64. Where ranges wait whole, a sweep has half as many elements: 64 KiB in all where a range has 4 bytes, 96 KiB
// where it has 8. It is no more than a block in any case, since a merge goes block by block.
constexpr size_t kSweepBytes = size_t{64} << 10;

// What is chosen elsewhere, by which registers of stored elements an instruction set's header offers (layout.h):
//
// bf16 is split into even and odd elements, with signs by the stored bits. With AVX2 that takes 0.99, 0.92 and 0.84 of
// the time of elements in order, in the caches (N = 2, 8 and 30; Zen 3); two such packs side by side, which visit each
// line once, 1.08, 1.18 and 1.06 times as long as one. With AVX-512 a pack is 32 elements, of fp16 as well. Times over
// those of sixteen in order there, on Zen 4, from memory while two cores read it at 28 to 49 GB/s:
//                        N = 2     4     8     16    30    64
//   bf16, in the caches      0.88  0.81  0.78  0.74  0.73  0.94
//   bf16, from memory        0.83  0.82  0.97  0.95  0.97  0.93
//   fp16, in the caches      0.83  0.84  0.82  0.81  0.79  0.81
//   fp16, from memory        0.92  0.89  0.99  1.00  1.00  1.00
// Results were selected from the base as fp32 then. Selected as they are stored, half as wide, times in the caches are
// 0.76, 0.92 and 0.95 of those in bf16 (N = 2, 4 and 8), 0.90, 0.92 and 1.00 in fp16, and 0.95, 0.98 and 0.96 in bf16
// with AVX2. fp16 stays in order with AVX2: by the stored bits it takes 1.11, 1.12, 1.05, 1.25, 1.01 and 1.04 times as
// long in the caches (Zen 4, N as above). Halves converted from the register that tells signs, not from memory, take
// 1.07 to 1.15 times as long with AVX-512.
//
// Ranges of 16-bit dtypes wait whole between two groups of models, with 8 bytes for each element (by stored bits) or
// 12 (in order) instead of the 4.25 that sums and two bits take: that saves conversions. bf16 in order, N = 64, on Zen
// 5 with AVX2: 0.93 of the time. In fp32 it changes nothing with AVX2: 0.99, 1.04 and 0.97 (N = 16, 30 and 64; Zen 3).
// Sweeps of twice as many elements, as where only sums wait, change nothing for stored bits: 1.02, 1.01 and 0.99 with
// AVX2 (Zen 3, the same N), 0.98 to 1.03 with AVX-512.

// How far ahead of its use a stream is fetched, and how near (2: into L2, 3: into L1, 0: into L1 without a trace). At
// 2048 bytes ahead, with AVX-512, N = 8 came to 1.01 where it was 0.86 without, and in another run into L1 to 0.91
// where it was 1.21 into L2: streams that lie alike in their pages compete for the same sets. 1024 gains with few
// models and costs little with many. A distance for each N would gain 7 percent more in fp32 at N = 2, where merging is
// faster than reading anyhow, and 1 at N = 8: no reason for a table. Times over those with 2048 bytes, at 30 to 39
// GB/s; 4096 are as fast:
//               fp32, 512   1024  near    bf16, 512   1024  near
//   N = 2             0.91  0.96  0.89          0.94  0.95  0.92
//   N = 8             1.02  1.00  0.99          1.02  0.99  0.99
//   N = 16            1.01  1.00  1.04          1.07  1.02  1.07
//   N = 64            –     1.01  0.99          –     1.02  1.11
// near: as below.
//
// CPUs with AVX2 alone are older, and the measured one (Zen 3) is slowed down by what comes early. Its times over those
// with 2048 bytes, fp32:
//            0     256   512   768   1024  4096  512 into L1
//   N = 8    0.86  0.77  0.80  0.99  0.95  1.08  0.88
//   N = 64   0.88  0.88  0.80  1.12  0.97  1.03  0.83
// In bf16, N = 30, 0.94 with 256 and 512 bytes, 1.04 with none. The near ones below take, over 512 bytes into L2, 1.04,
// 1.02, 0.98, 0.99 and 0.98 of the time there (N = 2, 4, 8, 30 and 64), in bf16 1.08, 1.03, 1.01 and 0.98 (N = 2, 4, 8
// and 30). NEON and vectors of every CPU are not measured.
//
// Zen 5 keeps ahead of streams by itself (processor.h), and what a kernel fetches far ahead takes of the bandwidth
// without a use. Times with AVX-512 over those with 2048 bytes into L2, where two cores read 50 to 54 GB/s:
//            0     256   512   1024  512 into L1
//   N = 2    0.98  0.95  0.98  0.96  0.99
//   N = 8    0.91  0.88  0.94  0.94  0.95
//   N = 64   0.86  0.83  0.93  0.94  0.92
// The same where they read 80 GB/s; the virtual machine changes between these from minute to minute:
//   N = 2    0.99  0.96  1.05
//   N = 8    1.13  1.09  1.10
//   N = 64   1.07  1.00  0.95
// These are into L1 without a trace, which is as fast as leaving one but with 512 bytes. In the caches, N = 8, 256 and
// none take 0.62 and 0.60 of the time. With AVX2 near ones take 0.86, 0.85 and 0.82 of the time of 512 bytes into L2 (N
// = 2, 8, 64). Vectors of every CPU have them there, too, not measured.
#if defined(__AVX512F__)
constexpr size_t kFarBytes = 1024;
#else
constexpr size_t kFarBytes = 512;
#endif
constexpr int kFarLocality = 2;
constexpr size_t kNearBytes = 256;
constexpr int kNearLocality = 0;

// Output of more bytes is written past the caches. N = 2: 1.11 against 1.01; N = 8: equal. From registers it takes
// less time than by way of a tile, which is left to outputs that begin within a line: on Zen 5 0.93 and 0.89 (N = 2 and
// 8), with AVX2 0.92 and 0.87; by way of a tile N = 8 takes 0.96 of the time with ordinary writes, N = 2 1.08. A
// smaller output is there for whoever reads it next, such as the thread that writes a chunk of 16 MiB to a file. Times
// of a merge and of a sum of its output, over those with ordinary writes, where inputs came from memory, and where
// merges followed each other and small inputs stayed in the L3:
//   output, MiB          2     4     8     16    32    64
//   N = 2, from memory   1.01  1.01  0.96  0.90  0.94  0.91
//   N = 2, from the L3   1.05  1.10  1.02  0.98  0.98  0.94
//   N = 8, from memory   0.99  1.00  0.98  0.98  0.97  0.96
//   N = 8, from the L3   1.06  0.98  0.96  0.98  0.98  0.97
constexpr size_t kStreamBytes = size_t{16} << 20;

// Consecutive blocks, or whatever else threads share, that a thread takes at a time, if there are many. N = 8: 1.21 one
// by one, 1.28 by sixteen.
constexpr size_t kMostBlocksAtOnce = 16;

// How often each thread comes for blocks, or whatever else is shared, at least: so that all are done at about the same
// time. Times over those with 8, by size of the result:
//                                1     2     4     16    64
//   N = 2, 1 MiB                 1.07  1.02  1.03  1.00  1.00
//   N = 2, 4 MiB                 1.06  1.06  0.98  0.98  0.98
//   N = 8, 1 MiB                 1.04  1.03  0.97  1.00  1.00
//   N = 8, 4 MiB                 1.08  1.09  1.07  1.03  1.01
//   both, 16 MiB and 64 MiB      0.99 to 1.02
constexpr size_t kTurns = 8;

// Tiles of a patch with at most so many occupied packs are fetched ahead: a CPU foresees sequential accesses by itself,
// but not scattered ones. Moving the elements of a patch that keeps one in a hundred takes 0.6 of the time with it; one
// that keeps one in ten takes 1.2 times as long if its tiles are fetched too. Where between these it turns is not
// measured.
constexpr int kScatteredPacks = 32;

// Elements of base and models together up to which the calling thread works alone: waking another takes some 40
// microseconds. Times of whole calls with two threads over those with one:
//   elements              96 Ki  192   288   384   576   768   1152  1536
//   N = 2, in the caches  1.12   1.13        1.17        1.10        0.98
//   N = 2, from memory    1.05   1.07        1.05        1.03        0.99
//   N = 8, in the caches               1.15        1.12        1.04
//   N = 8, from memory                 1.05        1.07        1.02
// Two threads are even from a million or so on. Half of that is a guess for more threads, which are not measured: they
// save nearly all of what one takes, where two save half of it. Merges from files have work for all threads from the
// first piece on: nine files of 1, 4 and 16 MiB in tmpfs take 0.85, 0.75 and 0.65 of the time with two.
constexpr size_t kAloneElements = size_t{512} << 10;

// Bytes of the widest input of a tensor that are read from a file at a time, and memory of each thread that merges from
// files, for the pieces of all models: with less of it fewer models come together. Shorter reads cost more in system
// calls, longer ones must have more memory, and more memory alone gains nothing. Times of merges of 1.2 GB in tmpfs (N
// = 8), and of 1.6 GB (N = 64), over those with 64 KiB at a time and 1 MiB of memory:
//              N = 8, KiB at a time            N = 64, KiB at a time
//   memory     32    64    128   256   512     32    64    128   256   512
//   512 KiB    1.15  1.14                      1.11  1.09
//   1 MiB      0.99  1     1.11                1.01  1     1.05
//   2 MiB            0.97  0.91  1.06                0.95  0.94  0.98
//   4 MiB                  0.92  0.92  1.08                0.94  0.92  0.98
//   8 MiB                        0.91  0.94                      0.95  0.95
constexpr size_t kReadBytes = size_t{128} << 10;
constexpr size_t kScratch = size_t{2} << 20;

// What a thread makes ready, or copies, as one piece of work. To make ready these are whole huge pages, which two
// threads would otherwise both clear. Having pages made just before they are written, while their zeros are in the
// caches, took as long as having all made first. New results of 16 and 128 MiB, N = 2 and 8, took 0.98 to 1.02 of the
// time with 2 and 4 MiB, 1.00 to 1.03 with 16, and 1.02 to 1.06 with 32; copies are not measured. Many more threads
// would change it.
constexpr size_t kPagesAtOnce = size_t{8} << 20;

// Less new memory in one stretch than that is left to the page faults of who writes it. Times of merges whose result's
// memory was all made before, over those that faulted:
//   result, MiB   0.5   1     2     4     8
//   N = 2         0.93  1.00  0.88  0.69  0.66
//   N = 8         0.97  0.98  1.02  0.90  0.87
// Below 4 MiB there is little to gain, and a stretch may have no whole huge page.
constexpr size_t kWorthPopulating = size_t{4} << 20;

// Huge pages are asked for until so many in a row, of whichever threads, have each taken so many seconds. Then the host
// of a virtual machine has to provide them: on the Zen 4 one takes 4.5 to 7 ms then, where one that is there takes 0.2
// ms, and small pages of as many bytes, which the host has not taken back, take 0.5 to 0.9 ms. Slow ones follow each
// other, but for a few. Times of a merge with a new result over one into touched memory, with huge pages throughout,
// small ones throughout, and huge ones until one, and two in a row, were slow (benchmarks/new_results.py has the first
// two as "made before", and the last as "merge, new result"):
//                                     huge  small  one   two
//   N = 2, right after another        1.80  2.41   2.37  1.92
//   N = 2, three seconds later        9.91  2.66   2.94  2.79
//   N = 8, right after another        1.35  1.64   1.39  1.27
//   N = 8, three seconds later        4.13  1.77   1.81  1.98
// The seconds are of two threads: many that share a memory, or a host that provides it faster, would change them.
constexpr size_t kHugePage = size_t{2} << 20;
constexpr double kSlowHugePage = 2e-3;
constexpr int kSlowHugePagesInARow = 2;

}  // namespace negmerge
