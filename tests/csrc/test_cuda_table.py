"""The tables that the CUDA kernels look their tensors up in, by themselves and with sanitizers."""

from __future__ import annotations

from pathlib import Path

import pytest
from native_builds import ROOT, run, sanitizer_options, tool

SOURCES = [ROOT / "tests" / "csrc" / "cuda_table_test.cpp", ROOT / "csrc" / "cuda" / "table.cpp"]


@pytest.mark.parametrize("sanitizer", ["none", "address,undefined"])
def test_tables(tmp_path: Path, sanitizer: str) -> None:
    compiler = tool("c++")
    options = sanitizer_options(compiler, tmp_path, sanitizer)
    program = tmp_path / "cuda_table_test"
    run(compiler, "-std=c++17", "-O1", "-g", "-Wall", "-Wextra", "-Werror", *options, *SOURCES, "-o", program)
    run(program)
