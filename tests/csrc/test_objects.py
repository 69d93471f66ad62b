"""What the compiler made of the kernels: nothing that runs on the wrong CPU, nothing fused."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import pytest
from native_builds import objects, release, run, tool

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads x86 code"),
]

KERNELS = ("kernel_scalar", "kernel_avx2", "kernel_avx512")


@pytest.fixture(scope="module")
def compiled(build_root: Path) -> dict[str, Path]:
    return objects(release(build_root))


def disassembly(path: Path) -> str:
    return run(tool("objdump"), "-d", "--no-show-raw-insn", path)


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_file_shares_nothing_but_its_table(compiled: dict[str, Path], name: str) -> None:
    """Else the linker could give every caller a function that was compiled for AVX-512."""
    symbols = [line.split() for line in run(tool("nm"), "--defined-only", compiled[name]).splitlines()]
    shared = [(kind, symbol) for *_, kind, symbol in symbols if kind in "uVvWw" or kind.isupper()]
    assert len(shared) == 1, shared
    assert re.search("(?i)" + name.removeprefix("kernel_"), shared[0][1])


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_file_runs_nothing_when_it_is_loaded(compiled: dict[str, Path], name: str) -> None:
    sections = run(tool("objdump"), "-h", compiled[name])
    assert ".text" in sections
    assert ".init_array" not in sections
    assert ".ctors" not in sections


def test_only_kernel_files_use_registers_that_not_every_cpu_has(compiled: dict[str, Path]) -> None:
    registers = {
        name: set(re.findall(r"%([xyz]mm|k[0-7])", disassembly(path))) for name, path in compiled.items()
    }
    assert "ymm" in registers.pop("kernel_avx2") - {"zmm"}
    assert "zmm" in registers.pop("kernel_avx512")
    for name, used in registers.items():
        assert used <= {"xmm"}, name


def test_avx2_code_needs_no_avx512(compiled: dict[str, Path]) -> None:
    assert not re.search(r"%zmm|%k[0-7]|%[xy]mm(1[6-9]|2\d|3[01])", disassembly(compiled["kernel_avx2"]))


def test_no_operation_is_fused(compiled: dict[str, Path]) -> None:
    for name, path in compiled.items():
        assert not re.search(r"\tvf(n?m(add|sub)|m(addsub|subadd))", disassembly(path)), name
