// Tables of a merge on a GPU, without one: usage `cuda_table_test`. Exits with 1 and says which line failed.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <stdexcept>

#include "../../csrc/cuda/table.h"

using namespace negmerge;
using namespace negmerge::cuda;

namespace {

void check(bool holds, int line, const char* condition) {
  if (holds) return;
  fprintf(stderr, "line %d: %s\n", line, condition);
  exit(1);
}
#define CHECK(condition) check(condition, __LINE__, #condition)

const void* address(uintptr_t value) { return reinterpret_cast<const void*>(value); }

constexpr Dtype kSingle[] = {Dtype::f32, Dtype::f32}, kHalf[] = {Dtype::f16, Dtype::f16},
                kBrain[] = {Dtype::bf16, Dtype::bf16}, kDouble[] = {Dtype::f64, Dtype::f64},
                kEight[] = {Dtype::e4m3, Dtype::e4m3}, kMixed[] = {Dtype::f32, Dtype::f16};
const void* const kModels[] = {address(0x10000), address(0x20000)};

// A tensor of one dtype, but for its models perhaps, at addresses that allow anything.
Tensor tensor_of(size_t numel, const Dtype* models, Dtype dtype) {
  Tensor tensor;
  tensor.numel = numel;
  tensor.base = address(0x30000);
  tensor.base_dtype = tensor.out_dtype = dtype;
  tensor.out = const_cast<void*>(address(0x40000));
  tensor.finetuned = kModels;
  tensor.finetuned_dtype = models;
  if (dtype == Dtype::f64) tensor.compute = Dtype::f64;
  return tensor;
}

Variant variant_of(const Tensor& tensor, bool plain_allowed = true) {
  const HostTable table({tensor}, 2, plain_allowed);
  CHECK(table.groups().size() == 1);
  return table.groups()[0].variant;
}

bool wide(const Tensor& tensor) {
  const HostTable table({tensor}, 2, true);
  return table.at(table.bytes().data()).rows[0].wide;
}

void test_find_row() {
  const uint32_t first_block[] = {0, 1, 5, 6, 100, 101};
  for (uint32_t rows = 1; rows <= 5; rows++) {
    for (uint32_t block = 0; block < first_block[rows]; block++) {
      const uint32_t row = find_row(first_block, rows, block);
      CHECK(row < rows && first_block[row] <= block && block < first_block[row + 1]);
    }
  }
}

void test_ranges() {
  CHECK(range_of_block(5, 0).begin == 0 && range_of_block(5, 0).end == 5);
  CHECK(range_of_block(2 * kBlock, 1).end == 2 * kBlock);
  // Elements beyond what 32 bits count, and bytes beyond what 32 bits count.
  const size_t numel = (size_t{1} << 40) + 3;
  CHECK(blocks_of(numel) == (size_t{1} << 26) + 1);
  const Range last = range_of_block(numel, 1u << 26);
  CHECK(last.begin == size_t{1} << 40 && last.end == numel);
  CHECK(blocks_of(0) == 0 && blocks_of(1) == 1 && blocks_of(kBlock) == 1 && blocks_of(kBlock + 1) == 2);
}

void test_variants() {
  CHECK(variant_of(tensor_of(9, kSingle, Dtype::f32)) == Variant::plain_f32);
  CHECK(variant_of(tensor_of(9, kHalf, Dtype::f16)) == Variant::plain_f16);
  CHECK(variant_of(tensor_of(9, kBrain, Dtype::bf16)) == Variant::plain_bf16);
  CHECK(variant_of(tensor_of(9, kDouble, Dtype::f64)) == Variant::plain_f64);
  CHECK(variant_of(tensor_of(9, kEight, Dtype::e4m3)) == Variant::general_f32);
  CHECK(variant_of(tensor_of(9, kMixed, Dtype::f32)) == Variant::general_f32);
  CHECK(variant_of(tensor_of(9, kSingle, Dtype::f64)) == Variant::general_f64);
  CHECK(variant_of(tensor_of(9, kSingle, Dtype::f32), false) == Variant::general_f32);
  CHECK(variant_of(tensor_of(9, kDouble, Dtype::f64), false) == Variant::general_f64);
  Tensor tensor = tensor_of(9, kSingle, Dtype::f32);
  tensor.compute = Dtype::f64;
  CHECK(variant_of(tensor) == Variant::general_f64);
  tensor = tensor_of(9, kSingle, Dtype::f32);
  tensor.out_dtype = Dtype::bf16;
  CHECK(variant_of(tensor) == Variant::general_f32);
  tensor = tensor_of(9, kSingle, Dtype::f32);
  tensor.out = nullptr;
  CHECK(variant_of(tensor) == Variant::general_f32);
  uint16_t word = 0;
  tensor = tensor_of(9, kSingle, Dtype::f32);
  tensor.keep = &word;
  CHECK(variant_of(tensor) == Variant::general_f32);
  tensor = tensor_of(9, kSingle, Dtype::f32);
  tensor.state.values = const_cast<void*>(address(0x50000));
  CHECK(variant_of(tensor) == Variant::general_f32);
}

void test_alignment() {
  CHECK(wide(tensor_of(9, kSingle, Dtype::f32)));
  for (const Dtype* dtypes : {kSingle, kBrain, kMixed}) {
    const bool brain = dtypes == kBrain;
    Tensor tensor = tensor_of(9, dtypes, brain ? Dtype::bf16 : Dtype::f32);
    tensor.base = address(0x30008);
    CHECK(!wide(tensor));
    tensor = tensor_of(9, dtypes, brain ? Dtype::bf16 : Dtype::f32);
    tensor.out = const_cast<void*>(address(0x40004));
    CHECK(!wide(tensor));
  }
  // A quad of fp16 is eight bytes.
  const void* const models[] = {address(0x10000), address(0x20008)};
  Tensor tensor = tensor_of(9, kMixed, Dtype::f32);
  tensor.finetuned = models;
  CHECK(wide(tensor));
  tensor = tensor_of(9, kHalf, Dtype::f16);
  tensor.finetuned = models;
  CHECK(!wide(tensor));
  tensor = tensor_of(9, kMixed, Dtype::f32);
  tensor.state.values = const_cast<void*>(address(0x50008));
  CHECK(!wide(tensor));
}

// Every block of every tensor is in exactly one place, in order, whatever the tensors are.
void test_groups() {
  std::mt19937 random(1);
  for (int trial = 0; trial < 200; trial++) {
    std::vector<Tensor> tensors;
    const size_t count = random() % 20;
    for (size_t t = 0; t < count; t++) {
      const size_t numel = random() % 3 == 0 ? 0 : random() % 5 == 0 ? (size_t{1} << 33) + 1 : random() % 70000;
      switch (random() % 4) {
        case 0: tensors.push_back(tensor_of(numel, kSingle, Dtype::f32)); break;
        case 1: tensors.push_back(tensor_of(numel, kBrain, Dtype::bf16)); break;
        case 2: tensors.push_back(tensor_of(numel, kMixed, Dtype::f16)); break;
        default: tensors.push_back(tensor_of(numel, kDouble, Dtype::f64));
      }
    }
    const HostTable host(tensors, 2, trial % 2 == 0);
    CHECK(host.bytes().size() <= largest_table(tensors.size(), 2) && host.bytes().size() % 16 == 0);
    const Table table = host.at(host.bytes().data());
    std::vector<bool> seen(tensors.size());
    uint32_t rows = 0, blocks = 0;
    for (size_t g = 0; g < host.groups().size(); g++) {
      const Group& group = host.groups()[g];
      CHECK(group.first_row == rows && group.rows > 0 && (g == 0 || host.groups()[g - 1].variant < group.variant));
      const uint32_t* first_block = table.first_block + group.first_offset;
      CHECK(first_block[0] == 0 && first_block[group.rows] == group.blocks);
      for (uint32_t r = 0; r < group.rows; r++) {
        const Row& row = table.rows[group.first_row + r];
        const Tensor& tensor = tensors[row.tensor];
        CHECK(!seen[row.tensor] && row.numel == tensor.numel && row.base_dtype == tensor.base_dtype);
        seen[row.tensor] = true;
        CHECK(first_block[r + 1] - first_block[r] == blocks_of(row.numel));
        CHECK(row.first_block == blocks + first_block[r]);
        CHECK(memcmp(table.finetuned + row.first_model, kModels, sizeof(kModels)) == 0);
        CHECK(memcmp(table.finetuned_dtype + row.first_model, tensor.finetuned_dtype, 2) == 0);
        for (const uint32_t block : {first_block[r], first_block[r + 1] - 1})
          CHECK(find_row(first_block, group.rows, block) == r);
      }
      rows += group.rows;
      blocks += group.blocks;
    }
    for (size_t t = 0; t < tensors.size(); t++) CHECK(seen[t] == (tensors[t].numel > 0));
    CHECK(host.blocks() == blocks);
  }
}

void test_too_many_elements() {
  try {
    const HostTable table({tensor_of(size_t{1} << 46, kSingle, Dtype::f32)}, 2, true);
  } catch (const std::invalid_argument&) {
    return;
  }
  check(false, __LINE__, "not refused");
}

}  // namespace

int main() {
  test_find_row();
  test_ranges();
  test_variants();
  test_alignment();
  test_groups();
  test_too_many_elements();
}
