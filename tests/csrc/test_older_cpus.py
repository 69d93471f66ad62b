"""The module as it was installed, on an emulated CPU without AVX-512, and on one without AVX2 either."""

from __future__ import annotations

import platform
import sys

import pytest
from native_builds import run, tool
from programs import import_path

PROGRAM = """
import numpy as np
from kernel_calls import check, instruction_sets_in_turn, merge
from native_cases import random_cases
from negmerge_ext import native

for name in instruction_sets_in_turn():
    for case in random_cases(15, 40):
        check([case], merge([case], threads=2))
print(*native.instruction_sets())
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="emulates x86 on itself")
@pytest.mark.parametrize(("cpu", "instruction_sets"), [("Nehalem", "scalar"), ("Haswell", "scalar avx2")])
def test_merging_on_an_older_cpu(cpu: str, instruction_sets: str) -> None:
    emulator = tool("qemu-x86_64")
    # On some hosts numpy's OpenBLAS takes the emulated processor for another than it is.
    environment = {"PYTHONPATH": import_path(), "OPENBLAS_CORETYPE": cpu}
    out = run(emulator, "-cpu", cpu, sys.executable, "-c", PROGRAM, **environment)
    assert out == instruction_sets + "\n"
