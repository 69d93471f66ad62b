"""A program for compute-sanitizer: every kernel over few elements, sizes odd, against the CPU.

python tests/gpu/under_sanitizer.py                  # what is checked
python tests/gpu/under_sanitizer.py --past-the-end   # a merge that writes past its output, to be found
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from negmerge_ext import Accumulator, Patch, dtypes, inspect, merge, native_cuda

State = dict[str, torch.Tensor]

#: Around the 16 elements of a word of keep bits, the tiles of 1024, and the blocks of 16384.
SIZES = (1, 3, 16, 17, 255, 1023, 1025, 4099, 16383, 16385, 40001)
#: Some of them, for what is one of many.
FEW_SIZES = (1, 17, 1025, 16385)
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)
#: More than are loaded together, and everything that is left over.
COUNTS = (1, 2, 3, 7, 9)


def model(
    seed: int, dtype: torch.dtype = torch.float32, *, shift: int = 0, sizes: Sequence[int] = SIZES
) -> State:
    """Tensors of some sizes; each begins ``shift`` elements into its memory."""
    generator = torch.Generator().manual_seed(seed)
    state: State = {}
    for size in sizes:
        room = torch.randn(size + shift, generator=generator).to(dtype)
        state[str(size)] = room[shift:]
    return state


def pool(
    count: int, dtype: torch.dtype = torch.float32, *, shift: int = 0, sizes: Sequence[int] = SIZES
) -> list[State]:
    return [model(1 + number, dtype, shift=shift * number % 5, sizes=sizes) for number in range(count)]


def moved(state: Mapping[str, torch.Tensor], device: str) -> State:
    """Copies on the device that begin as far from their memory's begin as the originals."""
    copies: State = {}
    for name, value in state.items():
        shift = value.storage_offset()
        room = torch.empty(value.numel() + shift, dtype=value.dtype, device=device)
        copies[name] = room[shift:]
        copies[name].copy_(value)
    return copies


def same(what: str, found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    """End the program unless the values are equal, byte by byte."""
    for name, value in expected.items():
        if not torch.equal(
            found[name].cpu().contiguous().view(torch.uint8), value.contiguous().view(torch.uint8)
        ):
            sys.exit(f"{what}: tensor {name} differs from the CPU's")


def merges(device: str) -> None:
    """All dtypes, aligned and not, into new results and in place."""
    for dtype in DTYPES:
        for count in COUNTS:
            shift = count % 3
            base, models = model(0, dtype, shift=shift), pool(count, dtype, shift=shift)
            expected = merge(base, models, scale=0.3)
            there, models_there = moved(base, device), [moved(state, device) for state in models]
            same(f"{dtype}, N = {count}", merge(there, models_there, scale=0.3), expected)
            same(
                f"{dtype}, N = {count}, in place", merge(there, models_there, scale=0.3, out=there), expected
            )


def mixed_dtypes(device: str) -> None:
    """Models of other dtypes than the base, another for the output, other methods and modes."""
    base = model(0)
    models = [pool(6, dtype)[number] for number, dtype in enumerate(DTYPES)]
    there, models_there = moved(base, device), [moved(state, device) for state in models]
    for options in (
        {"mode": "add", "out_dtype": "bfloat16"},
        {"mode": "vector", "out_dtype": "float64"},
        {"method": "uniform", "out_dtype": "float8_e4m3fn"},
    ):
        same(str(options), merge(there, models_there, **options), merge(base, models, **options))


def check_statistics(
    base: State, models: Sequence[State], device: str, what: str, method: str = "negmerge"
) -> None:
    found = inspect(moved(base, device), [moved(state, device) for state in models], method=method)
    if found.merged != inspect(base, models, method=method).merged:
        sys.exit(f"{what}: statistics differ from the CPU's")


def check_accumulator(
    base: State, models: Sequence[State], device: str, what: str, method: str = "negmerge"
) -> None:
    accumulator = Accumulator(moved(base, device), method)
    for count, state in enumerate(models, 1):
        accumulator.add(moved(state, device))
        same(f"{what}, accumulated", accumulator.finish(), merge(base, models[:count], method=method))


def statistics(device: str) -> None:
    """Norms and histograms, in fp32 and fp64; also of more models than shared memory has bins for."""
    for dtype in (torch.float32, torch.float64):
        check_statistics(model(0, dtype), pool(5, dtype), device, str(dtype))
    many = pool(1024, sizes=[1025])
    check_statistics(model(0, sizes=[1025]), many, device, f"N = {len(many)}")


def accumulators(device: str) -> None:
    """Sums and sign bits that wait between calls."""
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        check_accumulator(model(0, dtype), pool(4, dtype), device, str(dtype))


def methods(device: str) -> None:
    """Accumulations other than a sum, and magnitudes counted to trim them, in fp32 and fp64."""
    for method in ("magmax", "ties", "conflict"):
        for dtype in (torch.float32, torch.float64):
            base, models = model(0, dtype, sizes=FEW_SIZES), pool(5, dtype, sizes=FEW_SIZES)
            what = f"{method}, {dtype}"
            there, models_there = moved(base, device), [moved(state, device) for state in models]
            same(what, merge(there, models_there, method=method), merge(base, models, method=method))
            check_statistics(base, models, device, what, method)
            check_accumulator(base, models, device, what, method)


def patches(device: str) -> None:
    """Patches made, applied, moved to another scale and reverted."""
    for dtype in (torch.float32, torch.bfloat16):
        base, models = model(0, dtype), pool(3, dtype)
        patch = Patch.make(moved(base, device), [moved(state, device) for state in models])
        there = moved(base, device)
        for scale in (0.5, 1.5):
            patch.apply(there, scale=scale)
            same(f"{dtype}, patched", there, merge(base, models, scale=scale))
        patch.revert(there)
        same(f"{dtype}, reverted", there, base)


def files(device: str) -> None:
    """A merge between files."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(4):  # a merge with itself moves nothing: so models get into files
            state = model(number)
            merge(state, [state], out=folder / f"{number}.safetensors")
        base, *models = (folder / f"{number}.safetensors" for number in range(4))
        merge(base, models, out=folder / "cpu.safetensors")
        merge(base, models, out=folder / "device.safetensors", device=device)
        if (folder / "cpu.safetensors").read_bytes() != (folder / "device.safetensors").read_bytes():
            sys.exit("a merge between files differs from the CPU's")


PARTS: tuple[Callable[[str], None], ...] = (
    *(merges, mixed_dtypes, statistics, accumulators, methods, patches, files),
)


def write_past_the_end() -> None:
    """A merge whose output has room for some of what is written."""
    numel = 1 << 20
    base, tuned = torch.zeros(numel, device="cuda"), torch.ones(numel, device="cuda")
    workspace = torch.empty(1 << 16, dtype=torch.uint8, device="cuda")
    out = torch.empty(1000, device="cuda")
    code = dtypes.CODES["F32"]
    native_cuda.merge(
        device=torch.cuda.current_device(),
        stream=torch.cuda.current_stream().cuda_stream,
        method=0,
        mode=0,
        scale=1.0,
        models=1,
        numel=[numel],
        compute=[code],
        base=[base.data_ptr()],
        base_dtype=[code],
        finetuned=[tuned.data_ptr()],
        finetuned_dtype=[code],
        out=[out.data_ptr()],
        out_dtype=[code],
        workspace=workspace.data_ptr(),
        workspace_size=workspace.nbytes,
    )
    torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--past-the-end", action="store_true")
    parser.add_argument("--device", default="cuda", help="cpu: the program itself is tried, without a GPU")
    arguments = parser.parse_args()
    if arguments.past_the_end:
        write_past_the_end()
        return
    for part in PARTS:
        part(arguments.device)
        if arguments.device != "cpu":
            torch.cuda.synchronize()
        print(f"{part.__name__}: as on the CPU", flush=True)


if __name__ == "__main__":
    main()
